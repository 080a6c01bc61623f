//! A node for tests: answers one line a connection.
//!
//! `id` gets its name; `reach HOST:PORT` gets the answer of the node there to
//! `id`, or `error ...`; `pid` its process id; `clock` its wall clock in seconds;
//! `exit N` ends it; `spawn PORT` starts another there, in a process group of its own.
//! `append TEXT` (and `append-unsynced`), `rename-unsynced`, `remove TEXT`, `read` and
//! `list` work on the folder `data`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
            ["clock"] => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
                since.as_secs_f64().to_string()
            }
            ["append", text] => said(append(text, true)),
            ["append-unsynced", text] => said(append(text, false)),
            ["rename-unsynced"] => {
                let made = std::fs::write("data/new", "x")
                    .and_then(|()| std::fs::rename("data/new", "data/renamed"));
                said(made)
            }
            ["remove", name] => said(std::fs::remove_file(std::path::Path::new("data").join(name))),
            ["read"] => match std::fs::read("data/log") {
                Ok(bytes) => bytes.escape_ascii().to_string(),
                Err(error) => format!("error {error}"),
            },
            ["list"] => {
                let names = std::fs::read_dir("data").into_iter().flatten().flatten();
                let mut names: Vec<String> = names
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect();
                names.sort();
                names.join(" ")
            }
            ["spawn", port] => said(spawn(port)),
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

fn spawn(port: &str) -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    // It ends with the lab; nobody waits for it.
    command
        .args(["node", "second", port])
        .process_group(0)
        .spawn()
        .map(drop)
}

fn append(text: &str, sync: bool) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open("data/log")?;
    file.write_all(text.as_bytes())?;
    if sync { file.sync_data() } else { Ok(()) }
}

fn said(done: std::io::Result<()>) -> String {
    done.map_or_else(|error| format!("error {error}"), |()| "ok".to_owned())
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
