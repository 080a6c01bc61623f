//! What a report must show, whatever the run.

use checker::history::{Header, History, Nanos, OpId};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::proof::{Look, ProofOperation};
use super::samples::{self, MS, Sample};
use super::{ReportInput, RunInfo, RunOutcome, html, junit, lanes, plot, summary};

fn each() -> [(Sample, RunOutcome); 4] {
    [
        (samples::valid(6000), RunOutcome::Valid),
        (samples::invalid(6000), RunOutcome::Invalid),
        (samples::unknown(), RunOutcome::Unknown),
        (samples::hostile(), RunOutcome::Invalid),
    ]
}

/// The text between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("no {from} in {text}")) + from.len();
    let length = text[start..]
        .find(to)
        .unwrap_or_else(|| panic!("no {to} after {from}"));
    &text[start..start + length]
}

/// Fails unless every element is closed in order and every attribute quoted: XML's rules, which `junit.xml` and
/// drawings must keep.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        assert!(!text.contains('>'), "a stray > in {text:?}");
        for (place, _) in text.match_indices('&') {
            let entity = text[place + 1..].split(';').next().unwrap_or_default();
            assert!(
                matches!(entity, "amp" | "lt" | "gt" | "quot" | "#39"),
                "not an entity: &{entity}"
            );
        }
        // A > may stand in a quoted value, where only " ends it.
        let mut quoted = false;
        let end = tag.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let tag = &tag[1..end.expect("a tag ends")];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        assert!(!tag.contains('<'), "a < in <{tag}>");
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .expect("a name");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "</{closed}> in {xml:.300}");
        } else if !tag.ends_with('/') && !tag.starts_with('?') {
            open.push(name);
        }
        rest = &rest[at + tag.len() + 2..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn the_verdict_and_its_reason_come_first() {
    for (sample, outcome) in each() {
        let input = sample.input();
        assert_eq!(input.outcome(), outcome);
        let page = html(&input);
        let main = page.split("<main").nth(1).expect("a main part");
        assert!(
            main.starts_with(" id=\"top\">\n<header class=\"verdict"),
            "{main:.80}"
        );
        let header = between(main, "<header", "</header>");
        let (class, word) = match outcome {
            RunOutcome::Valid => ("verdict valid", "✓ Valid"),
            RunOutcome::Invalid => ("verdict invalid", "✗ Invalid"),
            RunOutcome::Unknown => ("verdict unknown", "? Unknown"),
        };
        assert!(header.contains(class) && header.contains(word), "{header}");
    }
    let sample = samples::invalid(600);
    let page = html(&sample.input());
    assert!(between(&page, "<h1>", "</h1>").starts_with("process 33 read 4187 of key 17"));
    assert!(page.contains("not linearizable: stale read, key 17"));
    assert!(between(&page, "id=\"again\">", "<").contains("--seed 42"));
}

#[test]
fn a_proof_is_drawn_and_listed_with_the_faults_of_its_time() {
    let sample = samples::invalid(600);
    let page = html(&sample.input());
    let proof = between(&page, "<section id=\"proof\">", "</section>");
    let drawing = between(proof, "<svg class=\"lanes\"", "</svg>");
    assert_eq!(drawing.matches("<g class=\"op ").count(), 4);
    assert_eq!(drawing.matches("<path class=\"edge\"").count(), 2);
    for part in [
        "process 33",
        "asks n3",
        "4 read 4187",
        "op observation",
        "op unknown weakened",
        "12.310 s",
        "1.41 s",
    ] {
        assert!(drawing.contains(part), "{part} in {drawing}");
    }
    assert!(drawing.contains("partition n1, n3 | n2, n4, n5"));
    assert!(!drawing.contains("kill n2"), "a fault of another time");
    assert!(proof.contains("On at the time: partition n1, n3 | n2, n4, n5 (10.00 s to 12.60 s)."));
    assert_eq!(proof.matches("<tr data-op=").count(), 4);
    assert!(proof.contains("3 before 4: it completed before the read was invoked"));
    let overview = between(&page, "<svg class=\"overview\"", "</svg>");
    assert!(overview.contains("class=\"violation\"") && overview.contains("kill n2 (leader)"));
    assert!(
        !html(&samples::valid(600).input()).contains("id=\"proof\""),
        "a valid run proves no violation"
    );
}

#[test]
fn nothing_that_a_store_says_becomes_markup() {
    let sample = samples::hostile();
    let page = html(&sample.input());
    assert_eq!(
        page.matches("<script").count(),
        2,
        "the numbers and the page's own"
    );
    for tag in ["<img", "<script>alert", "</script></title>", "\" onclick=\""] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(
        page.matches("&lt;img src=x onerror=alert(2)&gt;").count() > 30,
        "it is all still there to be read"
    );
    assert!(!page.contains('\u{0}') && !page.contains('\u{1b}'));
    // In its fence of more backticks than it has, the command is text as it is.
    let text = summary(&sample.input());
    let text = text.split("```").next().expect("all before the command");
    assert!(!text.contains("<img") && !text.contains("<script"), "{text}");
}

#[test]
fn drawings_and_junit_are_well_formed() {
    for (sample, _) in each() {
        let page = html(&sample.input());
        for drawing in page.split("<svg").skip(1) {
            let drawing = format!("<svg{}</svg>", drawing.split("</svg>").next().expect("an end"));
            assert_well_formed(&drawing);
        }
        assert_well_formed(&junit(&sample.input()));
    }
}

#[test]
fn nothing_outside_the_page_is_asked_for() {
    for (sample, _) in each() {
        let page = html(&sample.input());
        for attribute in ["src=\"", "href=\"http", "href=\"//", "url(http", "@import"] {
            assert!(!page.contains(attribute), "{attribute}");
        }
        assert!(page.contains("default-src 'none'"));
        for link in page.split("href=\"").skip(1) {
            let to = link.split('"').next().expect("quoted");
            assert!(
                to.starts_with('#') || to.starts_with("./") || to == "data:,",
                "{to}"
            );
        }
    }
}

#[test]
fn the_page_does_not_grow_with_the_run() {
    let (short, long) = (
        html(&samples::valid(30_000).input()).len(),
        html(&samples::valid(120_000).input()).len(),
    );
    assert!(
        long < short * 3 / 2 && long < 300_000,
        "{short} bytes for 30,000 operations, {long} for 120,000"
    );
}

#[test]
fn an_empty_run_has_a_page_that_claims_nothing() {
    let history = History::from_events(Header::for_model("kv"), Vec::new()).expect("empty");
    let run = RunInfo::default();
    let input = ReportInput {
        history: &history,
        analysis: None,
        run: &run,
    };
    assert_eq!(input.outcome(), RunOutcome::Unknown);
    let page = html(&input);
    assert!(page.contains("The history could not be checked.") && page.contains("no operation was answered"));
    assert!(page.contains("None: the cluster was left in peace."));
    assert_well_formed(&junit(&input));
    assert!(summary(&input).contains("No faults."));
}

#[test]
fn doubts_and_anomalies_outweigh_a_legal_history() {
    let mut sample = samples::valid(600);
    sample.run.doubts = vec!["no kill was seen to bite".into()];
    assert_eq!(sample.input().outcome(), RunOutcome::Unknown);
    assert!(html(&sample.input()).contains("No evidence: no kill was seen to bite"));
    assert!(junit(&sample.input()).contains("failures=\"0\" errors=\"1\""));
    sample.run.anomalies = vec![super::Finding {
        kind: "divergence".into(),
        sentence: "n1 and n3 differ at index 812".into(),
    }];
    assert_eq!(sample.input().outcome(), RunOutcome::Invalid);
    assert_eq!(
        between(&html(&sample.input()), "<h1>", "</h1>"),
        "n1 and n3 differ at index 812"
    );
    assert!(junit(&sample.input()).contains("failures=\"1\" errors=\"0\" skipped=\"1\""));
    assert!(summary(&sample.input()).starts_with("### ❌ Invalid"));
    // It takes no evidence of having done enough to be found wrong.
    for text in [html(&sample.input()), summary(&sample.input())] {
        assert!(!text.to_lowercase().contains("no evidence: "), "{text}");
    }
}

#[test]
fn machines_read_the_same_verdict() {
    let counts = |sample: &Sample| between(&junit(&sample.input()), "<testsuites ", " time").to_owned();
    assert_eq!(
        counts(&samples::valid(600)),
        "tests=\"2\" failures=\"0\" errors=\"0\""
    );
    assert_eq!(
        counts(&samples::invalid(600)),
        "tests=\"2\" failures=\"1\" errors=\"0\""
    );
    assert_eq!(
        counts(&samples::unknown()),
        "tests=\"2\" failures=\"0\" errors=\"2\""
    );
    // A run that was ended by what it found has done too little to be valid, and is a failure all the same.
    let mut short = samples::invalid(600);
    short.run.doubts = vec![
        "too few cas".into(),
        "no ok operation after the final heal".into(),
    ];
    assert_eq!(counts(&short), "tests=\"2\" failures=\"1\" errors=\"0\"");
    let told = junit(&short.input());
    assert!(
        !told.contains("<error") && told.contains("<skipped type=\"no-evidence\""),
        "{told}"
    );
    let failure = junit(&samples::invalid(600).input());
    assert!(
        failure.contains("<failure type=\"stale-read\" message=\"process 33 read 4187"),
        "{failure}"
    );
    assert!(failure.contains("process 19: write 4199 from 10.450 s to unknown"));
    assert!(
        between(&failure, "<failure", "</failure>")
            .matches("process 33 read 4187")
            .count()
            >= 2,
        "who sees no attributes reads the sentence too: {failure}"
    );
    let text = summary(&samples::unknown().input());
    assert!(text.starts_with("### ⚠️ Unknown: kvnode register\n"), "{text}");
    assert!(
        text.contains("120 of 400 completed operations of key 4 explained"),
        "{text}"
    );
    assert!(text.contains("| all |"), "{text}");
}

#[test]
fn each_kind_of_operation_is_drawn_by_itself_and_the_whole_is_a_file() {
    let sample = samples::valid(6000);
    let page = html(&sample.input());
    let kinds: Vec<&str> = page
        .split("<details><summary><span class=\"mono\">")
        .skip(1)
        .collect();
    assert!(kinds.len() >= 2, "{} kinds of operations", kinds.len());
    for kind in &kinds {
        let drawing = between(kind, "<svg class=\"by-operation\"", "</svg>");
        assert!(
            drawing.contains("class=\"area ok\"") && drawing.contains("class=\"fault partition\""),
            "{drawing:.300}"
        );
    }
    // What they count is what all of them count.
    let series = sample.input().series();
    let apart = series.by_f.keys().map(|f| sample.input().series_of(f, &series));
    assert_eq!(
        apart.map(|one| one.all.counts.ok).sum::<u64>(),
        series.all.counts.ok
    );
    let file = plot(&sample.input());
    assert_well_formed(&file);
    assert!(
        file.starts_with("<svg xmlns=") && file.contains("class=\"area ok\"") && file.contains("--paper")
    );
    // It stands alone: what its colours mean is in it, and below what is drawn.
    let height: f64 = between(&file, "viewBox=\"0 0 1080 ", "\"")
        .parse()
        .expect("a number");
    let keys: Vec<&str> = file
        .split("<g class=\"key\" transform=\"translate(")
        .skip(1)
        .collect();
    for name in ["ok", "p50", "p99", "highest"] {
        let named = format!(">{name}</text>");
        assert!(keys.iter().any(|key| key.contains(&named)), "no key for {name}");
    }
    for key in &keys {
        let y: f64 = key
            .split([' ', ')'])
            .nth(1)
            .and_then(|y| y.parse().ok())
            .expect("a place");
        assert!(y > height - 60.0 && y + 11.0 < height, "{y} of {height}");
    }
    assert!(
        !html(&sample.input()).contains("<g class=\"key\""),
        "the page has its own"
    );
}

#[test]
fn availability_is_what_was_owed_and_a_quiet_run_claims_no_faults() {
    let mut sample = samples::valid(600);
    let page = html(&sample.input());
    assert!(page.contains("<b>99.5%</b><span>available at nodes of a majority"));
    assert!(page.contains("the faults were seen to bite"));
    sample.run.faults.clear();
    sample.run.available = crate::evidence::Availability::default();
    sample.run.started = "2026-11-20T22:40:00.123456789Z".into();
    let page = html(&sample.input());
    assert!(page.contains("ok or a definite mismatch") && !page.contains("available at"));
    assert!(
        page.contains("linearizable, with no fault made") && page.contains("<b>none</b><span>faults</span>")
    );
    assert!(page.contains("started 2026-11-20T22:40:00Z"));
}

#[test]
fn faults_that_did_not_bite_stand_out() {
    let page = html(&samples::unknown().input());
    assert!(page.contains("<span class=\"bad\">did not bite:</span> n2 is still alive"));
    assert!(page.contains("3 of 4</b><span>faults seen to bite"));
}

/// Attributes of elements of a class, as numbers.
fn numbers(svg: &str, class: &str, attribute: &str) -> Vec<f64> {
    svg.split(&format!("class=\"{class}"))
        .skip(1)
        .filter_map(|element| element.split(&format!("{attribute}=\"")).nth(1))
        .map(|value| {
            value
                .split('"')
                .next()
                .expect("quoted")
                .parse()
                .expect("a number")
        })
        .collect()
}

#[test]
fn lanes_keep_the_order_of_time_and_labels_apart() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut now = 0;
        let mut operations: Vec<ProofOperation> = Vec::new();
        let mut free = [0; 4];
        for id in 0..rng.random_range(1..25) {
            now += 10u64.pow(rng.random_range(2..10));
            let process = rng.random_range(0..4);
            if free[process] > now {
                continue;
            }
            let taken = 10u64.pow(rng.random_range(3..9));
            free[process] = now + taken;
            operations.push(ProofOperation {
                id: OpId(id),
                index: u64::from(id),
                process: process as u64,
                node: Some(format!("n{}", rng.random_range(1..3))),
                said: "write ".to_owned() + &"7".repeat(rng.random_range(1..60)),
                invoked: Nanos(now),
                completed: Some(Nanos(now + taken)),
                look: Look::Effect,
                weakened: false,
            });
        }
        let svg = lanes::draw(&operations, &[], &[]);
        assert_well_formed(&svg);
        let width: f64 = between(&svg, "width=\"", "\"").parse().expect("a width");
        let bars: Vec<(f64, f64)> = operations
            .iter()
            .enumerate()
            .map(|(at, _)| {
                let bar = between(&svg, &format!("data-op=\"{}\"", at + 1), "</g>");
                let number = |name: &str| -> f64 {
                    between(bar, &format!(" {name}=\""), "\"")
                        .parse()
                        .expect("a number")
                };
                (number("x"), number("x") + number("width"))
            })
            .collect();
        for (one, (left, right)) in operations.iter().zip(&bars) {
            assert!(
                *left >= 100.0 && right <= &width,
                "seed {seed}: a bar outside the drawing"
            );
            for (other, (other_left, _)) in operations.iter().zip(&bars) {
                if one.completed.expect("completed") < other.invoked {
                    assert!(
                        right < &(other_left + 0.11),
                        "seed {seed}: drawn overlapping, but {one:?} was before {other:?}"
                    );
                }
            }
        }
        // In a lane, the next bar begins where the label before it has ended.
        let rows = numbers(&svg, "op ", "y");
        for lane in 0..4 {
            let mine: Vec<usize> = (0..operations.len())
                .filter(|at| operations[*at].process == lane)
                .collect();
            for pair in mine.windows(2) {
                let label = between(&svg, &format!("data-op=\"{}\"", pair[0] + 1), "</text>");
                let length = label.rsplit('>').next().expect("text").chars().count() as f64;
                assert!(
                    bars[pair[0]].0 + length * 7.3 <= bars[pair[1]].0,
                    "seed {seed}: labels collide"
                );
                assert_eq!(rows[pair[0]], rows[pair[1]], "seed {seed}: one lane, one height");
            }
        }
    }
}

#[test]
fn a_fault_is_drawn_where_it_was() {
    let sample = samples::invalid(600);
    let page = html(&sample.input());
    let overview = between(&page, "<svg class=\"overview\"", "</svg>");
    let (left, right) = (66.0, 1066.0);
    let expected: Vec<f64> = sample
        .run
        .faults
        .iter()
        .map(|f| left + f.from.0 as f64 / (31_400 * MS) as f64 * (right - left))
        .collect();
    let drawn = numbers(overview, "band", "x");
    assert_eq!(drawn.len(), expected.len());
    for (drawn, expected) in drawn.iter().zip(expected) {
        assert!((drawn - expected).abs() < 0.1, "{drawn} instead of {expected}");
    }
}
