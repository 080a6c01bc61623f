//! Faults that need the store's own words, on a live kvnode cluster: members that come
//! and go, leadership handed over, an election struck in its midst. And the same
//! cluster over both networks of the lab.

mod program;

use std::path::PathBuf;

use nemesis::Fault;
use nemesis::control::{Answer, Client, Question};
use nemesis::{Applied, FaultId, Healed, Undone};

use program::{said, workloads};

/// A cluster that is taken down even by a test that fails.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn up(more: &[&str]) -> Cluster {
        let cluster = Cluster {
            folder: program::folder(),
        };
        let output = workloads(cluster.folder.path())
            .arg("up")
            .args(more)
            .output()
            .expect("starts");
        let (code, out, errors) = said(&output);
        assert_eq!(code, Some(0), "{out}{errors}");
        cluster
    }

    fn current(&self) -> PathBuf {
        self.folder.path().join("store/current")
    }

    fn ask(&self, question: &Question) -> Answer {
        let mut client = Client::connect(&self.current()).expect("its owner answers");
        client.ask(question).expect("an answer")
    }

    fn apply(&self, json: &str) -> Applied {
        let fault: Fault = serde_json::from_str(json).expect("a fault");
        match self.ask(&Question::Apply { fault, lasting: None }) {
            Answer::Applied(applied) => {
                assert!(applied.bit, "{json} did not bite: {applied:?}");
                applied
            }
            other => panic!("{json}: {other:?}"),
        }
    }

    fn undo(&self, id: FaultId) -> Undone {
        match self.ask(&Question::Undo { id }) {
            Answer::Undone(undone) => {
                assert!(undone.healed, "{undone:?}");
                undone
            }
            other => panic!("{other:?}"),
        }
    }

    fn heal(&self) -> Healed {
        match self.ask(&Question::Heal) {
            Answer::Healed(healed) => {
                assert!(healed.healed, "{healed:?}");
                healed
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = workloads(self.folder.path()).arg("down").output();
    }
}

fn seen(applied: &[nemesis::probe::Probe]) -> String {
    let all: Vec<String> = applied.iter().map(ToString::to_string).collect();
    all.join("; ")
}

#[test]
fn members_come_and_go_and_elections_are_struck() {
    let cluster = Cluster::up(&["--nodes", "5"]);

    let handed = cluster.apply(r#"{"fault":"membership","target":"n2","change":"transfer"}"#);
    assert!(
        handed.over && seen(&handed.seen).contains("n2 leads"),
        "{handed:?}"
    );

    // Out, and back in: kvnode takes back only who comes with empty hands.
    let removed = cluster.apply(r#"{"fault":"membership","target":"n4","change":"remove"}"#);
    assert!(
        seen(&removed.seen).contains("members are n1, n2, n3, n5"),
        "{removed:?}"
    );
    let undone = cluster.undo(removed.id);
    assert!(
        seen(&undone.seen).contains("members are n1, n2, n3, n4, n5"),
        "{undone:?}"
    );

    let replaced = cluster.apply(r#"{"fault":"membership","target":"n3","change":"replace"}"#);
    assert!(
        replaced.over && seen(&replaced.seen).contains("replaced"),
        "{replaced:?}"
    );

    // Heal brings a removed node back as well, and after links are good again.
    cluster.apply(r#"{"fault":"membership","target":"n5","change":"remove"}"#);
    cluster.apply(r#"{"fault":"partition","shape":"one n5"}"#);
    assert_eq!(cluster.heal().undone.len(), 2);

    let struck = cluster.apply(r#"{"fault":"kill-election"}"#);
    assert_eq!(struck.effect.processes.len(), 2, "two are dead: {struck:?}");
    assert!(struck.description.contains(", then "), "{struck:?}");
    cluster.heal();

    // Not in the file: said before anything is done.
    let refused = cluster.ask(&Question::Apply {
        fault: serde_json::from_str(r#"{"fault":"membership","target":"n9","change":"remove"}"#)
            .expect("a fault"),
        lasting: None,
    });
    assert!(
        matches!(&refused, Answer::Refused { message, bad_input: true } if message.contains("unknown node n9")),
        "{refused:?}"
    );
}

#[test]
fn the_same_cluster_runs_over_the_kernels_own_network() {
    let output = workloads(program::folder().path())
        .args([
            "run",
            "--nodes",
            "3",
            "--net",
            "iptables",
            "--nemesis",
            "partition-one,loss",
        ])
        .args(["--time-limit", "6s", "--rate", "300", "--seed", "3"])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
}
