//! `checker follow`: judges a history while it is written.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use checker::history::{Event, Header};
use checker::{CheckOptions, ModelName, Monitor, Status, Verdict};
use clap::Args;

use super::{BAD_INPUT, complain, limits};

#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The model to judge by; otherwise the one that the history names.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// The history has ended when nothing was added for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = limits::seconds)]
    idle: Duration,
    /// The history, in JSON Lines.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// How often the file is looked at when it has not grown.
const PAUSE: Duration = Duration::from_millis(50);

impl Follow {
    pub(crate) fn run(&self) -> u8 {
        match self.follow() {
            Ok(code) => code,
            Err(problem) => {
                complain(format_args!("{}{problem}", self.file.display()));
                BAD_INPUT
            }
        }
    }

    /// Errors begin with the place in the file.
    fn follow(&self) -> Result<u8, String> {
        let unreadable = |error: std::io::Error| format!(": {error}");
        let mut lines = BufReader::new(File::open(&self.file).map_err(unreadable)?);
        let options = CheckOptions {
            model: self.model,
            ..CheckOptions::default()
        };
        let mut monitor: Option<Monitor> = None;
        let (mut line, mut number, mut grew) = (String::new(), 0u64, Instant::now());
        loop {
            let read = lines.read_line(&mut line).map_err(unreadable)?;
            if read == 0 || !line.ends_with('\n') {
                if grew.elapsed() >= self.idle {
                    break;
                }
                if let Some(Status::Violated { .. }) = monitor.as_mut().map(Monitor::look) {
                    break;
                }
                grew = if read > 0 { Instant::now() } else { grew };
                thread::sleep(PAUSE);
                continue;
            }
            number += 1;
            grew = Instant::now();
            let at = |problem: &dyn std::fmt::Display| format!(":{number}: {problem}");
            let text = std::mem::take(&mut line);
            if text.trim().is_empty() {
                continue;
            }
            if monitor.is_none() {
                let header = Header::from_line(text.as_bytes()).map_err(|flaw| at(&flaw))?;
                let new = Monitor::new(&header.clone().unwrap_or_default(), &options);
                monitor = Some(new.map_err(|problem| at(&problem))?);
                if header.is_some() {
                    continue;
                }
            }
            let event = Event::from_line(text.as_bytes()).map_err(|flaw| at(&flaw))?;
            let taken = monitor.as_mut().expect("made above").push(&event);
            if let Status::Violated { .. } = taken.map_err(|problem| at(&problem))? {
                break;
            }
        }
        self.tell(monitor)
    }

    fn tell(&self, monitor: Option<Monitor>) -> Result<u8, String> {
        let Some(monitor) = monitor else {
            println!("legal\t{}", self.file.display());
            return Ok(0);
        };
        let analysis = monitor.finish().map_err(|problem| format!(": {problem}"))?;
        let word = match &analysis.verdict {
            Verdict::Linearizable(_) => "legal",
            Verdict::Illegal(_) => "illegal",
            Verdict::Unknown(_) => "unknown",
        };
        println!("{word}\t{}", self.file.display());
        match &analysis.verdict {
            Verdict::Linearizable(_) => {}
            Verdict::Illegal(found) => eprintln!("{}: {}", self.file.display(), found.sentence),
            Verdict::Unknown(limit) => eprintln!("{}: {limit}", self.file.display()),
        }
        Ok(analysis.verdict.exit_code())
    }
}
