//! A history in another form is the same history.

use std::fs;
use std::path::{Path, PathBuf};

use checker::convert::{Explicit, Target};
use checker::generate::{Bug, Mix, Simulation, Values, seeds};
use checker::history::{History, Writer};
use checker::{CheckOptions, Explain, ModelName, ReadOptions};

use super::{read, word};

fn options(model: Option<ModelName>) -> CheckOptions {
    CheckOptions {
        model,
        explain: Explain::Prefix,
        ..CheckOptions::default()
    }
}

/// Writes a history in a form and reads it again.
fn converted(history: &History, target: Target, options: &CheckOptions) -> History {
    let mut out = Vec::new();
    let explicit = Explicit::of(history, options).expect("a model");
    explicit.write(target, &mut out).expect("memory takes everything");
    read(&out)
}

/// What of a history decides its verdict, in words.
fn gist(history: &History) -> Vec<String> {
    let name = |f: &str| match f {
        "get" | "read" => "get".to_owned(),
        "set" | "write" | "put" => "set".to_owned(),
        other => other.to_owned(),
    };
    let say = |op: checker::history::Operation<'_>| {
        format!(
            "{} {} {:?} {} -> {} {:?} {:?} {:?} {:?} {:?} {:?}",
            op.process(),
            name(op.f()),
            op.key(),
            op.input(),
            op.output(),
            op.outcome(),
            op.error(),
            op.current(),
            op.asked_rev(),
            op.told_rev(),
            op.node()
        )
    };
    history.operations().map(say).collect()
}

fn simulations(first: u64, count: u64) -> Vec<Simulation> {
    let bugs = [Bug::None, Bug::StaleReads(0.1), Bug::LostUpdates(0.1)];
    let one = |(at, seed): (usize, u64)| Simulation {
        seed,
        operations: 60,
        processes: 4,
        keys: 1 + at as u64 % 2,
        values: if at.is_multiple_of(3) {
            Values::Distinct
        } else {
            Values::Few(4)
        },
        mix: Mix {
            get: 3,
            set: 2,
            cas: 2,
            append: 0,
            delete: 1,
        },
        unknown: 0.05,
        tells_current: at.is_multiple_of(4),
        bug: bugs[at % bugs.len()],
        ..Simulation::default()
    };
    seeds(first, count).enumerate().map(one).collect()
}

#[test]
fn every_form_keeps_everything_that_decides() {
    for simulation in simulations(11, 60) {
        let history = simulation.history().expect("a history");
        let plain = options(None);
        let verdict = word(&history, &plain);
        for target in [Target::JsonLines, Target::EdnVector, Target::EdnLines] {
            let again = converted(&history, target, &plain);
            assert_eq!(
                gist(&again),
                gist(&history),
                "seed {}, {target:?}",
                simulation.seed
            );
            assert_eq!(
                word(&again, &plain),
                verdict,
                "seed {}, {target:?}",
                simulation.seed
            );
            let back = converted(&again, Target::JsonLines, &plain);
            assert_eq!(
                gist(&back),
                gist(&history),
                "seed {}, {target:?} and back",
                simulation.seed
            );
        }
    }
}

#[test]
fn our_own_form_comes_back_byte_by_byte() {
    for simulation in simulations(12, 20) {
        let mut header = simulation.header();
        header.init = Some(checker::history::Value::Nil);
        let mut writer = Writer::new(Vec::new(), &header).expect("memory");
        for event in simulation.events() {
            writer.write(&event).expect("memory");
        }
        let written = writer.into_inner().expect("memory");
        let mut out = Vec::new();
        let explicit = Explicit::of(&read(&written), &options(None)).expect("a model");
        explicit.write(Target::JsonLines, &mut out).expect("memory");
        assert_eq!(
            super::text(&out),
            super::text(&written),
            "seed {}",
            simulation.seed
        );
    }
}

#[test]
fn strings_and_numbers_survive_edn() {
    let lines = r#"{"ordeal":1,"model":"kv"}
{"index":0,"time":1,"process":0,"type":"invoke","f":"set","key":"a \"b\"\n","value":"\\ \u0001 ä 😀"}
{"index":1,"time":2,"process":0,"type":"ok","f":"set","key":"a \"b\"\n","value":"\\ \u0001 ä 😀"}
{"index":2,"time":3,"process":0,"type":"invoke","f":"set","key":"k","value":{"x":[1.5,true,null,12345678901234567890]}}
{"index":3,"time":4,"process":"nemesis","type":"info","f":"cut it","value":{"n1":["n2"]},"why":"x"}
{"index":4,"time":5,"process":0,"type":"info","f":"set","key":"k","value":null,"error":"timed out","node":"n1"}
"#;
    let history = read(lines.as_bytes());
    let again = converted(&history, Target::EdnVector, &options(None));
    assert_eq!(gist(&again), gist(&history));
    assert_eq!(again.nemesis_events(), history.nemesis_events());
    assert_eq!(again.header().model.as_deref(), Some("kv"));
}

#[test]
fn a_key_value_log_is_what_porcupine_reads() {
    let lines = r#"{"ordeal":1,"model":"kv"}
{"index":0,"time":1,"process":0,"type":"invoke","f":"append","key":"0","value":"x 0 1 y"}
{"index":1,"time":2,"process":0,"type":"ok","f":"append","key":"0","value":"x 0 1 y"}
{"index":2,"time":3,"process":1,"type":"invoke","f":"get","key":"0","value":null}
{"index":3,"time":4,"process":1,"type":"ok","f":"get","key":"0","value":"x 0 1 y"}
"#;
    let mut out = Vec::new();
    let explicit = Explicit::of(&read(lines.as_bytes()), &options(None)).expect("a model");
    explicit.write(Target::KeyValueLog, &mut out).expect("sayable");
    let expected = r#"{:process 0, :type :invoke, :f :append, :key "0", :value "x 0 1 y"}
{:process 0, :type :ok, :f :append, :key "0", :value "x 0 1 y"}
{:process 1, :type :invoke, :f :get, :key "0", :value nil}
{:process 1, :type :ok, :f :get, :key "0", :value "x 0 1 y"}
"#;
    assert_eq!(super::text(&out), expected);
    assert_eq!(word(&read(&out), &options(None)), "legal");
}

/// Every history of a corpus keeps its verdict in every form.
fn keeps_verdicts(folder: &Path) -> usize {
    let list = fs::read_to_string(folder.join("expected.tsv")).expect("the list of expected verdicts");
    let mut converted_ones = 0;
    for line in list.lines().filter(|line| !line.is_empty()) {
        let [path, model, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is not a path, a model and a verdict")
        };
        let model = model.parse::<ModelName>().expect("a model");
        let history = History::open(folder.join(path), &ReadOptions::default()).expect("a history");
        let wanted = options(Some(model));
        for target in [Target::JsonLines, Target::EdnVector, Target::EdnLines] {
            let again = converted(&history, target, &wanted);
            assert_eq!(word(&again, &options(None)), expected, "{path} as {target:?}");
        }
        converted_ones += 1;
    }
    converted_ones
}

#[test]
fn the_corpus_keeps_its_verdicts() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    assert!(keeps_verdicts(&here.join("tests/corpus")) >= 6);
    let shared = here.join("../../shared/corpus");
    if shared.is_dir() {
        assert!(keeps_verdicts(&shared) > 100);
    } else {
        println!("skipped: {} is not there", shared.display());
    }
}
