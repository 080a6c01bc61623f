//! A node of several processes, one of which leaves the group that it was started in, as PostgreSQL's do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nemesis::fault::Fault;
use nemesis::lab::Lab;
use nemesis::{Nemesis, NodeId, NodeState};

use crate::node::ask;

const PORT: u16 = 7000;
/// Where the other process listens.
const SECOND: u16 = 7001;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn play(lab: &Lab, folder: &Path) {
    let n1 = NodeId::numbered(1);
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 1).expect("a nemesis");
    let at = |port| SocketAddr::from((lab.address(&n1).expect("a node of the lab"), port));
    let second = |what: &str| ask(at(SECOND), what, Duration::from_secs(1));
    let begin = || {
        let said = ask(at(PORT), &format!("spawn {SECOND}"), PATIENCE).expect("answers");
        assert_eq!(said, "ok");
        lab.wait_until(&n1, || second("id").is_ok(), PATIENCE)
            .expect("it listens");
    };
    begin();

    let target = "n1".parse().expect("a target");
    let paused = nemesis.apply(&Fault::Pause { target }).expect("pauses");
    assert!(paused.bit, "{paused:?}");
    assert_eq!(lab.state(&n1).expect("a node"), NodeState::Paused);
    assert!(
        second("id").is_err(),
        "a paused node answers nobody, whoever of it is asked"
    );
    assert!(nemesis.undo(paused.id).expect("resumes").healed);
    assert_eq!(second("id").expect("answers"), "second");

    let target = "n1".parse().expect("a target");
    let killed = nemesis.apply(&Fault::Kill { target }).expect("kills");
    assert!(killed.bit, "{killed:?}");
    assert!(second("id").is_err(), "the whole machine is dead");
    assert!(nemesis.undo(killed.id).expect("starts it").healed);
    lab.wait_until(&n1, || ask(at(PORT), "id", PATIENCE).is_ok(), PATIENCE)
        .expect("is back");
    begin();
    assert!(nemesis.heal().expect("heals").healed);
}
