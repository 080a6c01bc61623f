//! A run under way, from its growing history: rate, outcomes, faults that are on, the verdict so far.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};

use checker::history::{Event, EventKind, Header, Process, ProcessId};
use checker::{CheckOptions, Monitor, Status};
use hdrhistogram::Histogram;
use nemesis::{FaultId, Record};
use serde::Serialize;

use crate::evidence::Note;
use crate::live::Counts;

/// How far back the rate and the latencies look, on the run's clock.
const RECENT_NS: u64 = 5_000_000_000;
/// How much is read at once.
const BLOCK: usize = 1 << 20;
/// A line that is longer is no event of ours.
const LONGEST_LINE: usize = 16 << 20;

/// What is to be seen of a run; one message of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct View {
    /// How far the run's clock went, in seconds.
    pub(super) at_s: f64,
    /// `load`, `healing and final reads`, `over`.
    pub(super) phase: &'static str,
    pub(super) ok: u64,
    pub(super) mismatch: u64,
    pub(super) fail: u64,
    pub(super) unknown: u64,
    /// Operations that completed a second, of late.
    pub(super) rate: f64,
    /// Latencies of late, in milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Faults that are on.
    pub(super) faults: Vec<String>,
    /// What the judge says so far; never the verdict, which is the checker's.
    pub(super) verdict: String,
    /// Whether the judge found something.
    pub(super) violated: bool,
    /// Whether the run's last event was seen.
    pub(super) over: bool,
}

/// Reads a history as it grows.
pub(super) struct Tail {
    file: File,
    rest: Vec<u8>,
    monitor: Option<Monitor>,
    begun: bool,
    verdict: Option<String>,
    violated: bool,
    open: HashMap<ProcessId, u64>,
    counts: Counts,
    recent: VecDeque<(u64, u64)>,
    faults: BTreeMap<FaultId, String>,
    now: u64,
    phase: &'static str,
}

impl Tail {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            rest: Vec::new(),
            monitor: None,
            begun: false,
            verdict: None,
            violated: false,
            open: HashMap::new(),
            counts: Counts::default(),
            recent: VecDeque::new(),
            faults: BTreeMap::new(),
            now: 0,
            phase: "load",
        }
    }

    /// Reads what was added.
    ///
    /// # Errors
    /// When the file cannot be read, or is no history.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            let read = self.file.read(&mut block)?;
            if read == 0 {
                self.look();
                return Ok(());
            }
            self.rest.extend_from_slice(&block[..read]);
            let bytes = std::mem::take(&mut self.rest);
            let mut from = 0;
            while let Some(length) = bytes[from..].iter().position(|byte| *byte == b'\n') {
                self.line(&bytes[from..from + length])?;
                from += length + 1;
            }
            self.rest = bytes[from..].to_vec();
            if self.rest.len() > LONGEST_LINE {
                return Err(io::Error::other("a line without an end"));
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        if !std::mem::replace(&mut self.begun, true) {
            let header = Header::from_line(line).map_err(|flaw| io::Error::other(flaw.to_string()))?;
            let is_header = header.is_some();
            match Monitor::new(&header.unwrap_or_default(), &CheckOptions::default()) {
                Ok(monitor) => self.monitor = Some(monitor),
                Err(error) => self.verdict = Some(format!("not judged while it runs: {error}")),
            }
            if is_header {
                return Ok(());
            }
        }
        let event = Event::from_line(line).map_err(|flaw| io::Error::other(flaw.to_string()))?;
        self.event(&event);
        Ok(())
    }

    fn event(&mut self, event: &Event) {
        self.now = self.now.max(event.time.0);
        match event.process {
            Process::Client(process) => self.client(process, event),
            Process::Nemesis => self.nemesis(event),
        }
        let Some(monitor) = self.monitor.as_mut() else {
            return;
        };
        match monitor.push(event) {
            Ok(status) => self.judged(&status),
            Err(error) => {
                self.verdict = Some(format!("not judged any further: {error}"));
                self.monitor = None;
            }
        }
    }

    /// Has the judge look at what it put off.
    fn look(&mut self) {
        if let Some(status) = self.monitor.as_mut().map(Monitor::look) {
            self.judged(&status);
        }
    }

    fn judged(&mut self, status: &Status) {
        if let Status::Violated { key } = status {
            self.violated = true;
            let key = key
                .as_ref()
                .map_or_else(String::new, |key| format!(" on key {key}"));
            let at = self.now as f64 / 1e9;
            self.verdict = Some(format!("a violation{key}, {at:.1} s into the run"));
            // After the first violation the judge has nothing to add.
            self.monitor = None;
        }
    }

    fn client(&mut self, process: ProcessId, event: &Event) {
        if event.kind == EventKind::Invoke {
            self.open.insert(process, event.intended.unwrap_or(event.time).0);
            return;
        }
        let Some(begun) = self.open.remove(&process) else {
            return;
        };
        match event.kind {
            EventKind::Ok => self.counts.ok += 1,
            EventKind::Fail if event.error.as_deref() == Some("mismatch") => self.counts.mismatch += 1,
            EventKind::Fail => self.counts.fail += 1,
            _ => self.counts.info += 1,
        }
        self.recent.push_back((self.now, self.now.saturating_sub(begun)));
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| at + RECENT_NS < self.now)
        {
            self.recent.pop_front();
        }
    }

    fn nemesis(&mut self, event: &Event) {
        let json = event.value.to_json();
        match serde_json::from_value::<Record>(json.clone()) {
            Ok(Record::Applied(applied)) if !applied.over => {
                let text = format!("{}: {}", applied.fault, applied.description);
                self.faults.insert(applied.id, text);
            }
            Ok(Record::Undone(undone)) => {
                self.faults.remove(&undone.id);
            }
            Ok(Record::Crashed { node, .. }) => {
                self.verdict = Some(format!("{node} died without being told to"));
                self.violated = true;
            }
            Ok(_) => {}
            Err(_) => match serde_json::from_value::<Note>(json) {
                Ok(Note::LoadOver { .. }) => self.phase = "healing and final reads",
                Ok(Note::Over { .. }) => self.phase = "over",
                _ => {}
            },
        }
    }

    /// What is to be seen now.
    pub(super) fn view(&self) -> View {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 600_000_000, 2).expect("valid bounds");
        for (_, latency) in &self.recent {
            latencies.saturating_record(latency / 1000);
        }
        let window = RECENT_NS.min(self.now.max(1)) as f64 / 1e9;
        let at = |share| {
            if latencies.is_empty() {
                0.0
            } else {
                latencies.value_at_quantile(share) as f64 / 1e3
            }
        };
        let nothing = || "no violation so far".to_owned();
        View {
            at_s: self.now as f64 / 1e9,
            phase: self.phase,
            ok: self.counts.ok,
            mismatch: self.counts.mismatch,
            fail: self.counts.fail,
            unknown: self.counts.info,
            rate: self.recent.len() as f64 / window,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            faults: self.faults.values().cloned().collect(),
            verdict: self.verdict.clone().unwrap_or_else(nothing),
            violated: self.violated,
            over: self.phase == "over",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_history_is_followed_as_it_grows_and_judged() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("history.jsonl");
        let mut file = File::create(&path).expect("made");
        let mut tail = Tail::new(File::open(&path).expect("opened"));
        tail.read().expect("nothing yet");
        assert_eq!(tail.view().ok, 0);
        let write = |file: &mut File, text: &str| file.write_all(text.as_bytes()).expect("written");
        write(&mut file, "{\"ordeal\":1,\"model\":\"register\"}\n");
        write(
            &mut file,
            "{\"index\":0,\"time\":1000000000,\"process\":0,\"type\":\"invoke\",\"f\":\"set\",\"value\":1}\n\
             {\"index\":1,\"time\":1002000000,\"process\":0,\"type\":\"ok\",\"f\":\"set\",\"value\":1}\n\
             {\"index\":2,\"time\":1500000000,\"process\":0,\"type\":\"invoke\",\"f\":\"ge",
        );
        tail.read().expect("half a line");
        let view = tail.view();
        assert_eq!(
            (view.ok, view.verdict.as_str(), view.over),
            (1, "no violation so far", false)
        );
        assert!((view.p50_ms - 2.0).abs() < 0.1 && view.rate > 0.9, "{view:?}");
        write(
            &mut file,
            "t\",\"value\":null}\n\
             {\"index\":3,\"time\":1600000000,\"process\":0,\"type\":\"ok\",\"f\":\"get\",\"value\":7}\n",
        );
        tail.read().expect("the rest");
        let view = tail.view();
        assert!(
            view.violated && view.verdict.contains("1.6 s into the run"),
            "{view:?}"
        );
        assert_eq!(view.ok, 2);
        write(&mut file, "no event\n");
        assert!(tail.read().is_err());
    }
}
