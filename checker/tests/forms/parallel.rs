//! Reading in parallel says the same of the same lines.

use std::io::Read;

use checker::ReadOptions;
use checker::generate::{Simulation, Values};
use checker::history::{History, Writer};

/// Some megabytes of history, so that there are many blocks.
fn long() -> Vec<u8> {
    let simulation = Simulation {
        operations: 20_000,
        processes: 20,
        keys: 50,
        values: Values::Distinct,
        ..Simulation::default()
    };
    let mut writer = Writer::new(Vec::new(), &simulation.header()).expect("memory");
    for event in simulation.events() {
        writer.write(&event).expect("memory");
    }
    writer.into_inner().expect("memory")
}

fn error(bytes: &[u8]) -> String {
    let read = History::read(bytes, Some("h".to_owned()), &ReadOptions::default());
    read.expect_err("it is broken").to_string()
}

/// Replaces the line of this number, counted from 1.
fn with_line(text: &[u8], number: usize, line: &str) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    lines[number - 1] = line.as_bytes();
    lines.concat()
}

#[test]
fn the_first_wrong_line_is_named_wherever_it_is() {
    let whole = long();
    for number in [2, 3, 4097, 12_345, 30_000, 39_999] {
        let wrong = with_line(&whole, number, "nonsense\n");
        let twice = with_line(&wrong, 40_000, "and more\n");
        assert_eq!(
            error(&twice),
            format!("h:{number}: 'n' at column 1 where '{{' should be")
        );
        let pair = "{\"process\":99,\"type\":\"ok\",\"f\":\"get\",\"time\":1}\n";
        let unpaired = with_line(&wrong, number, pair);
        let both = with_line(&unpaired, number + 1, "nonsense\n");
        let said = error(&both);
        assert!(said.starts_with(&format!("h:{number}: ")), "{said}");
    }
}

#[test]
fn blank_lines_count() {
    let whole = long();
    let padded = [&b"\n  \n"[..], &whole, b"\n\n\nnonsense\n"].concat();
    let last = 2 + whole.iter().filter(|&&byte| byte == b'\n').count() + 3 + 1;
    assert_eq!(
        error(&padded),
        format!("h:{last}: 'n' at column 1 where '{{' should be")
    );
}

#[test]
fn it_does_not_matter_how_the_bytes_come() {
    struct Drops<'a>(&'a [u8]);
    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = into.len().min(self.0.len()).min(1 + self.0.len() % 977);
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let whole = long();
    let options = ReadOptions::default();
    let at_once = History::read(&whole, None, &options).expect("a history");
    let in_drops = History::read_from(Drops(&whole), None, &options).expect("a history");
    assert_eq!(at_once.events(), in_drops.events());
    assert_eq!(at_once.len(), 20_000);
}

#[test]
fn a_cut_off_last_line_is_left_out_in_long_files_too() {
    let whole = long();
    let cut = &whole[..whole.len() - 20];
    let history = History::read(cut, None, &ReadOptions::default()).expect("a history");
    assert_eq!(history.events().len(), 39_999);
}
