//! `checker follow`: judges a history while it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use checker::history::{Event, Header};
use checker::{Analysis, CheckOptions, ModelName, Monitor, Status, Verdict};
use clap::Args;

use super::output::nobody_reads;
use super::{BAD_INPUT, INTERNAL, complain, explain, limits};

/// Ends with the first violation, or when nothing more comes. Of registers only what can still matter is held.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  checker follow store/current/history.jsonl
  ssh runner tail -n +1 -f run/history.jsonl | checker follow -")]
pub(crate) struct Follow {
    /// The model to judge by; otherwise the one that the history names.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// The history has ended when nothing was added for so many seconds; standard input ends by itself.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = limits::seconds)]
    idle: Duration,
    /// Hold so much at most (512M, 2G).
    #[arg(long, value_name = "BYTES", value_parser = limits::bytes)]
    memory_limit: Option<u64>,
    /// The history, in JSON Lines; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// How often the file is looked at when it has not grown.
const PAUSE: Duration = Duration::from_millis(50);
/// A longer line is refused: memory must not follow what a broken file says.
const LONGEST_LINE: u64 = 64 << 20;

impl Follow {
    pub(crate) fn run(&self) -> u8 {
        match self.follow() {
            Ok(analysis) => self.tell(&analysis),
            Err(problem) => {
                complain(format_args!("{}{problem}", self.file.display()));
                BAD_INPUT
            }
        }
    }

    /// Errors begin with the place in the file.
    fn follow(&self) -> Result<Analysis, String> {
        let unreadable = |error: io::Error| format!(": {error}");
        let piped = self.file == Path::new("-");
        let source: Box<dyn Read> = if piped {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).map_err(unreadable)?)
        };
        let mut lines = BufReader::new(source);
        let options = CheckOptions {
            model: self.model,
            memory_limit: self.memory_limit,
            ..CheckOptions::default()
        };
        let mut monitor: Option<Monitor> = None;
        let (mut line, mut number, mut grew) = (Vec::new(), 0u64, Instant::now());
        loop {
            let room = LONGEST_LINE - line.len() as u64;
            let read = lines.by_ref().take(room).read_until(b'\n', &mut line);
            let read = read.map_err(unreadable)?;
            let at = |problem: &dyn std::fmt::Display| format!(":{}: {problem}", number + 1);
            if !line.ends_with(b"\n") {
                if line.len() as u64 >= LONGEST_LINE {
                    return Err(at(
                        &"the line is longer than 64 MiB: an event is one line, and none is so long",
                    ));
                }
                if read > 0 {
                    grew = Instant::now();
                    continue;
                }
                if piped || grew.elapsed() >= self.idle {
                    break;
                }
                if let Some(Status::Violated { .. }) = monitor.as_mut().map(Monitor::look) {
                    break;
                }
                thread::sleep(PAUSE);
                continue;
            }
            grew = Instant::now();
            if !line.iter().all(u8::is_ascii_whitespace) {
                let header = match monitor {
                    None => Header::from_line(&line).map_err(|flaw| at(&flaw))?,
                    Some(_) => None,
                };
                let is_header = header.is_some();
                if monitor.is_none() {
                    let new = Monitor::new(&header.unwrap_or_default(), &options);
                    monitor = Some(new.map_err(|problem| at(&problem))?);
                }
                if !is_header {
                    let event = Event::from_line(&line).map_err(|flaw| at(&flaw))?;
                    let taken = monitor.as_mut().expect("made above").push(&event);
                    if let Status::Violated { .. } = taken.map_err(|problem| at(&problem))? {
                        break;
                    }
                }
            }
            number += 1;
            line.clear();
        }
        let monitor = monitor.map_or_else(|| Monitor::new(&Header::for_model("register"), &options), Ok);
        let analysis = monitor.and_then(Monitor::finish);
        analysis.map_err(|problem| format!(": {problem}"))
    }

    fn tell(&self, analysis: &Analysis) -> u8 {
        let word = match &analysis.verdict {
            Verdict::Linearizable(_) => "legal",
            Verdict::Illegal(_) => "illegal",
            Verdict::Unknown(_) => "unknown",
        };
        let told = writeln!(io::stdout(), "{word}\t{}", self.file.display());
        match &analysis.verdict {
            Verdict::Linearizable(_) => {}
            Verdict::Illegal(found) => explain(format_args!("{}: {}", self.file.display(), found.sentence)),
            Verdict::Unknown(limit) => explain(format_args!("{}: {limit}", self.file.display())),
        }
        match told {
            Err(error) if !nobody_reads(&error) => {
                complain(format_args!("standard output: {error}"));
                INTERNAL
            }
            _ => analysis.verdict.exit_code(),
        }
    }
}
