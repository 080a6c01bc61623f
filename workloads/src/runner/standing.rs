//! Writes down who leads, as each node has it, whenever a node says something new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::Leader;
use crate::cluster::Council;
use crate::evidence::{Note, Role, Standing};
use crate::recorder::Recorder;

/// How often the nodes are asked.
const EVERY: Duration = Duration::from_millis(200);
/// A node that does not answer within this is silent.
const PATIENCE: Duration = Duration::from_millis(400);

/// Asks until it is aborted.
pub(super) fn watch(council: Council, recorder: Arc<Recorder>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = BTreeMap::new();
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            for (node, said) in council.standings(PATIENCE).await {
                let role = match said.as_ref().map(|said| &said.leader) {
                    Some(Leader::Itself) => Role::Leader,
                    Some(Leader::Named(name)) if *name == node.as_str() => Role::Leader,
                    Some(_) => Role::Follower,
                    None => Role::Silent,
                };
                let standing = Standing {
                    node: node.to_string(),
                    role,
                    term: said.and_then(|said| said.term),
                };
                if last.get(&node) != Some(&standing) {
                    Note::Standing(standing.clone()).record(&recorder, "standing");
                    last.insert(node, standing);
                }
            }
        }
    })
}
