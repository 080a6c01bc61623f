//! Where a setting's value comes from: a flag beats its variable, which beats the file,
//! which beats the default.
//!
//! The file is read key by key rather than into a struct, so that every mistake in it is
//! found at once, each with its line.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::env::fs;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Variable(String),
    /// A file, `PATH:LINE`.
    File(String),
    /// Nobody said anything.
    Default,
}

/// The layers, and what was taken from them.
pub struct Settings<'a> {
    matches: &'a ArgMatches,
    path: String,
    file: BTreeMap<String, (usize, toml::Value)>,
    mistakes: Vec<String>,
    /// All names that were asked for, found or not.
    known: Vec<&'static str>,
    taken: Vec<(&'static str, String, Source)>,
}

impl<'a> Settings<'a> {
    /// The flags and variables, and a file if there is one.
    pub fn layered(matches: &'a ArgMatches, file: Option<&Path>) -> Settings<'a> {
        let mut settings = Settings {
            matches,
            path: file.map(|path| path.display().to_string()).unwrap_or_default(),
            file: BTreeMap::new(),
            mistakes: Vec::new(),
            known: Vec::new(),
            taken: Vec::new(),
        };
        if let Some(path) = file {
            settings.read(path);
        }
        settings
    }

    fn read(&mut self, path: &Path) {
        let shown = path.display();
        let bytes = match fs::read_if_there(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.mistakes.push(format!("{shown}: there is no such file")),
            Err(error) => return self.mistakes.push(format!("{shown}: {error}")),
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return self.mistakes.push(format!("{shown} is no UTF-8 text"));
        };
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let at = error.span().map_or(1, |span| line(span.start));
            let told = error.message().replace('\n', " ");
            self.mistakes.push(format!("{shown}:{at}: {told}"));
        }
        for (key, value) in table.into_inner() {
            let at = line(key.span().start);
            let name = key.into_inner().into_owned();
            // Every value of the grammar is one, so this cannot fail.
            if let Ok(value) = toml::Value::deserialize(value.into_deserializer()) {
                self.file.insert(name, (at, value));
            }
        }
    }

    /// The value of a setting, if any layer has one. `flag` is what flag or variable said.
    pub fn take<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &'static str,
        flag: Option<T>,
        default: Option<T>,
    ) -> Option<T> {
        self.known.push(name);
        let filed = self.file.remove(name);
        let (value, source) = match (flag, filed) {
            (Some(value), _) => (value, self.said(name)),
            (None, Some((line, value))) => {
                let source = format!("{}:{line}", self.path);
                match value.try_into::<T>() {
                    Ok(value) => (value, Source::File(source)),
                    Err(error) => {
                        let told = error.message().replace('\n', " ");
                        self.mistakes.push(format!("{source}: {name}: {told}"));
                        return default;
                    }
                }
            }
            (None, None) => (default?, Source::Default),
        };
        self.taken.push((name, shown(&value), source));
        Some(value)
    }

    /// Notes a mistake in the value of a setting, with its place.
    pub fn mistake(&mut self, name: &str, what: impl std::fmt::Display) {
        let source = self.taken.iter().rev().find(|(taken, ..)| *taken == name);
        self.mistakes.push(match source.map(|(_, _, source)| source) {
            Some(Source::File(place)) => format!("{place}: {name}: {what}"),
            Some(Source::Variable(variable)) => format!("{variable}: {what}"),
            _ => format!("--{}: {what}", name.replace('_', "-")),
        });
    }

    /// Notes a mistake that no single setting made.
    pub fn contradiction(&mut self, what: impl std::fmt::Display) {
        self.mistakes.push(what.to_string());
    }

    /// Ends the taking: whatever the file has beyond that is unknown. Tells all mistakes,
    /// those first that may be the cause of others.
    pub fn finish(&mut self) -> Vec<String> {
        let unknown = std::mem::take(&mut self.file).into_iter();
        let mut mistakes: Vec<String> = unknown
            .map(|(name, (line, _))| {
                let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
                let close = self.known.iter().find(|known| plain(known) == plain(&name));
                let hint = close.map_or(String::new(), |close| format!(", perhaps '{close}'"));
                format!("{}:{line}: there is no setting '{name}'{hint}", self.path)
            })
            .collect();
        mistakes.append(&mut self.mistakes);
        let in_file = format!("{}:", self.path);
        mistakes.sort_by_key(|mistake| self.path.is_empty() || !mistake.starts_with(&in_file));
        mistakes
    }

    /// What was taken, as a file that says the same, each with where it comes from.
    pub fn effective(&self) -> String {
        let mut out = String::new();
        for (name, value, source) in &self.taken {
            let source = match source {
                Source::Flag => "flag".to_owned(),
                Source::Variable(name) => format!("variable {name}"),
                Source::File(place) => format!("file {place}"),
                Source::Default => "default".to_owned(),
            };
            let _ = writeln!(out, "{:<50} # {source}", format!("{name} = {value}"));
        }
        out
    }

    fn said(&self, name: &str) -> Source {
        match self.matches.value_source(name) {
            Some(ValueSource::EnvVariable) => Source::Variable(format!("KVNODE_{}", name.to_uppercase())),
            _ => Source::Flag,
        }
    }
}

fn shown<T: Serialize>(value: &T) -> String {
    let mut out = String::new();
    let _ = value.serialize(toml::ser::ValueSerializer::new(&mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(flags: &[&str], text: &str, look: impl FnOnce(&mut Settings<'_>)) -> (Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvnode.toml");
        fs::write_durably(&path, text.as_bytes()).unwrap();
        let number = |name| {
            clap::Arg::new(name)
                .long(name)
                .value_parser(clap::value_parser!(u64))
        };
        let command = clap::Command::new("x").args(["one", "two", "three"].map(number));
        let matches = command.get_matches_from([&["x"], flags].concat());
        let mut settings = Settings::layered(&matches, Some(&path));
        look(&mut settings);
        let place = path.display().to_string();
        let mistakes = settings.finish();
        let named = |text: String| text.replace(&place, "FILE");
        (
            mistakes.into_iter().map(named).collect(),
            named(settings.effective()),
        )
    }

    #[test]
    fn the_stronger_layer_wins_and_is_named() {
        let (mistakes, effective) = layered(&["--one", "1"], "one = 2\n\ntwo = 2\n", |settings| {
            assert_eq!(settings.take("one", Some(1_u64), Some(9)), Some(1));
            assert_eq!(settings.take::<u64>("two", None, Some(9)), Some(2));
            assert_eq!(settings.take::<u64>("three", None, Some(9)), Some(9));
            assert_eq!(settings.take::<String>("four", None, None), None);
        });
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let lines: Vec<Vec<&str>> = effective
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["one", "=", "1", "#", "flag"]);
        assert_eq!(lines[1], ["two", "=", "2", "#", "file", "FILE:3"]);
        assert_eq!(lines[2], ["three", "=", "9", "#", "default"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "one = \"many\"\nOne = 1\ntwo = -1\nfour = 4\nfive = = 5\nthree = 3\n";
        let (mistakes, _) = layered(&[], text, |settings| {
            settings.take::<u64>("one", None, Some(9));
            settings.take::<u64>("two", None, Some(9));
            settings.take::<u64>("three", None, Some(9));
            settings.mistake("three", "is odd");
        });
        for want in [
            "FILE:1: one: invalid type: string \"many\", expected u64",
            "FILE:2: there is no setting 'One', perhaps 'one'",
            "FILE:3: two: ",
            "FILE:4: there is no setting 'four'",
            "FILE:5: ",
            "FILE:6: three: is odd",
        ] {
            assert!(
                mistakes.iter().any(|told| told.starts_with(want)),
                "'{want}' is not in {mistakes:#?}"
            );
        }
    }
}
