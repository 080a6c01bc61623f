//! Commits on their way to a follower wait a moment for entries to ride with.
//!
//! Every advance of the commit has openraft send each follower a request without entries,
//! and the next entries wait for its answer. With clients that ask again as soon as they
//! are answered, that is a second round of messages between any two rounds of entries, in
//! the way of the second: the new commit is all that it says, and the entries say it too.
//!
//! So a request that says nothing else waits for `COMPANY`, and is left out if another
//! follows meanwhile. Nothing is acknowledged by that: openraft takes an answer to stand
//! for all that was asked before it, by their log ids, and counts its lease from when each
//! was made, which only is earlier. The price is that a follower learns of the last commit
//! before a pause that much later.

use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, unfold};
use openraft::raft::AppendEntriesRequest;

use crate::env::clock;
use crate::raft::TypeConfig;

/// How long a commit waits: longer than a client that was answered takes to ask again,
/// shorter than anybody notices.
const COMPANY: Duration = Duration::from_millis(1);

/// The requests of one stream, those left out that another says better. The first goes at
/// once: it may be a heartbeat, or ask what the follower has.
pub fn in_company<S>(
    requests: S,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let begin = (Some(requests), true);
    Box::pin(unfold(begin, |(requests, first)| async move {
        let mut requests = requests?;
        let mut request = requests.next().await?;
        if first {
            return Some((request, (Some(requests), false)));
        }
        let until = clock::now() + COMPANY;
        while request.entries.is_empty() {
            match clock::until(until, requests.next()).await {
                Ok(Some(next)) => request = next,
                Ok(None) => return Some((request, (None, false))),
                Err(clock::Elapsed) => break,
            }
        }
        Some((request, (Some(requests), false)))
    }))
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;
    use openraft::vote::leader_id_std::CommittedLeaderId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::raft::{Entry, LogId, Vote};

    fn at(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1), index)
    }

    /// A request with entries from `first` on, up to and with `last`, and a commit.
    fn request(first: u64, last: u64, commit: u64) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(1, "n1".parse().expect("a name")),
            prev_log_id: Some(at(first - 1)),
            leader_commit: Some(at(commit)),
            entries: (first..=last).map(|index| Entry::new_blank(at(index))).collect(),
        }
    }

    /// What goes to the follower, as `prev+entries commit`.
    async fn next(sent: &mut (impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin)) -> String {
        let Some(request) = sent.next().await else {
            return "the end".to_owned();
        };
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let (prev, commit) = (index(request.prev_log_id), index(request.leader_commit));
        format!("{prev}+{} {commit}", request.entries.len())
    }

    /// Requests that come one after the other, and the end after the last.
    fn stream() -> (
        mpsc::UnboundedSender<AppendEntriesRequest<TypeConfig>>,
        impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    ) {
        let (requests, given) = mpsc::unbounded_channel::<AppendEntriesRequest<TypeConfig>>();
        let given = unfold(given, |mut given: mpsc::UnboundedReceiver<_>| async move {
            Some((given.recv().await?, given))
        });
        (requests, in_company(Box::pin(given)))
    }

    #[tokio::test]
    async fn a_commit_rides_with_the_next_entries() {
        let (requests, mut sent) = stream();
        requests.send(request(5, 6, 4)).unwrap();
        assert_eq!(next(&mut sent).await, "4+2 4");
        for request in [
            request(7, 6, 5),
            request(7, 6, 6),
            request(7, 9, 6),
            request(10, 10, 6),
        ] {
            requests.send(request).unwrap();
        }
        assert_eq!(next(&mut sent).await, "6+3 6");
        assert_eq!(next(&mut sent).await, "9+1 6");
        requests.send(request(11, 10, 10)).unwrap();
        drop(requests);
        assert_eq!(next(&mut sent).await, "10+0 10", "the last is not lost");
        assert_eq!(next(&mut sent).await, "the end");
    }

    #[tokio::test]
    async fn a_commit_that_nothing_follows_goes_alone() {
        let (requests, mut sent) = stream();
        // A heartbeat, or a question what the follower has.
        requests.send(request(5, 4, 4)).unwrap();
        assert_eq!(next(&mut sent).await, "4+0 4");
        requests.send(request(5, 5, 4)).unwrap();
        assert_eq!(next(&mut sent).await, "4+1 4");
        requests.send(request(6, 5, 5)).unwrap();
        assert_eq!(next(&mut sent).await, "5+0 5");
        drop(requests);
    }
}
