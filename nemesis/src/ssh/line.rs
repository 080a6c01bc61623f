//! A shell on another machine, at the far end of one ssh connection.
//!
//! One `ssh` runs for each node as long as the backend lives, with a shell behind
//! it that is handed one script after the other. No control socket, no helper and
//! no file is left anywhere, whatever ends us: with our end of the pipe gone the
//! shell over there ends as well.

use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::kernel::Shell;

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of what ssh itself said that are kept for an error.
const SAID: usize = 5;

/// A line to one machine. It is opened when first used, and again after it broke.
#[derive(Debug)]
pub(super) struct Line {
    /// `ssh` and all its arguments.
    command: Vec<String>,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    ssh: Child,
    to: ChildStdin,
    from: Receiver<String>,
    scripts: u64,
}

impl Line {
    /// A line by this command, which ends in a shell that reads scripts.
    pub(super) fn new(command: Vec<String>) -> Line {
        Line {
            command,
            open: Mutex::new(None),
        }
    }

    /// Runs a script to its end and returns what it printed, errors among it.
    ///
    /// # Errors
    /// If the machine is not reached, the script fails, or takes too long.
    pub(super) fn script(&self, script: &str) -> std::io::Result<String> {
        let mut slot = self.open.lock();
        let mut open = match slot.take() {
            Some(open) => open,
            None => Open::new(&self.command)?,
        };
        let (status, printed) = open.script(script)?;
        *slot = Some(open);
        if status == "0" {
            return Ok(printed);
        }
        let said = printed.trim().replace('\n', "; ");
        let said = if said.is_empty() {
            format!("exit code {status}")
        } else {
            said
        };
        Err(Error::other(said))
    }
}

impl Open {
    fn new(command: &[String]) -> std::io::Result<Open> {
        let mut ssh = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What ssh says (a host key, a refusal) must not mix with a terminal.
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, from) = channel();
        let stdout = ssh.stdout.take().expect("piped");
        std::thread::Builder::new()
            .name("nemesis-ssh".into())
            .spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while stdout.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                    line.clear();
                }
            })?;
        let to = ssh.stdin.take().expect("piped");
        let mut open = Open {
            ssh,
            to,
            from,
            scripts: 0,
        };
        open.script("PATH=$PATH:/usr/sbin:/sbin; LC_ALL=C; export PATH LC_ALL")?;
        Ok(open)
    }

    /// The exit status, and everything before it.
    fn script(&mut self, script: &str) -> std::io::Result<(String, String)> {
        self.scripts += 1;
        let mark = format!("ordeal-{}-{}:", std::process::id(), self.scripts);
        // In braces and not in a subshell: what the first one sets must stay.
        let framed = format!("{{ {script}\n}} </dev/null 2>&1; printf '\\n%s%d\\n' '{mark}' $?\n");
        if self.to.write_all(framed.as_bytes()).is_err() {
            return Err(self.broken());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut printed = String::new();
        loop {
            match self
                .from
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => match line.strip_prefix(&mark) {
                    Some(status) => {
                        // The line break before the mark is ours.
                        printed.truncate(printed.len().saturating_sub(1));
                        return Ok((status.trim().to_owned(), printed));
                    }
                    None => printed += &line,
                },
                Err(RecvTimeoutError::Disconnected) => return Err(self.broken()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::new(
                        ErrorKind::TimedOut,
                        format!("no answer by ssh within {PATIENCE:?}"),
                    ));
                }
            }
        }
    }

    /// Why ssh ended, in its own words.
    fn broken(&mut self) -> Error {
        let _ = self.ssh.kill();
        let stderr = self.ssh.stderr.take();
        let said: Vec<String> = stderr
            .into_iter()
            .flat_map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok))
            .collect();
        let said = said[said.len().saturating_sub(SAID)..].join("; ");
        Error::new(
            ErrorKind::NotConnected,
            if said.is_empty() {
                "the ssh connection broke".to_owned()
            } else {
                said
            },
        )
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

impl Shell for Line {
    fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        let words = words.join(" ");
        let script = match input {
            Some(input) => format!("{words} <<'ordeal-end'\n{}\nordeal-end", input.trim_end()),
            None => words,
        };
        self.script(&script)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", command.join(" "))))
    }
}

/// The same machine, in a network of its own that ends with each command.
pub(super) struct Spare<'a>(pub(super) &'a Line);

impl Shell for Spare<'_> {
    fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
        self.0.run(&[&["unshare", "--net"], command].concat(), input)
    }
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ssh would lead to, without ssh.
    fn line() -> Line {
        Line::new(vec!["sh".to_owned()])
    }

    #[test]
    fn scripts_follow_each_other_in_one_shell() {
        let line = line();
        assert_eq!(line.script("printf one; X=7").expect("runs"), "one");
        assert_eq!(line.script("echo $X; echo two").expect("runs"), "7\ntwo\n");
        let error = line.script("echo why >&2; false").expect_err("it fails");
        assert_eq!(error.to_string(), "why");
        assert_eq!(
            line.script("exit 3").expect_err("ends").kind(),
            ErrorKind::NotConnected
        );
        assert_eq!(line.script("echo again").expect("opened again"), "again\n");
    }

    #[test]
    fn commands_take_input_and_awkward_words() {
        let line = line();
        let printed = line.run(&["cat", "-"], Some("a $b\n'c'\n")).expect("runs");
        assert_eq!(printed, "a $b\n'c'\n");
        let words = ["printf", "%s|", "it's", "", "$HOME", "a b"];
        assert_eq!(line.run(&words, None).expect("runs"), "it's||$HOME|a b|");
    }

    #[test]
    fn a_machine_that_is_not_reached_is_told_in_its_own_words() {
        let line = Line::new(
            ["sh", "-c", "echo no route >&2; exit 255"]
                .map(str::to_owned)
                .to_vec(),
        );
        assert_eq!(line.script("true").expect_err("no shell").to_string(), "no route");
    }
}
