//! `checker bench`: how fast is it here, and how fast is Porcupine?

mod corpus;
mod measure;
mod plot;

use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::figures::{figures, of_length};
use checker::generate::Simulation;
use clap::Args;

use self::measure::Measured;
use self::plot::Point;
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
    /// Instead, measure recorded histories of any form, of registers with or without keys: a file, or the files of a
    /// folder added up. May be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["only", "plot"])]
    corpus: Vec<PathBuf>,
    /// Instead, plot cost against length, from a thousand operations on, into this SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The longest history of the plot: a power of ten.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(3..=8))]
    longest: u32,
    /// From this power of ten on, the plot judges histories as they stream in, and nothing holds them whole.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(3..=9))]
    stream_from: u32,
    /// Measure this history in this process and print what came of it.
    #[arg(long, value_name = "FILE", hide = true)]
    one: Option<PathBuf>,
    /// Measure the history that comes by standard input, as it comes, and print what came of it.
    #[arg(long, hide = true)]
    streamed: bool,
}

impl Bench {
    pub(crate) fn run(&self) -> u8 {
        let done = match (&self.one, &self.plot) {
            _ if self.streamed => measure::streamed_here(self.time_limit, self.memory_limit),
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
        for path in &self.corpus {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for (number, recorded) in corpus::files(path)?.iter().enumerate() {
                let file = folder.path.join(format!("{number}.jsonl"));
                corpus::convert(recorded, &file)?;
                ours.push(self.measure(&file)?);
                if let Some(program) = &self.porcupine {
                    theirs.push(fastest(self.repeat, || {
                        measure::by(program, &file, self.time_limit)
                    })?);
                }
                folder.discard(&file)?;
            }
            let theirs = (!theirs.is_empty()).then(|| corpus::sum(&theirs));
            print_row(&path.display().to_string(), &corpus::sum(&ours), theirs.as_ref());
        }
        if !self.corpus.is_empty() {
            return Ok(());
        }
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
            let theirs = match &self.porcupine {
                Some(program) => Some(measure::by(program, &file, self.time_limit)?),
                None => None,
            };
            print_row(figure.name, &ours, theirs.as_ref());
            folder.discard(&file)?;
        }
        Ok(())
    }

    fn plot(&self, into: &Path) -> io::Result<()> {
        let folder = Folder::new(self.write.as_deref())?;
        let mut points = Vec::new();
        for power in 3..=self.longest {
            let operations = 10u64.pow(power);
            let simulation = of_length(operations);
            if power >= self.stream_from {
                let repeat = || measure::streamed_apart(&simulation, self.time_limit, self.memory_limit);
                let measured = fastest(self.repeat, repeat)?;
                println!(
                    "{operations:>12} operations: {:>8}, streamed {:>12}, user {:>12}, {:>6.0} ns an operation, peak {}",
                    measured.verdict,
                    millis(measured.wall),
                    millis(measured.user),
                    measured.wall * 1e9 / operations as f64,
                    megabytes(measured.peak)
                );
                points.push(Point {
                    operations,
                    measured,
                    streamed: true,
                });
                continue;
            }
            let file = folder.write(&format!("{operations} operations"), &simulation)?;
            let measured = self.measure(&file)?;
            println!(
                "{operations:>12} operations: {:>8}, load {:>12}, check {:>12}, {:>6.0} ns an operation, peak {}",
                measured.verdict,
                millis(measured.load),
                millis(measured.wall),
                (measured.load + measured.wall) * 1e9 / operations as f64,
                megabytes(measured.peak)
            );
            points.push(Point {
                operations,
                measured,
                streamed: false,
            });
            folder.discard(&file)?;
        }
        plot::draw(into, &points)
    }

    /// The fastest of several runs, each in a process of its own.
    fn measure(&self, file: &Path) -> io::Result<Measured> {
        fastest(self.repeat, || {
            measure::apart(file, self.time_limit, self.memory_limit)
        })
    }
}

fn fastest(repeat: u32, measure: impl Fn() -> io::Result<Measured>) -> io::Result<Measured> {
    let first = measure()?;
    (1..repeat).try_fold(first, |best, _| Ok(best.fastest(measure()?)))
}

/// One line of the table: ours, and what the other program took beside it.
fn print_row(name: &str, ours: &Measured, theirs: Option<&Measured>) {
    print!(
        "{name:<70} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8}",
        ours.verdict,
        millis(ours.load),
        millis(ours.wall),
        millis(ours.user),
        ours.explained.map_or_else(|| "-".to_owned(), millis),
        megabytes(ours.peak),
    );
    if let Some(theirs) = theirs {
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
        measure::feed(simulation, BufWriter::new(fs::File::create(&path)?))?;
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
