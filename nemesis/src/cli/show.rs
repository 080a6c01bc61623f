//! Answers as people read them.

use crate::control::{Answer, Question};
use crate::doctor::Finding;
use crate::duration::Span;
use crate::effect::{Effect, ProcessChange, Rhythm};
use crate::fault::{Fault, MembershipChange};
use crate::node::{NodeId, NodeState, join};
use crate::probe::Probe;
use crate::record::{InForce, Status};

/// Prints what was done and what was seen.
pub(super) fn answer(question: &Question, answer: &Answer) {
    match answer {
        Answer::Able => {}
        Answer::Status(status) => crate::out::text(matrix(status)),
        Answer::Applied(applied) => {
            crate::say!("{applied}");
            if let Question::Apply {
                lasting: Some(lasting),
                ..
            } = question
            {
                crate::say!("undone by itself after {lasting}");
            } else if !applied.over && matches!(applied.fault, Fault::Restart { .. }) {
                crate::say!(
                    "one after the other; `nemesis undo {}` leaves the rest alone",
                    applied.id.0
                );
            } else if !applied.over {
                crate::say!("until `nemesis undo {}` or `nemesis heal`", applied.id.0);
            }
            seen(&applied.seen);
        }
        Answer::Preview { effect, sentence } => {
            crate::say!("would hit: {sentence}");
            crate::out::text(effect_lines(effect));
            if matches!(
                question,
                Question::Preview {
                    fault: Fault::KillElection
                }
            ) {
                crate::say!("  and whoever is seen to stand for election then: kill");
            }
        }
        Answer::Undone(undone) => {
            crate::say!("{undone}");
            seen(&undone.seen);
        }
        Answer::Resumed { seen: probes } => seen(probes),
        Answer::Healed(healed) => {
            if healed.undone.is_empty() {
                crate::say!("nothing was in force");
            }
            for undone in &healed.undone {
                crate::say!("{undone}");
            }
            let wrong: Vec<&Probe> = healed.seen.iter().filter(|probe| !probe.as_wanted()).collect();
            if wrong.is_empty() {
                crate::say!("healed: every link carries packets, every node runs");
            } else {
                crate::say!("NOT healed:");
                wrong.iter().for_each(|probe| crate::say!("  {probe}"));
            }
        }
        Answer::Refused { message, .. } => crate::say!("refused: {message}"),
    }
}

fn seen(probes: &[Probe]) {
    for probe in probes {
        crate::say!("  seen: {probe}");
    }
}

fn effect_lines(effect: &Effect) -> String {
    let mut text = String::new();
    for change in &effect.links {
        text += &format!("  {} -> {}: {}\n", change.from, change.to, change.link);
    }
    if let Some(rhythm) = &effect.rhythm {
        text += &format!("  over and over: {}\n", beat(rhythm));
    }
    for (node, change) in &effect.processes {
        let what = match change {
            ProcessChange::Kill => "kill".to_owned(),
            ProcessChange::Pause => "pause".to_owned(),
            ProcessChange::Restart { after } if after.0.is_zero() => "restart".to_owned(),
            ProcessChange::Restart { after } => format!("restart after {after}"),
            ProcessChange::CrashLoop { rhythm } => format!("kill over and over: {}", beat(rhythm)),
            ProcessChange::PowerFailure { torn: false } => "power failure".to_owned(),
            ProcessChange::PowerFailure { torn: true } => "power failure, torn writes".to_owned(),
        };
        text += &format!("  {node}: {what}\n");
    }
    for (node, damage) in &effect.damaged {
        text += &format!("  {node}: files: {damage}\n");
    }
    for (node, disk) in &effect.disks {
        text += &format!("  {node}: disk {disk}\n");
    }
    for (node, clock) in &effect.clocks {
        text += &format!("  {node}: clock {clock}\n");
    }
    for (node, change) in &effect.members {
        let what = match change {
            MembershipChange::Add => "made a member",
            MembershipChange::Remove => "made a member no longer",
            MembershipChange::Transfer => "made leader",
            MembershipChange::Replace => "made a member no longer, killed, emptied, started, made a member",
        };
        text += &format!("  {node}: {what}\n");
    }
    text
}

fn beat(rhythm: &Rhythm) -> String {
    format!("{} there, {} not", rhythm.on, rhythm.off)
}

/// What undoing would undo.
pub(super) fn would_undo(question: &Question, meant: &[&InForce], status: &Status) -> String {
    if let Question::Resume { target } = question {
        let paused = status
            .nodes
            .iter()
            .filter(|(_, state)| *state == NodeState::Paused);
        let paused = join(paused.map(|(node, _)| node));
        return if paused.is_empty() {
            "would continue nobody: no node is paused\n".to_owned()
        } else {
            format!("would continue who of `{target}` is paused; paused are {paused}\n")
        };
    }
    if meant.is_empty() {
        return "would undo nothing: no fault is in force\n".to_owned();
    }
    let lines: String = meant.iter().map(|fault| in_force(fault)).collect();
    format!("would undo:\n{lines}")
}

/// Who reaches whom: a row for each sender, a column for each receiver.
fn matrix(status: &Status) -> String {
    let leader = status
        .leader
        .as_ref()
        .map_or("no leader known".to_owned(), |node| format!("{node} leads"));
    let mut text = format!("{}, {} nodes, {leader}\n\n", status.backend, status.nodes.len());
    let wide = status
        .nodes
        .iter()
        .map(|(node, _)| node.as_str().len())
        .max()
        .unwrap_or(2)
        .max(2);
    let states: Vec<String> = status.nodes.iter().map(|(_, state)| state.to_string()).collect();
    let states_wide = states.iter().map(String::len).max().unwrap_or(0);
    text += &format!("{:wide$}  {:states_wide$}", "", "");
    for (node, _) in &status.nodes {
        text += &format!("  {node:>wide$}");
    }
    text += "\n";
    for ((from, _), state) in status.nodes.iter().zip(&states) {
        text += &format!("{from:wide$}  {state:states_wide$}");
        for (to, _) in &status.nodes {
            text += &format!("  {:>wide$}", cell(status, from, to));
        }
        text += if status.leader.as_ref() == Some(from) {
            "  leader\n"
        } else {
            "\n"
        };
    }
    text += "\nrow to column: ok reaches, ~ badly, x does not, ? unknown, ! not as wanted\n";
    if status.faults.is_empty() {
        text += "\nno fault in force\n";
    } else {
        text += "\nin force:\n";
        status.faults.iter().for_each(|fault| text += &in_force(fault));
    }
    text
}

fn cell(status: &Status, from: &NodeId, to: &NodeId) -> &'static str {
    if from == to {
        return ".";
    }
    match status
        .reach
        .iter()
        .find(|probe| probe.from == *from && probe.to == *to)
    {
        None => "?",
        Some(probe) if !probe.as_wanted => "!",
        Some(probe) if probe.arrived == 0 => "x",
        Some(probe) if probe.wanted.is_good() => "ok",
        Some(_) => "~",
    }
}

fn in_force(fault: &InForce) -> String {
    let millis = |ms: u64| Span::from_millis(if ms > 10_000 { ms / 1000 * 1000 } else { ms });
    let left = fault
        .left_ms
        .map(|left| format!(", {} left", millis(left)))
        .unwrap_or_default();
    format!(
        "  {} {}: {} (since {}{left})\n",
        fault.id,
        fault.fault,
        fault.description,
        millis(fault.since_ms)
    )
}

/// Prints the doctor's table.
pub(super) fn findings(findings: &[Finding], json: bool) {
    if json {
        crate::say!("{}", serde_json::to_string(findings).expect("plain data"));
        return;
    }
    for finding in findings {
        match &finding.why_not {
            None => crate::say!("ok  {:<28} {}", finding.what, finding.gives),
            Some(why) => crate::say!("no  {:<28} {}; {}", finding.what, why.reason, why.mend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Link, LinkMatrix};
    use crate::probe::LinkProbe;

    #[test]
    fn the_matrix_shows_who_reaches_whom() {
        let nodes: Vec<NodeId> = (1..=2).map(NodeId::numbered).collect();
        let probe = |from: usize, to: usize, wanted: Link, arrived: u32, as_wanted: bool| LinkProbe {
            from: nodes[from].clone(),
            to: nodes[to].clone(),
            wanted,
            sent: 1,
            arrived,
            mean_us: None,
            rate: None,
            stopped: None,
            as_wanted,
        };
        let status = Status {
            backend: "lab".into(),
            leader: Some(nodes[1].clone()),
            nodes: vec![
                (nodes[0].clone(), NodeState::Running),
                (nodes[1].clone(), NodeState::Paused),
            ],
            links: LinkMatrix::good(&nodes),
            reach: vec![
                probe(0, 1, Link::CUT, 0, true),
                probe(1, 0, Link::default(), 1, true),
            ],
            faults: Vec::new(),
        };
        let text = matrix(&status);
        assert!(text.starts_with("lab, 2 nodes, n2 leads\n"), "{text}");
        assert!(text.contains("n1  running   .   x\n"), "{text}");
        assert!(text.contains("n2  paused   ok   .  leader\n"), "{text}");
    }
}
