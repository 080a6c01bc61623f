//! The few lines of a node's log that a reader wants first: those around the violation, and the last ones.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use jiff::Timestamp;

/// What a report shows of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogExcerpt {
    /// Lines stamped around the violation; empty where there was none or nothing was said.
    pub around: Vec<String>,
    /// Earlier lines around the violation for which there was no room.
    pub around_left_out: u64,
    /// The last lines.
    pub tail: Vec<String>,
    /// Lines before them that were not shown.
    pub before_tail: u64,
}

/// Lines kept of each kind.
const KEPT: usize = 60;

/// Only the end of a larger log is read.
const MOST_BYTES: u64 = 64 << 20;

/// A line is cut beyond this.
const LONGEST_LINE: u64 = 4096;

/// How far into a line its stamp is looked for.
const STAMP_WITHIN: usize = 64;

impl LogExcerpt {
    /// Reads the lines stamped within `window`, and the last ones.
    ///
    /// A stamp is the first RFC 3339 time near the start of a line, as `tracing`, zap and most others write it; a
    /// line without one belongs to the line before. What is not UTF-8 is replaced, colours are taken out.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(mut log: impl Read + Seek, window: Option<(Timestamp, Timestamp)>) -> io::Result<Self> {
        let length = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES)))?;
        let mut reader = BufReader::new(log);
        let mut excerpt = Self::default();
        let mut tail: VecDeque<String> = VecDeque::with_capacity(KEPT + 1);
        let mut around: VecDeque<String> = VecDeque::new();
        let mut inside = false;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let line = plain(&bytes);
            if let Some((from, to)) = window {
                if let Some(stamp) = stamp(&line) {
                    inside = from <= stamp && stamp <= to;
                }
                if inside {
                    // The violation is complete at the end of its window: what is nearest to that is kept.
                    around.push_back(line.clone());
                    if around.len() > KEPT {
                        around.pop_front();
                        excerpt.around_left_out += 1;
                    }
                }
            }
            tail.push_back(line);
            if tail.len() > KEPT {
                tail.pop_front();
                excerpt.before_tail += 1;
            }
        }
        excerpt.around = around.into();
        excerpt.tail = tail.into();
        Ok(excerpt)
    }
}

/// A line without its end, its colours and what is not text.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.trim_end_matches(['\n', '\r']);
    let mut line = String::with_capacity(rest.len());
    while let Some(at) = rest.find("\u{1b}[") {
        line.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        // A control sequence ends with its first byte from @ to ~.
        rest = match sequence.find(|c: char| ('@'..='~').contains(&c)) {
            Some(end) => &sequence[end + 1..],
            None => "",
        };
    }
    line.push_str(rest);
    line
}

/// The first RFC 3339 time near the start of a line.
fn stamp(line: &str) -> Option<Timestamp> {
    let near: usize = line
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= STAMP_WITHIN)
        .last()
        .unwrap_or(0);
    let starts = line[..near]
        .match_indices('2')
        .map(|(at, _)| at)
        .chain((near == 0).then_some(0));
    starts.into_iter().find_map(|at| {
        let candidate = &line[at..];
        let end = candidate
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 'Z' | '+')))
            .unwrap_or(candidate.len());
        // The shortest is 2026-11-20T22:40:00Z.
        (end >= 20).then(|| candidate[..end].parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn lines_around_a_time_and_the_last_ones() {
        let mut log = String::new();
        for second in 0..200 {
            log.push_str(&format!(
                "2026-11-20T22:{:02}:{:02}.5Z  INFO line {second}\n",
                second / 60,
                second % 60
            ));
            if second == 100 {
                log.push_str("    at its heart\n");
            }
        }
        log.push_str("thread 'main' panicked");
        let window = (time("2026-11-20T22:01:40Z"), time("2026-11-20T22:01:42Z"));
        let excerpt = LogExcerpt::read(Cursor::new(log), Some(window)).expect("read");
        assert_eq!(
            excerpt.around,
            [
                "2026-11-20T22:01:40.5Z  INFO line 100",
                "    at its heart",
                "2026-11-20T22:01:41.5Z  INFO line 101"
            ]
        );
        assert_eq!(excerpt.tail.len(), KEPT);
        assert_eq!(
            excerpt.tail.last().map(String::as_str),
            Some("thread 'main' panicked")
        );
        assert_eq!(excerpt.before_tail, 202 - KEPT as u64);
    }

    #[test]
    fn stamps_are_found_where_loggers_put_them() {
        let expected = Some(time("2026-11-20T22:40:00.25Z"));
        for line in [
            "2026-11-20T22:40:00.250000Z  INFO kvnode: ready",
            "{\"level\":\"info\",\"ts\":\"2026-11-20T22:40:00.250Z\",\"msg\":\"ready\"}",
            "[22] 2026-11-20T23:40:00.25+01:00 ready",
        ] {
            assert_eq!(stamp(line), expected, "{line}");
        }
        for line in [
            "",
            "2",
            "ready",
            "2026-11-20",
            "ä2026-99-99T99:99:99.999Z",
            "222222222222222222222222",
        ] {
            assert_eq!(stamp(line), None, "{line}");
        }
    }

    #[test]
    fn whatever_bytes_a_node_wrote_become_lines() {
        let log = b"\x1b[32mINFO\x1b[0m ok\r\n\xff\xfe\n\x1b[".to_vec();
        let excerpt = LogExcerpt::read(Cursor::new(log), None).expect("read");
        assert_eq!(excerpt.tail, ["INFO ok", "\u{fffd}\u{fffd}", ""]);
        assert_eq!(
            LogExcerpt::read(Cursor::new(""), None).expect("read"),
            LogExcerpt::default()
        );
        let endless = vec![b'x'; 3 * LONGEST_LINE as usize];
        let excerpt = LogExcerpt::read(Cursor::new(endless), None).expect("read");
        assert_eq!(excerpt.tail.len(), 3);
    }
}
