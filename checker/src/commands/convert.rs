//! `checker convert`: a history in another form.

use std::io;
use std::path::{Path, PathBuf};

use checker::convert::{ConvertError, Explicit, Target};
use clap::{Args, ValueEnum};

use super::input::Input;
use super::output::{Output, nobody_reads};
use super::{BAD_INPUT, INTERNAL, complain};

/// What a form leaves unsaid is made explicit (initial value, what a failed cas means), so that the verdict stays
/// the same. Times of imported forms are for display only; in JSON Lines, where times decide, they are moved up
/// where they do not grow. In EDN get and set of registers are called read and write.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  checker convert run/history.jsonl history.edn          by the name of the output
  checker convert jepsen.log.gz history.jsonl            packed input is unpacked
  checker convert --to edn-lines history.jsonl | less    to standard output
  checker convert --to kv-log history.jsonl kv.txt       for Porcupine: texts, get, put and append only")]
pub(crate) struct Convert {
    #[command(flatten)]
    input: Input,
    /// Where to write; - or nothing is standard output. A file is put in place when it is complete.
    #[arg(value_name = "OUTPUT")]
    output: Option<PathBuf>,
    /// The form to write; otherwise the name of the output says (.jsonl, .edn).
    #[arg(long, value_name = "FORM")]
    to: Option<Form>,
}

/// The forms as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Our own: JSON Lines.
    Jsonl,
    /// A vector of maps, as Jepsen writes it.
    Edn,
    /// One map a line, as Knossos and Elle read it too.
    EdnLines,
    /// One map a line with just process, type, f, key and value, as Porcupine reads it.
    KvLog,
}

impl Form {
    /// What the name of a file says.
    pub(crate) fn of(path: &Path) -> Option<Form> {
        match path.extension()?.to_str()? {
            "jsonl" | "json" | "ndjson" => Some(Form::Jsonl),
            "edn" => Some(Form::Edn),
            _ => None,
        }
    }

    pub(crate) fn target(self) -> Target {
        match self {
            Form::Jsonl => Target::JsonLines,
            Form::Edn => Target::EdnVector,
            Form::EdnLines => Target::EdnLines,
            Form::KvLog => Target::KeyValueLog,
        }
    }
}

impl Convert {
    pub(crate) fn run(&self) -> u8 {
        let output = self.output.clone().unwrap_or_else(|| "-".into());
        let Some(form) = self.to.or_else(|| Form::of(&output)) else {
            complain(format_args!(
                "{}: the name does not say which form to write: name it with --to jsonl, edn, edn-lines or kv-log",
                output.display()
            ));
            return BAD_INPUT;
        };
        let explicit = self.input.open().and_then(|history| {
            Explicit::of(&history, &self.input.options()).map_err(|error| error.to_string())
        });
        match explicit {
            Ok(explicit) => write(explicit, form, &output),
            Err(problem) => {
                complain(problem);
                BAD_INPUT
            }
        }
    }
}

/// Writes a history; says how to exit.
pub(crate) fn write(history: Explicit, form: Form, output: &Path) -> u8 {
    let written = Output::create(output)
        .map_err(ConvertError::Io)
        .and_then(|mut out| {
            history.write(form.target(), &mut out)?;
            out.finish().map_err(ConvertError::Io)
        });
    match written {
        Ok(()) => 0,
        Err(ConvertError::Io(error)) => failed(output, &error),
        Err(problem) => {
            complain(problem);
            BAD_INPUT
        }
    }
}

/// Writing failed; says how to exit.
pub(crate) fn failed(output: &Path, error: &io::Error) -> u8 {
    if nobody_reads(error) {
        return 0;
    }
    let name = if output.as_os_str() == "-" {
        "standard output".into()
    } else {
        output.display().to_string()
    };
    complain(format_args!("{name}: {error}; nothing was put there"));
    INTERNAL
}
