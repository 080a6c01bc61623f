//! A node for tests: answers one line a connection.
//!
//! `id` gets its name; `reach HOST:PORT` gets the answer of the node there to
//! `id`, or `error ...`; `pid` its process id; `exit N` ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn serve(id: &str, port: u16) -> ExitCode {
    if id == "broken" {
        println!("this node is broken");
        return ExitCode::from(7);
    }
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("{id} listens");
    for client in listener.incoming().flatten() {
        let mut line = String::new();
        let mut reader = BufReader::new(&client);
        if reader.read_line(&mut line).is_err() {
            continue;
        }
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["id"] => id.to_owned(),
            ["pid"] => std::process::id().to_string(),
            ["exit", code] => std::process::exit(code.parse().expect("a code")),
            ["reach", whom] => {
                let whom = whom.parse().expect("an address");
                ask(whom, "id", Duration::from_millis(500)).unwrap_or_else(|error| format!("error {error}"))
            }
            _ => "what?".to_owned(),
        };
        let _ = writeln!(&client, "{answer}");
    }
    ExitCode::SUCCESS
}

/// Asks a node one thing.
pub(crate) fn ask(whom: SocketAddr, what: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&whom, patience)?;
    stream.set_read_timeout(Some(patience))?;
    writeln!(stream, "{what}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
