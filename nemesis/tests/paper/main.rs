//! A nemesis and a cluster of paper: whom faults hit, and what is left to be undone when
//! something goes wrong half-way (the cluster does not agree, a start fails, the tool
//! dies), at exactly the moment that a test picks.

mod cluster;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nemesis::effect::Effect;
use nemesis::journal::Journal;
use nemesis::requests::Requests;
use nemesis::{Fault, Nemesis, NemesisError, NodeId, NodeState, Record};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use cluster::{Paper, Sheet, Store, Taking};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    folder: tempfile::TempDir,
    nodes: Vec<NodeId>,
    sheet: Arc<Mutex<Sheet>>,
    store: Store,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Scene {
    fn new(nodes: usize) -> Scene {
        let (_, sheet) = Paper::new(nodes);
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId::numbered).collect();
        Scene {
            folder: tempfile::tempdir().expect("a temporary folder"),
            store: Store::of(&nodes),
            nodes,
            sheet,
            records: Arc::default(),
        }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// A nemesis for the cluster as it is: the first, or one that comes after a crash.
    fn nemesis(&self) -> Nemesis {
        self.nemesis_with(Requests::of_kvnode())
    }

    fn nemesis_with(&self, requests: Requests) -> Nemesis {
        let backend = Paper::over(&self.nodes, &self.sheet);
        let mut nemesis = Nemesis::new(Box::new(backend), &self.journal(), 1).expect("a nemesis");
        nemesis.set_asker(self.store.asker(&self.nodes, requests));
        nemesis.set_member_patience(Duration::from_millis(200));
        let records = Arc::clone(&self.records);
        nemesis.observe(move |record| records.lock().push(record.clone()));
        nemesis
    }

    /// What a tool leaves that was killed after it had written `json` down.
    fn begun(&self, json: &str) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let fault = fault(json);
        let (effect, sentence) =
            Effect::of(&fault, &self.nodes, self.nodes.first(), &mut rng).expect("it fits");
        let (mut journal, _) = Journal::open(&self.journal()).expect("opens");
        journal.begin(&fault, &effect, &sentence, None).expect("writes");
    }

    fn crashes(&self) -> Vec<NodeId> {
        let records = self.records.lock();
        let crashed = |record: &Record| match record {
            Record::Crashed { node, .. } => Some(node.clone()),
            _ => None,
        };
        records.iter().filter_map(crashed).collect()
    }

    fn ticks_until(&self, nemesis: &mut Nemesis, what: &str, done: impl Fn(&Nemesis, &Sheet) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(nemesis, &self.sheet.lock()) {
            assert!(Instant::now() < deadline, "{what}");
            let due = nemesis.tick().unwrap_or(Duration::from_millis(5));
            std::thread::sleep(due.min(Duration::from_millis(5)));
        }
    }
}

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("a fault")
}

fn n(number: usize) -> NodeId {
    NodeId::numbered(number)
}

/// Whether a journal holds something that has not ended.
fn holds(journal: &Path) -> bool {
    let text = std::fs::read_to_string(journal).expect("a journal");
    text.matches(r#""do":"begin""#).count() > text.matches(r#""do":"end""#).count()
}

const REPLACE: &str = r#"{"fault":"membership","target":"n3","change":"replace"}"#;

#[test]
fn who_was_replaced_and_not_taken_in_is_outside_until_he_is() {
    let scene = Scene::new(5);
    let mut nemesis = scene.nemesis();
    *scene.store.taking.lock() = Taking::Nobody;
    let applied = nemesis.apply(&fault(REPLACE)).expect("it is out, at least");
    assert!(!applied.bit && !applied.over, "{applied:?}");
    assert!(!scene.store.has(&n(3)) && scene.sheet.lock().count("wipe n3") == 1);
    assert!(holds(&scene.journal()), "whoever comes next must know of it");

    // Nobody counts on it: its end is no evidence. That of another is.
    scene.sheet.lock().crash(&n(3));
    scene.sheet.lock().crash(&n(4));
    nemesis.tick();
    assert_eq!(scene.crashes(), [n(4)]);

    let refused = nemesis.heal().expect_err("the cluster does not agree");
    assert!(
        matches!(&refused, NemesisError::Membership { node, .. } if *node == n(3)),
        "{refused}"
    );
    assert!(refused.to_string().contains("nobody is taken in"), "{refused}");
    assert!(refused.to_string().ends_with("nemesis heal"), "{refused}");
    assert_eq!(nemesis.in_force().len(), 1, "it can be tried again");

    *scene.store.taking.lock() = Taking::In;
    let healed = nemesis.heal().expect("now it agrees");
    assert_eq!(healed.undone.len(), 1, "{healed:?}");
    assert!(healed.undone[0].healed && !healed.undone[0].seen.is_empty());
    assert!(scene.store.has(&n(3)) && scene.sheet.lock().is_alive(&n(3)));
    assert!(!holds(&scene.journal()));

    // From now on its end is a crash like any other.
    scene.sheet.lock().crash(&n(3));
    nemesis.tick();
    assert_eq!(scene.crashes(), [n(4), n(3)]);
}

#[test]
fn who_was_taken_in_late_keeps_his_data() {
    let scene = Scene::new(5);
    let mut nemesis = scene.nemesis();
    *scene.store.taking.lock() = Taking::Nobody;
    for json in [
        REPLACE,
        r#"{"fault":"membership","target":"n2","change":"remove"}"#,
    ] {
        nemesis.apply(&fault(json)).expect("it is out, at least");
    }
    // Requests that nobody saw answered came about in the end.
    for node in ["n2", "n3"] {
        scene.store.members.lock().insert(node.to_owned());
    }
    let wiped = scene.sheet.lock().count("wipe n3");
    assert!(nemesis.heal().expect("there is nothing to do").healed);
    assert_eq!(
        scene.sheet.lock().count("wipe n3"),
        wiped,
        "a member forgot what it had promised"
    );
    assert_eq!(scene.sheet.lock().count("wipe n2"), 0);
}

#[test]
fn a_replacement_that_nobody_lived_to_complete_is_completed() {
    // Killed after the node was removed and ended, before it was started again.
    let scene = Scene::new(5);
    scene.begun(REPLACE);
    scene.store.members.lock().remove("n3");
    scene.sheet.lock().crash(&n(3));
    let mut nemesis = scene.nemesis();
    nemesis.tick();
    assert_eq!(scene.crashes(), [], "it was ended by the one before");
    assert!(nemesis.heal().expect("heals").healed);
    assert!(scene.store.has(&n(3)) && scene.sheet.lock().is_alive(&n(3)));
    assert_eq!(scene.sheet.lock().count("wipe n3"), 1);
    assert!(!holds(&scene.journal()));

    // Killed before anything was done: then a member keeps its data.
    let scene = Scene::new(5);
    scene.begun(REPLACE);
    assert!(scene.nemesis().heal().expect("heals").healed);
    assert_eq!(scene.sheet.lock().done, Vec::<String>::new());

    // Where nobody can say who is a member, nothing is thrown away.
    let scene = Scene::new(5);
    scene.begun(REPLACE);
    scene.sheet.lock().crash(&n(3));
    let requests = Requests {
        members: None,
        ..Requests::of_kvnode()
    };
    assert!(scene.nemesis_with(requests).heal().expect("heals").healed);
    assert_eq!(scene.sheet.lock().done, ["start n3"]);
}

#[test]
fn a_restart_that_was_cut_short_is_ended_by_whoever_comes_next() {
    let scene = Scene::new(3);
    scene.begun(r#"{"fault":"restart","target":"n2"}"#);
    scene.sheet.lock().crash(&n(2));
    scene.sheet.lock().crash(&n(3));
    let mut nemesis = scene.nemesis();
    nemesis.tick();
    assert_eq!(
        scene.sheet.lock().done,
        ["start n2"],
        "n3 died by itself: it stays as it is"
    );
    assert_eq!(scene.crashes(), [n(3)]);
    assert!(nemesis.in_force().is_empty() && !holds(&scene.journal()));
}

#[test]
fn a_restart_whose_start_fails_is_tried_again() {
    let scene = Scene::new(3);
    let mut nemesis = scene.nemesis();
    // When it is restarted, and when that is taken back.
    scene.sheet.lock().failing.insert("start n2".to_owned(), 2);
    let refused = nemesis.apply(&fault(r#"{"fault":"restart","target":"n2"}"#));
    assert!(refused.is_err_and(|error| error.to_string().contains("not now")));
    assert!(!scene.sheet.lock().is_alive(&n(2)) && holds(&scene.journal()));
    scene.ticks_until(&mut nemesis, "it is started", |nemesis, sheet| {
        sheet.is_alive(&n(2)) && nemesis.in_force().is_empty()
    });
    assert_eq!(scene.crashes(), []);
}

#[test]
fn what_is_over_and_cannot_be_undone_is_tried_again() {
    let scene = Scene::new(3);
    let mut nemesis = scene.nemesis();
    scene.sheet.lock().failing.insert("start n2".to_owned(), 1);
    let killed = nemesis
        .apply_for(
            &fault(r#"{"fault":"kill","target":"n2"}"#),
            Duration::from_millis(1),
        )
        .expect("kills");
    assert!(killed.bit, "{killed:?}");
    scene.ticks_until(&mut nemesis, "it is started", |_, sheet| sheet.is_alive(&n(2)));
    let records = scene.records.lock();
    assert!(
        records
            .iter()
            .any(|record| matches!(record, Record::Trouble { message } if message.contains("not now"))),
        "and what went wrong is told: {records:?}"
    );
    assert!(matches!(records.last(), Some(Record::Undone(undone)) if undone.healed));
}

#[test]
fn an_appointment_outlives_the_tool_that_made_it() {
    let scene = Scene::new(3);
    let mut nemesis = scene.nemesis();
    for (json, secs) in [
        (r#"{"fault":"partition","shape":"one n1"}"#, 0),
        (r#"{"fault":"pause","target":"n2"}"#, 3600),
    ] {
        let lasting = Duration::from_secs(secs);
        assert!(nemesis.apply_for(&fault(json), lasting).expect("applies").bit);
    }
    drop(nemesis);
    let mut nemesis = scene.nemesis();
    let left: Vec<Option<u64>> = nemesis.in_force().iter().map(|fault| fault.left_ms).collect();
    assert!(
        left[0] == Some(0) && left[1].is_some_and(|left| left > 3_000_000),
        "{left:?}"
    );
    nemesis.tick();
    assert_eq!(nemesis.in_force().len(), 1, "the first was due");
    assert!(
        scene
            .sheet
            .lock()
            .links
            .as_ref()
            .is_some_and(nemesis::LinkMatrix::is_good)
    );
    assert_eq!(scene.sheet.lock().states[&n(2)], NodeState::Paused);
}

#[test]
fn a_crash_loop_bites_on_a_machine_slower_than_its_beat() {
    let scene = Scene::new(5);
    let mut nemesis = scene.nemesis();
    // Killing three takes far longer than they are to be dead.
    scene.sheet.lock().slow = Duration::from_millis(20);
    let looping = nemesis
        .apply(&fault(
            r#"{"fault":"crash-loop","target":"n1,n2,n3","up":"100ms","down":"5ms"}"#,
        ))
        .expect("begins");
    assert!(looping.bit && looping.seen.len() == 3, "{looping:?}");
    assert_eq!(scene.sheet.lock().done, ["kill n1", "kill n2", "kill n3"]);
    scene.ticks_until(&mut nemesis, "each dies again", |_, sheet| {
        (1..=3).all(|node| sheet.count(&format!("kill n{node}")) > 2)
    });
    nemesis.heal().expect("heals");

    // What another fault left behind is held against what was enforced, though the beat
    // has turned since.
    nemesis
        .apply(&fault(
            r#"{"fault":"crash-loop","target":"n1","up":"5ms","down":"5ms"}"#,
        ))
        .expect("begins");
    for _ in 0..10 {
        let paused = nemesis.apply(&fault(r#"{"fault":"pause","target":"n1"}"#));
        let undone = nemesis.undo(paused.expect("pauses").id).expect("undoes");
        assert!(undone.healed, "{undone:?}");
    }
    let healed = nemesis.heal().expect("heals");
    assert!(healed.healed, "{healed:?}");
    assert!((1..=5).all(|node| scene.sheet.lock().is_alive(&n(node))));
    assert_eq!(scene.crashes(), [], "who is killed has not crashed");
}

#[test]
fn every_turn_of_a_rolling_restart_is_looked_at() {
    let scene = Scene::new(3);
    let mut nemesis = scene.nemesis();
    let rolling = nemesis
        .apply(&fault(r#"{"fault":"restart","target":"all","rolling":"5ms"}"#))
        .expect("begins");
    assert!(rolling.bit && !rolling.over, "{rolling:?}");
    scene.ticks_until(&mut nemesis, "it ends", |nemesis, _| {
        nemesis.in_force().is_empty()
    });
    let records = scene.records.lock();
    let Some(Record::Undone(ended)) = records.last() else {
        panic!("{records:?}");
    };
    assert!(ended.healed, "{ended:?}");
    let seen: Vec<String> = ended.seen.iter().map(ToString::to_string).collect();
    for expected in [
        "n2 is dead",
        "n3 is dead",
        "n1 is running",
        "n2 is running",
        "n3 is running",
    ] {
        assert!(seen.iter().any(|seen| seen == expected), "{expected}: {seen:?}");
    }
}

#[test]
fn in_the_smallest_clusters_a_majority_is_killed_and_brought_back() {
    for (nodes, majority) in [(1, 1), (2, 2), (3, 2), (4, 3)] {
        let scene = Scene::new(nodes);
        let mut nemesis = scene.nemesis();
        let killed = nemesis
            .apply(&fault(r#"{"fault":"kill","target":"majority"}"#))
            .expect("kills");
        assert!(killed.bit && killed.seen.len() == majority, "{nodes}: {killed:?}");
        let alive = (1..=nodes).filter(|node| scene.sheet.lock().is_alive(&n(*node)));
        assert_eq!(alive.count(), nodes - majority);
        assert!(nemesis.heal().expect("heals").healed, "{nodes}");
    }
}

#[test]
fn everything_is_journalled_before_it_is_done() {
    for json in [
        r#"{"fault":"partition","shape":"halves"}"#,
        r#"{"fault":"kill","target":"all"}"#,
        r#"{"fault":"pause","target":"one"}"#,
        r#"{"fault":"restart","target":"n1"}"#,
        r#"{"fault":"crash-loop","target":"n1","up":"1s","down":"1s"}"#,
        r#"{"fault":"damage","target":"n1","damage":{"kind":"truncate","bytes":1}}"#,
        REPLACE,
    ] {
        let scene = Scene::new(3);
        let mut nemesis = scene.nemesis();
        scene.sheet.lock().journal = Some(scene.journal());
        let applied = nemesis.apply(&fault(json)).expect("applies");
        assert!(
            applied.bit && !scene.sheet.lock().done.is_empty(),
            "{json}: {applied:?}"
        );
        assert_eq!(holds(&scene.journal()), !applied.over, "{json}");
        assert!(nemesis.heal().expect("heals").healed, "{json}");
        assert!(!holds(&scene.journal()), "{json}");
    }
}

#[test]
fn the_leader_is_who_leads_when_the_fault_strikes() {
    let scene = Scene::new(5);
    let mut nemesis = scene.nemesis();
    let killed = nemesis
        .apply(&fault(r#"{"fault":"kill","target":"leader"}"#))
        .expect("kills");
    assert!(killed.bit && killed.description == "n1", "{killed:?}");
    let paused = nemesis
        .apply(&fault(r#"{"fault":"pause","target":"followers"}"#))
        .expect("pauses");
    assert_eq!(paused.description, "n2, n3, n4, n5");
    assert!(nemesis.heal().expect("heals").healed);

    let slow = nemesis::plan::faults_named("slow-leader").expect("a name");
    let slowed = nemesis.apply(&slow[0]).expect("slows it");
    assert!(slowed.bit && slowed.seen.len() == 8, "{slowed:?}");
    let links = scene.sheet.lock().links.clone().expect("laid");
    for (from, to, link) in links.pairs() {
        let hit = [from, to].contains(&&n(1));
        assert_eq!(link.delay.is_some(), hit, "{from} -> {to}: {link}");
    }
    let cut = nemesis
        .apply(&fault(r#"{"fault":"partition","shape":"leader"}"#))
        .expect("cuts");
    assert!(cut.bit && cut.effect.links.len() == 8, "{cut:?}");
    assert!(nemesis.heal().expect("heals").healed);
}

#[test]
fn who_is_added_is_removed_again() {
    let scene = Scene::new(3);
    let mut nemesis = scene.nemesis();
    scene.store.members.lock().remove("n2");
    let added = nemesis
        .apply(&fault(r#"{"fault":"membership","target":"n2","change":"add"}"#))
        .expect("adds");
    assert!(added.bit && !added.over && scene.store.has(&n(2)), "{added:?}");
    let undone = nemesis.undo(added.id).expect("removes");
    assert!(undone.healed && !scene.store.has(&n(2)), "{undone:?}");
    assert!(scene.sheet.lock().done.is_empty(), "its process is left alone");
}
