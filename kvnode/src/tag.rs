//! The name of a client's request, for logs: taken from `X-Request-Id` or made here,
//! answered to the client, and carried across the hop to the leader.
//!
//! It belongs to the task that serves the request, as the request itself does, and is
//! no part of what is replicated.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::env::rng;

/// Longest name that is taken from a client, bytes.
const LONGEST: usize = 128;

tokio::task_local! {
    static TAG: Arc<str>;
}

/// Makes names that no other node makes, nor this one after a restart.
#[derive(Debug)]
pub struct Tags {
    base: u64,
    made: AtomicU64,
}

impl Default for Tags {
    fn default() -> Tags {
        Tags {
            base: rng::random_u64(),
            made: AtomicU64::new(0),
        }
    }
}

impl Tags {
    /// The client's name for its request if it is printable and short, else a new one.
    pub fn of(&self, given: Option<&[u8]>) -> Arc<str> {
        let legal =
            |text: &&[u8]| (1..=LONGEST).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        match given
            .filter(legal)
            .and_then(|text| std::str::from_utf8(text).ok())
        {
            Some(text) => Arc::from(text),
            None => {
                let number = self.made.fetch_add(1, Ordering::Relaxed);
                Arc::from(format!("{:016x}", self.base.wrapping_add(number)))
            }
        }
    }
}

/// Runs `future` as the work of the request named so.
pub async fn tagged<F: Future>(tag: Arc<str>, future: F) -> F::Output {
    TAG.scope(tag, future).await
}

/// The name of the request that this task serves, if it serves one.
pub fn current() -> Option<Arc<str>> {
    TAG.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_or_made() {
        let tags = Tags::default();
        assert_eq!(&*tags.of(Some(b"abc-1/2")), "abc-1/2");
        let long = [b'x'; LONGEST + 1];
        for wrong in [
            None,
            Some(&b""[..]),
            Some(b"a b"),
            Some(b"a\nb"),
            Some(b"\xff"),
            Some(&long),
        ] {
            let made = tags.of(wrong);
            assert!(made.len() == 16 && made != tags.of(wrong), "{made}");
        }
    }
}
