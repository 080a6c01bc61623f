//! `checker bench`: how fast is it here, and how fast is Porcupine?

mod measure;
mod plot;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::figures::{figures, of_length};
use checker::generate::Simulation;
use checker::history::Writer;
use clap::Args;

use self::measure::Measured;
use super::{BAD_INPUT, complain, limits};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Only the cases whose name contains this.
    #[arg(value_name = "NAME")]
    only: Option<String>,
    /// Repeat each case so often and tell the fastest.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Give up a case after so many seconds.
    #[arg(long, default_value = "10", value_parser = limits::seconds)]
    time_limit: Duration,
    /// Give up a case that holds so many bytes.
    #[arg(long, default_value = "1G", value_parser = limits::bytes)]
    memory_limit: u64,
    /// Keep each history in this folder, for other checkers.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Run this program over the same histories, too: the driver of Porcupine in checker/benches/porcupine, built
    /// with `go build`.
    #[arg(long, value_name = "PROGRAM")]
    porcupine: Option<PathBuf>,
    /// Instead, plot cost against length, from a thousand operations on, into this SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The longest history of the plot: a power of ten.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(3..=8))]
    longest: u32,
    /// Measure this history in this process and print what came of it.
    #[arg(long, value_name = "FILE", hide = true)]
    one: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(&self) -> u8 {
        let done = match (&self.one, &self.plot) {
            (Some(file), _) => measure::here(file, self.time_limit, self.memory_limit),
            (None, Some(file)) => self.plot(file),
            (None, None) => self.table(),
        };
        match done {
            Ok(()) => 0,
            Err(problem) => {
                complain(format_args!("bench: {problem}"));
                BAD_INPUT
            }
        }
    }

    fn table(&self) -> io::Result<()> {
        let folder = Folder::new(self.write.as_deref())?;
        let others = if self.porcupine.is_some() {
            format!(
                " {:>9} {:>10} {:>8} {:>7} {:>7}",
                "porcupine", "user", "peak", "time", "memory"
            )
        } else {
            String::new()
        };
        println!(
            "{:<70} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8}{others}",
            "history", "verdict", "load", "check", "user", "explained", "peak"
        );
        for figure in figures() {
            if self
                .only
                .as_ref()
                .is_some_and(|only| !figure.name.contains(only.as_str()))
            {
                continue;
            }
            let file = folder.write(figure.name, &figure.simulation)?;
            let ours = self.measure(&file)?;
            print!(
                "{:<70} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8}",
                figure.name,
                ours.verdict,
                millis(ours.load),
                millis(ours.wall),
                millis(ours.user),
                ours.explained.map_or_else(|| "-".to_owned(), millis),
                megabytes(ours.peak),
            );
            if let Some(program) = &self.porcupine {
                let theirs = measure::by(program, &file, self.time_limit)?;
                let known = if theirs.verdict == "unknown" { ">" } else { "" };
                print!(
                    " {:>9} {:>10} {:>8} {known:>1}{:>6.0} {:>7.0}",
                    theirs.verdict,
                    millis(theirs.user),
                    megabytes(theirs.peak),
                    theirs.user / ours.user,
                    theirs.peak as f64 / ours.peak as f64,
                );
            }
            println!();
            folder.discard(&file)?;
        }
        Ok(())
    }

    fn plot(&self, into: &Path) -> io::Result<()> {
        let folder = Folder::new(self.write.as_deref())?;
        let mut points = Vec::new();
        for power in 3..=self.longest {
            let operations = 10u64.pow(power);
            let file = folder.write(&format!("{operations} operations"), &of_length(operations))?;
            let measured = self.measure(&file)?;
            println!(
                "{operations:>12} operations: {:>8}, load {:>12}, check {:>12}, {:>6.0} ns an operation, peak {}",
                measured.verdict,
                millis(measured.load),
                millis(measured.wall),
                (measured.load + measured.wall) * 1e9 / operations as f64,
                megabytes(measured.peak)
            );
            points.push((operations, measured));
            folder.discard(&file)?;
        }
        plot::draw(into, &points)
    }

    /// The fastest of several runs, each in a process of its own.
    fn measure(&self, file: &Path) -> io::Result<Measured> {
        let mut best: Option<Measured> = None;
        for _ in 0..self.repeat {
            let measured = measure::apart(file, self.time_limit, self.memory_limit)?;
            best = Some(match best {
                Some(best) => best.fastest(measured),
                None => measured,
            });
        }
        Ok(best.expect("there is at least one run"))
    }
}

/// Where histories lie while they are measured.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn new(kept: Option<&Path>) -> io::Result<Folder> {
        let path = match kept {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("checker-bench-{}", std::process::id())),
        };
        fs::create_dir_all(&path)?;
        Ok(Folder {
            path,
            kept: kept.is_some(),
        })
    }

    fn write(&self, name: &str, simulation: &Simulation) -> io::Result<PathBuf> {
        let path = self.path.join(name.replace([' ', ',', '%'], "-") + ".jsonl");
        let mut writer = Writer::new(BufWriter::new(fs::File::create(&path)?), &simulation.header())?;
        for event in simulation.events() {
            writer.write(&event)?;
        }
        writer.into_inner()?.flush()?;
        Ok(path)
    }

    fn discard(&self, file: &Path) -> io::Result<()> {
        if self.kept { Ok(()) } else { fs::remove_file(file) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // Whatever is left lies among temporary files; there is nobody to tell.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn millis(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}
