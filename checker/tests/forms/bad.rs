//! Absurd sizes, full disks, pipes that nobody reads.

use std::fs;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use checker::history::History;
use checker::{CheckOptions, Monitor, ReadOptions};

use super::{checker, own, read, text, word};

#[test]
fn a_line_of_a_hundred_megabytes_is_refused_before_it_is_held() {
    let header: &[u8] = b"{\"ordeal\":1,\"model\":\"register\"}\n";
    let line = io::repeat(b'x').take(100 << 20);
    let value = (&b"{\"process\":0,\"type\":\"invoke\",\"f\":\"set\",\"value\":\""[..]).chain(line);
    let error = History::read_from(header.chain(value), Some("h".to_owned()), &ReadOptions::default());
    assert_eq!(
        error.expect_err("too long").to_string(),
        "h:2: the line is longer than 64 MiB: an event is one line, and none is so long"
    );
}

#[test]
fn a_line_of_some_megabytes_is_read() {
    let value = "x".repeat(5 << 20);
    let line = |kind: &str, f: &str, value: &str| {
        format!("{{\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n")
    };
    let quoted = format!("\"{value}\"");
    let lines = [
        line("invoke", "set", &quoted),
        line("ok", "set", &quoted),
        line("invoke", "get", "null"),
        line("ok", "get", &quoted),
    ];
    let history = read(lines.concat().as_bytes());
    assert_eq!(word(&history, &CheckOptions::default()), "legal");
}

#[test]
fn a_million_processes_and_a_million_open_operations() {
    let mut lines = String::from("{\"ordeal\":1,\"model\":\"register\"}\n");
    for process in 0..1_000_000u64 {
        lines += &format!(
            "{{\"index\":{process},\"time\":{process},\"process\":{},\"type\":\"invoke\",\"f\":\"get\"}}\n",
            process * 1_000_003
        );
    }
    let history = read(lines.as_bytes());
    assert_eq!(history.len(), 1_000_000);
    assert_eq!(word(&history, &CheckOptions::default()), "legal");
    let some: String = lines.split_inclusive('\n').take(100_000).collect();
    let streamed = Monitor::stream_from(some.as_bytes(), None, &CheckOptions::default());
    assert_eq!(streamed.expect("judged").verdict.exit_code(), 0);
    let stats = checker::stats::Stats::of(&history);
    assert_eq!((stats.concurrency.max, stats.processes), (1_000_000, 1_000_000));
}

#[test]
fn a_clock_that_stands_still_is_fine() {
    let mut lines = String::from("{\"ordeal\":1,\"model\":\"register\"}\n");
    for process in 0..2000 {
        lines +=
            &format!("{{\"time\":7,\"process\":{process},\"type\":\"invoke\",\"f\":\"set\",\"value\":1}}\n");
    }
    for process in 0..2000 {
        lines += &format!("{{\"time\":7,\"process\":{process},\"type\":\"ok\",\"f\":\"set\",\"value\":1}}\n");
    }
    assert_eq!(word(&read(lines.as_bytes()), &CheckOptions::default()), "legal");
}

#[test]
fn a_small_file_that_unpacks_to_a_huge_one_takes_no_memory() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::copy(&mut io::repeat(b'x').take(1 << 30), &mut packer).expect("memory");
    let packed = packer.finish().expect("memory");
    let begun = [&b"{\"ordeal\":1}\n{\"value\":\""[..], &[]].concat();
    let mut first = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    first.write_all(&begun).expect("memory");
    let whole = [first.finish().expect("memory"), packed].concat();
    let error = History::read(&whole, Some("h".to_owned()), &ReadOptions::default());
    let said = error.expect_err("too long").to_string();
    assert!(said.starts_with("h:2: the line is longer than 64 MiB"), "{said}");
}

#[test]
fn nobody_reading_is_no_panic() {
    for arguments in [
        &["check", &own("stale-read.jsonl")][..],
        &["stats", &own("stale-read.jsonl")],
        &["generate", "--operations", "20000"],
        &["convert", "--to", "edn", &own("stale-read.jsonl")],
        &["cut", "--to", "100", &own("stale-read.jsonl")],
        &["render", "--output", "-", &own("stale-read.jsonl")],
        &["follow", "--idle", "0", &own("stale-read.jsonl")],
    ] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_checker"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let mut said = String::new();
        child
            .stderr
            .take()
            .expect("piped above")
            .read_to_string(&mut said)
            .expect("text");
        let code = child.wait().expect("it ends").code();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        assert!(
            matches!(code, Some(0 | 1)),
            "{arguments:?} exits {code:?}: {said}"
        );
    }
}

#[test]
fn a_full_disk_is_one_line_and_255() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: no /dev/full here");
        return;
    }
    let stale = own("stale-read.jsonl");
    for arguments in [
        &["convert", "--to", "edn", &stale, "/dev/full"][..],
        &["cut", "--to", "100", &stale, "/dev/full"],
        &["generate", "--operations", "100", "/dev/full"],
        &["render", "--output", "/dev/full", &stale],
    ] {
        let output = checker(arguments);
        assert_eq!(output.status.code(), Some(255), "{arguments:?}");
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains("/dev/full: No space left on device"), "{said}");
    }
    for arguments in [
        &["check", &stale][..],
        &["stats", &stale],
        &["check", "--json", &stale],
    ] {
        let full = fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device");
        let output = Command::new(env!("CARGO_BIN_EXE_checker"))
            .args(arguments)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(255), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("standard output: No space left on device"),
            "{said}"
        );
    }
}

#[test]
fn what_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.edn"));
    fs::write(&output, "as it was").expect("a file");
    fs::write(&input, "{\"ordeal\":1,\"model\":\"kv\"}\nnonsense\n").expect("a file");
    let run = checker(&[
        "convert",
        &input.display().to_string(),
        &output.display().to_string(),
    ]);
    assert_eq!(run.status.code(), Some(254));
    assert_eq!(fs::read_to_string(&output).expect("there"), "as it was");
    // What has no word in the other form shows only while writing.
    let cas = r#"{"process":0,"type":"invoke","f":"set","key":"a","value":1}
{"process":0,"type":"ok","f":"set","key":"a","value":1}
{"process":0,"type":"invoke","f":"cas","key":"a","value":[1,2]}
"#;
    fs::write(&input, cas).expect("a file");
    let (input, output) = (input.display().to_string(), output.display().to_string());
    let run = checker(&["convert", "--to", "kv-log", &input, &output]);
    assert_eq!(run.status.code(), Some(254), "{}", text(&run.stderr));
    assert_eq!(fs::read_to_string(&output).expect("there"), "as it was");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("the folder").collect();
    assert_eq!(left.len(), 2, "a half file was left behind: {left:?}");
}
