//! The commands convert, stats, cut and generate, and packed and piped input.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::{checker, own, text};

/// The command with these arguments and this standard input.
fn piped(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_checker"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // It stops reading where it finds a violation.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn histories_come_through_pipes_and_packed() {
    let plain = fs::read(own("stale-read.jsonl")).expect("a history");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&plain).expect("memory");
    let gzip = packer.finish().expect("memory");
    let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    for bytes in [plain, gzip, zstd] {
        let output = piped(&["check", "-"], &bytes);
        assert_eq!(text(&output.stdout), "illegal\t-\n");
        assert_eq!(output.status.code(), Some(1));
        let output = piped(&["stats", "-"], &bytes);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).contains("operations   "),
            "{}",
            text(&output.stdout)
        );
        let output = piped(&["convert", "--to", "edn-lines", "-"], &bytes);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let again = piped(&["check", "-"], &output.stdout);
        assert_eq!(again.status.code(), Some(1));
    }
    let broken = piped(&["check", "-"], b"{\"process\":0,\n");
    assert_eq!(broken.status.code(), Some(254));
    assert!(
        text(&broken.stderr).contains("standard input:1: "),
        "{}",
        text(&broken.stderr)
    );
}

#[test]
fn what_is_generated_is_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("h.jsonl").display().to_string();
    let run = checker(&[
        "generate",
        "--operations",
        "500",
        "--keys",
        "7",
        "--unknown",
        "0.1",
        &path,
    ]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let stats = checker(&["stats", "--json", &path]);
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).expect("JSON");
    assert_eq!(stats["operations"], 500);
    assert_eq!(stats["keys"], 7);
    assert!(stats["unknown"].as_u64() > Some(20), "{stats}");
    assert_eq!(stats["concurrency"]["max"], 5);
    assert_eq!(checker(&["check", &path]).status.code(), Some(0));
    let wrong = checker(&[
        "generate",
        "--bug",
        "stale-reads",
        "--share",
        "0.3",
        "--operations",
        "300",
    ]);
    assert_eq!(piped(&["check", "-q", "-"], &wrong.stdout).status.code(), Some(1));
    let again = checker(&[
        "generate",
        "--bug",
        "stale-reads",
        "--share",
        "0.3",
        "--operations",
        "300",
    ]);
    assert!(again.stdout == wrong.stdout, "one seed, one history");
}

#[test]
fn statistics_are_counted_right() {
    let lines = r#"{"ordeal":1,"model":"kv"}
{"index":0,"time":0,"process":0,"type":"invoke","f":"set","key":"a","value":1}
{"index":1,"time":1000000,"process":1,"type":"invoke","f":"get","key":"b"}
{"index":2,"time":2000000,"process":0,"type":"ok","f":"set","key":"a","value":1}
{"index":3,"time":3000000,"process":"nemesis","type":"info","f":"kill","value":null}
{"index":4,"time":4000000,"process":1,"type":"info","f":"get","key":"b"}
{"index":5,"time":5000000,"process":0,"type":"invoke","f":"cas","key":"a","value":[2,3]}
{"index":6,"time":9000000,"process":0,"type":"fail","f":"cas","key":"a","value":[2,3],"error":"mismatch"}
{"index":7,"time":10000000,"process":0,"type":"invoke","f":"set","key":"a","value":4}
"#;
    let output = piped(&["stats", "--json", "-"], lines.as_bytes());
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(stats["operations"], 4);
    assert_eq!((&stats["unknown"], &stats["unanswered"]), (&2.into(), &1.into()));
    assert_eq!((&stats["keys"], &stats["processes"]), (&2.into(), &2.into()));
    assert_eq!(stats["concurrency"]["max"], 2);
    assert_eq!(stats["concurrency"]["mean"], 0.9);
    assert_eq!(stats["seconds"], 0.01);
    assert_eq!(stats["rate"], 400.0);
    assert_eq!(stats["functions"]["cas"]["mismatch"], 1);
    assert_eq!(stats["functions"]["cas"]["latency"]["p99"], 4_000_000);
    assert_eq!(stats["functions"]["set"]["info"], 1);
    assert_eq!(stats["functions"]["get"]["latency"], serde_json::Value::Null);
    assert_eq!(stats["faults"]["kill"], 1);
    let table = piped(&["stats", "-"], lines.as_bytes());
    assert!(text(&table.stdout).contains("concurrency  2 at most, 0.9 on average"));
}

#[test]
fn a_part_is_cut_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("part.edn").display().to_string();
    let stale = own("stale-read.jsonl");
    let run = checker(&["cut", "--key", "k", &stale, &output]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert!(
        text(&run.stderr).contains("operations kept"),
        "{}",
        text(&run.stderr)
    );
    assert_eq!(checker(&["check", "-q", &output]).status.code(), Some(1));
    for arguments in [
        &["cut", "--key", "nowhere", &stale, "-"][..],
        &["cut", "--index", "9..3", &stale, "-"],
        &["cut", "--from", "soon", &stale, "-"],
        &["convert", &stale, "history.xyz"],
        &["convert", &stale],
    ] {
        let run = checker(arguments);
        assert_eq!(run.status.code(), Some(254), "{arguments:?}");
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{arguments:?}");
    }
    for command in ["convert", "stats", "cut", "generate"] {
        let help = checker(&[command, "--help"]);
        assert!(text(&help.stdout).contains("Examples:"), "{command}");
    }
}

#[test]
fn a_stream_is_judged_like_the_whole() {
    let arguments = ["generate", "--operations", "30000", "--keys", "20", "--seed", "5"];
    let legal = checker(&arguments).stdout;
    let bug = [&arguments[..], &["--bug", "stale-reads", "--share", "0.001"]].concat();
    let illegal = checker(&bug).stdout;
    // So little may be held that nearly everything is forgotten on the way.
    let stream = ["check", "--stream", "--memory-limit", "1M", "-"];
    for (history, code) in [(&legal, 0), (&illegal, 1)] {
        assert_eq!(piped(&["check", "-q", "-"], history).status.code(), Some(code));
        let streamed = piped(&stream, history);
        assert_eq!(streamed.status.code(), Some(code), "{}", text(&streamed.stderr));
        if code == 1 {
            assert!(
                text(&streamed.stderr).contains("process "),
                "{}",
                text(&streamed.stderr)
            );
        }
    }
    let broken = [&legal[..], b"nonsense\n"].concat();
    let refused = piped(&stream, &broken);
    assert_eq!(refused.status.code(), Some(254));
    assert_eq!(
        text(&refused.stderr),
        "checker: standard input:60002: 'n' at column 1 where '{' should be\n"
    );
    let edn = piped(&stream, b"{:process 0, :type :invoke, :f :read, :value nil}\n");
    assert_eq!(edn.status.code(), Some(254));
    assert!(
        text(&edn.stderr).contains("only JSON Lines can be streamed"),
        "{}",
        text(&edn.stderr)
    );
}
