//! A command line that is not understood, told as every other error is.

/// What is wrong with a command line of `program`, in one line: what, and what
/// would mend it. clap takes several, with the usage among them.
#[must_use]
pub fn one_line(error: &clap::Error, program: &str) -> String {
    let text = error.to_string();
    let told = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let line = told.collect::<Vec<_>>().join("; ");
    // A list that clap puts on lines of its own begins with a colon.
    let line = line.trim_start_matches("error: ").replace(":; ", ": ");
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let command = usage
        .into_iter()
        .flat_map(str::split_whitespace)
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .filter(|word| !word.starts_with('-'))
        .collect::<Vec<_>>()
        .join(" ");
    let command = if command.is_empty() { program } else { &command };
    format!("{line}; `{command} --help` shows what there is")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Args;

    #[test]
    fn a_wrong_command_line_is_one_line_that_says_what_mends_it() {
        for (typed, expected) in [
            (
                "nemesis partion halves",
                "a similar subcommand exists: 'partition'",
            ),
            ("nemesis kill", "required arguments were not provided: <TARGET>"),
            ("nemesis kill n1 --fro 3s", "unexpected argument '--fro'"),
            ("nemesis kill n1 --for soon", "invalid value 'soon' for '--for"),
        ] {
            let error = Args::try_parse_from(typed.split(' ')).expect_err("refused");
            let line = one_line(&error, "nemesis");
            assert!(line.contains(expected), "{line}");
            assert!(!line.contains('\n') && line.contains("--help`"), "{line}");
            assert!(!line.contains("error:") && !line.contains("Usage"), "{line}");
        }
    }
}
