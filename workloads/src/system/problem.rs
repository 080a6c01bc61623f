//! Why a system file cannot be used: where, what, and what was probably meant.

use std::path::{Path, PathBuf};

/// Why a system file cannot be used; one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The file could not be read.
    #[error("{}: {source}; `workloads list` names the shipped systems, and a file is named by its path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what a system file should be.
    #[error("{}:{line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// There is no such variant.
    #[error("{message}")]
    Variant {
        /// Which was asked for, and which there are.
        message: String,
    },
}

/// Something that a file says and that cannot be.
#[derive(Debug)]
pub(super) struct Problem {
    /// The table that it stands in, as `operation.get`; empty for the top of the file.
    pub(super) section: String,
    /// A text that its line holds.
    pub(super) needle: String,
    /// What is wrong.
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(
        section: impl Into<String>,
        needle: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            section: section.into(),
            needle: needle.into(),
            message: message.into(),
        }
    }

    /// The error that says it, with the line where `text` has it.
    pub(super) fn locate(self, path: &Path, text: &str) -> SystemError {
        let section = self.section.as_str();
        let begins = |line: &str| section_of(line).is_some_and(|name| name == section);
        let start = match section {
            "" => Some(0),
            _ => text.lines().position(begins),
        };
        let within = text.lines().enumerate().skip(start.unwrap_or(0));
        let found = within
            .clone()
            .find(|(_, line)| !line.trim_start().starts_with('#') && line.contains(&self.needle))
            .map(|(number, _)| number)
            .or(start)
            .map_or(0, |number| number + 1);
        let place = if section.is_empty() {
            String::new()
        } else {
            format!("[{section}]: ")
        };
        SystemError::Parse {
            path: path.to_owned(),
            line: found,
            message: format!("{place}{}", self.message),
        }
    }
}

/// What the TOML reader found, with its line, its table and what was probably meant.
pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> SystemError {
    let start = error.span().map(|span| span.start);
    let line = start.map_or(0, |start| text[..start].matches('\n').count() + 1);
    let section = text
        .lines()
        .take(line)
        .filter_map(section_of)
        .last()
        .map_or(String::new(), |name| format!("[{name}]: "));
    let message = error.message().trim().replace('\n', " ");
    let hint = suggestion(&message).map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
    SystemError::Parse {
        path: path.to_owned(),
        line,
        message: format!("{section}{message}{hint}"),
    }
}

/// The table that a line begins.
fn section_of(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let inner = line.strip_prefix('[')?.strip_suffix(']')?;
    let inner = inner
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(inner);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._- \"".contains(c);
    inner.chars().all(is_name).then_some(inner.trim())
}

/// Of the names that serde says it expected, the one nearest to what it found.
fn suggestion(message: &str) -> Option<String> {
    let (found, expected) = message.split_once("expected")?;
    let found = found.split('`').nth(1)?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    nearest(found, known.iter().copied()).map(str::to_owned)
}

/// The name that `typed` was probably meant to be.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(typed, name);
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3) || name.starts_with(typed))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_the_nearest_name() {
        let known = ["path", "status", "within_s", "command"];
        for (typed, meant) in [
            ("within", Some("within_s")),
            ("staus", Some("status")),
            ("pth", Some("path")),
            ("comand", Some("command")),
            ("elephant", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }
}
