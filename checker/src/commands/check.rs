//! `checker check`: judges histories.

use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checker::history::{History, Value};
use checker::{
    Analysis, CasFail, CheckOptions, ModelName, Monitor, ReadOptions, SetFull, Stale, StaleBound,
    StaleLimits, Tuples, Verdict, Violations, check, model_of, sequential, set_full, stale_bound,
};
use clap::Args;

use super::convert::failed;
use super::measures::{self, Manner, Question};
use super::output::{Output, nobody_reads};
use super::{BAD_INPUT, INTERNAL, complain, explain, input, limits, transactions};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The model to judge by; otherwise the one that the history names or suggests.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelName>,
    /// What to ask of the history.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "QUESTION",
        visible_alias = "consistency"
    )]
    checker: Question,
    #[command(flatten)]
    bounds: measures::Bounds,
    /// What a failed cas of an imported history says: that it found another value, or nothing. The default is
    /// mismatch for jepsen.log and noop for EDN.
    #[arg(long, value_name = "mismatch|noop", value_parser = input::cas_fail)]
    cas_fail: Option<CasFail>,
    /// The value of every key before the run, as JSON; what is no JSON is text.
    #[arg(long, value_name = "VALUE", value_parser = input::value, allow_hyphen_values = true)]
    init: Option<Value>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = limits::seconds)]
    time_limit: Option<Duration>,
    /// Give up when the search holds so many bytes (512M, 2G).
    #[arg(long, value_name = "BYTES", value_parser = limits::bytes)]
    memory_limit: Option<u64>,
    /// How many threads to use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// In EDN histories, values are pairs of a key and a value, as jepsen.independent writes them.
    #[arg(long)]
    independent: bool,
    /// Judge every key instead of stopping at the first violation.
    #[arg(long)]
    all: bool,
    /// Print each analysis with its proof as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Also write each analysis with its proof to a file, one line of JSON a history, as --json prints it. The file is
    /// put in place when it is complete.
    #[arg(long, short, value_name = "RESULTS")]
    output: Option<PathBuf>,
    /// Print only the verdicts, no explanations.
    #[arg(long, short)]
    quiet: bool,
    /// Judge while reading, holding only what can still matter: for histories larger than memory. Registers in
    /// JSON Lines only; a yes then comes without an order, and a no is explained from the latest moment before it at
    /// which the value was certain. --memory-limit says how much may be held (256M).
    #[arg(long, conflicts_with_all = ["all", "independent", "checker"])]
    stream: bool,
    #[command(flatten)]
    transactions: transactions::Flags,
    /// The histories: JSON Lines, EDN, key-value logs or jepsen.log, plain or packed (gzip, zstd), told apart by
    /// their content; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Check {
    pub(crate) fn run(&self) -> u8 {
        let options = CheckOptions {
            model: self.model,
            init: self.init.clone(),
            cas_fail: self.cas_fail,
            time_limit: self.time_limit,
            memory_limit: self.memory_limit,
            threads: self.threads.map(usize::from),
            violations: if self.all {
                Violations::All
            } else {
                Violations::First
            },
            transactions: self.transactions.options(),
            ..CheckOptions::default()
        };
        let mut results = match self.output.as_deref().map(Results::create).transpose() {
            Ok(results) => results,
            Err(code) => return code,
        };
        let mut worst = 0;
        for file in &self.files {
            let code = self.one(file, &options, &mut results);
            worst = [worst, code]
                .into_iter()
                .max_by_key(|&code| badness(code))
                .unwrap_or(code);
        }
        match results.map(Results::finish) {
            Some(Err(code)) => code,
            _ => worst,
        }
    }

    fn one(&self, file: &Path, options: &CheckOptions, results: &mut Option<Results>) -> u8 {
        let judged = panic::catch_unwind(|| self.judge(file, options));
        if let (Some(results), Ok(Ok(judged))) = (results, &judged) {
            results.add(judged);
        }
        match judged {
            Ok(Ok(Judged::Operations(analysis))) => {
                told(self.tell(file, &analysis), analysis.verdict.exit_code())
            }
            Ok(Ok(Judged::Transactions(analysis))) => {
                let code = transactions::exit_code(&analysis);
                told(transactions::tell(file, &analysis, self.json, self.quiet), code)
            }
            Ok(Ok(Judged::Set(found))) => {
                let code = measures::exit_code(found.valid);
                told(measures::tell(file, &*found, &self.manner()), code)
            }
            Ok(Ok(Judged::Staleness(found))) => {
                let code = measures::exit_code(found.valid);
                told(measures::tell(file, &*found, &self.manner()), code)
            }
            Ok(Err(problem)) => {
                complain(problem);
                BAD_INPUT
            }
            Err(_) => {
                complain(format_args!(
                    "{}: the checker itself failed (above); please report it",
                    file.display()
                ));
                INTERNAL
            }
        }
    }

    fn judge(&self, file: &Path, options: &CheckOptions) -> Result<Judged, String> {
        if self.stream {
            let analysis = Monitor::stream(file, options).map_err(|error| error.to_string())?;
            return Ok(Judged::Operations(analysis));
        }
        let tuples = if self.independent {
            Tuples::Independent
        } else {
            Tuples::Values
        };
        let history = History::open(file, &ReadOptions { tuples }).map_err(|error| error.to_string())?;
        match self.checker {
            Question::Linearizable => {}
            Question::Sequential => {
                let found = sequential(&history, options);
                return found.map(Judged::Operations).map_err(|error| error.to_string());
            }
            Question::SetFull => {
                let stale = if self.bounds.no_stale {
                    Stale::Illegal
                } else {
                    Stale::Told
                };
                let found = set_full(&history, stale).map_err(|error| error.to_string())?;
                return Ok(Judged::Set(Box::new(found)));
            }
            Question::StaleBound => {
                let bounds = StaleLimits {
                    ms: self.bounds.stale_ms,
                    versions: self.bounds.stale_versions,
                };
                let found = stale_bound(&history, options, bounds).map_err(|error| error.to_string())?;
                return Ok(Judged::Staleness(Box::new(found)));
            }
        }
        let model = model_of(&history, options).map_err(|error| error.to_string())?;
        if model.is_transactional() {
            let mut wanted = options.transactions.clone();
            wanted.registers.init = options.init.clone();
            wanted.time_limit = options.time_limit;
            wanted.memory_limit = options.memory_limit;
            let analysis = checker::transactions::check(&history, model, &wanted);
            return analysis
                .map(Judged::Transactions)
                .map_err(|error| error.to_string());
        }
        let analysis = check(&history, options);
        analysis
            .map(Judged::Operations)
            .map_err(|error| error.to_string())
    }

    fn manner(&self) -> Manner {
        Manner {
            json: self.json,
            quiet: self.quiet,
        }
    }

    fn tell(&self, file: &Path, analysis: &Analysis) -> io::Result<u8> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, analysis)?;
            writeln!(out)?;
        } else {
            let word = match &analysis.verdict {
                Verdict::Linearizable(_) => "legal",
                Verdict::Illegal(_) => "illegal",
                Verdict::Unknown(_) => "unknown",
            };
            writeln!(out, "{word}\t{}", file.display())?;
        }
        out.flush()?;
        if !self.quiet {
            if analysis.init_guessed {
                explain(format_args!(
                    "{}: taken to begin with {}; --init says otherwise",
                    file.display(),
                    analysis.init
                ));
            }
            match &analysis.verdict {
                Verdict::Linearizable(_) => {}
                Verdict::Illegal(found) => explain(format_args!("{}: {}", file.display(), found.sentence)),
                Verdict::Unknown(limit) => explain(format_args!("{}: {limit}", file.display())),
            }
        }
        Ok(analysis.verdict.exit_code())
    }
}

/// The file that all results go to.
struct Results {
    place: PathBuf,
    out: Output,
    /// Whether something was written, and what went wrong then.
    written: Option<io::Result<()>>,
}

impl Results {
    /// Or how to exit.
    fn create(place: &Path) -> Result<Results, u8> {
        let out = Output::create(place).map_err(|error| failed(place, &error))?;
        Ok(Results {
            place: place.to_owned(),
            out,
            written: None,
        })
    }

    fn add(&mut self, judged: &Judged) {
        if matches!(self.written, Some(Err(_))) {
            return;
        }
        let line = match judged {
            Judged::Operations(analysis) => serde_json::to_writer(&mut self.out, analysis),
            Judged::Transactions(analysis) => serde_json::to_writer(&mut self.out, analysis),
            Judged::Set(found) => serde_json::to_writer(&mut self.out, found),
            Judged::Staleness(found) => serde_json::to_writer(&mut self.out, found),
        };
        self.written = Some(line.map_err(io::Error::from).and_then(|()| writeln!(self.out)));
    }

    /// Puts the file into its place, unless there is nothing to put there; or says how to exit.
    fn finish(self) -> Result<(), u8> {
        let Results { place, out, written } = self;
        let Some(written) = written else {
            return Ok(());
        };
        written
            .and_then(|()| out.finish())
            .map_err(|error| failed(&place, &error))
    }
}

enum Judged {
    Operations(Analysis),
    Transactions(checker::transactions::TransactionAnalysis),
    Set(Box<SetFull>),
    Staleness(Box<StaleBound>),
}

/// The exit code of a verdict that was to be told. A reader that went away takes nothing from the verdict; what
/// could not be written for another reason, as on a full disk, is a failure.
fn told(written: io::Result<u8>, verdict: u8) -> u8 {
    match written {
        Ok(code) => code,
        Err(error) if nobody_reads(&error) => verdict,
        Err(error) => {
            complain(format_args!("standard output: {error}"));
            INTERNAL
        }
    }
}

/// Failures are worse than verdicts; of verdicts illegal is worse than unknown, and unknown than legal.
fn badness(code: u8) -> u8 {
    match code {
        0 => 0,
        2 => 1,
        1 => 2,
        other => other,
    }
}
