//! What is on its way to the thread that writes the log, in order.
//!
//! Not every job is worth waking it for: a mark that entries are committed is written with
//! the next batch anyhow, and on a busy node there is one a batch. A channel would wake the
//! thread for each, only to find nothing to write, on every node and in the way of those
//! who have work.
//!
//! Invariants:
//! - jobs come out in the order in which they went in;
//! - a job that presses wakes the writer, and whatever went in before it comes out first;
//! - after the writer has ended nothing goes in, and what was still in it is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Whether the writer is woken for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Now.
    Presses,
    /// With the next that presses.
    Waits,
}

/// Why no job comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// None that presses came in time.
    Yet,
    /// All senders are gone, and everything has come out.
    More,
}

/// The writer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    pressing: Condvar,
}

struct Queue<T> {
    jobs: VecDeque<(T, Haste)>,
    /// How many of them press.
    pressing: usize,
    senders_gone: bool,
    ended: bool,
}

impl<T> Queue<T> {
    fn pop(&mut self) -> Option<T> {
        let (job, haste) = self.jobs.pop_front()?;
        self.pressing -= usize::from(haste == Haste::Presses);
        Some(job)
    }
}

/// Where jobs go in. Clones are one sender.
pub struct Sender<T>(Arc<Only<T>>);

/// Shared by all clones, so that the last one tells that there are no more.
struct Only<T>(Arc<Shared<T>>);

/// Where they come out.
pub struct Receiver<T>(Arc<Shared<T>>);

/// An empty queue.
pub fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Queue {
        jobs: VecDeque::new(),
        pressing: 0,
        senders_gone: false,
        ended: false,
    };
    let shared = Arc::new(Shared {
        queue: Mutex::new(queue),
        pressing: Condvar::new(),
    });
    (Sender(Arc::new(Only(shared.clone()))), Receiver(shared))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Puts a job in.
    ///
    /// # Errors
    /// When nobody takes it out any more.
    pub fn send(&self, job: T, haste: Haste) -> Result<(), Ended> {
        let shared = &self.0.0;
        {
            let mut queue = shared.queue.lock();
            if queue.ended {
                return Err(Ended);
            }
            queue.jobs.push_back((job, haste));
            queue.pressing += usize::from(haste == Haste::Presses);
        }
        if haste == Haste::Presses {
            shared.pressing.notify_one();
        }
        Ok(())
    }
}

impl<T> Drop for Only<T> {
    fn drop(&mut self) {
        self.0.queue.lock().senders_gone = true;
        self.0.pressing.notify_one();
    }
}

impl<T> Receiver<T> {
    /// The next job, once one presses; within `limit`, if there is one.
    ///
    /// # Errors
    /// [`Nothing`] says whether there may be another.
    pub fn next(&self, limit: Option<Duration>) -> Result<T, Nothing> {
        let mut queue = self.0.queue.lock();
        loop {
            if queue.pressing > 0 {
                return queue.pop().ok_or(Nothing::Yet);
            }
            if queue.senders_gone {
                return queue.pop().ok_or(Nothing::More);
            }
            match limit {
                None => self.0.pressing.wait(&mut queue),
                Some(limit) => {
                    let waited = self.0.pressing.wait_for(&mut queue, limit);
                    if waited.timed_out() && queue.pressing == 0 && !queue.senders_gone {
                        return Err(Nothing::Yet);
                    }
                }
            }
        }
    }

    /// The next job that is there already.
    pub fn waiting(&self) -> Option<T> {
        self.0.queue.lock().pop()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.0.queue.lock();
            queue.ended = true;
            queue.pressing = 0;
            std::mem::take(&mut queue.jobs)
        };
        // Whoever waits for one of them is told by its end, and may want the lock.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Option<Duration> = Some(Duration::from_millis(1));

    #[test]
    fn what_waits_comes_out_first_and_wakes_nobody() {
        let (sender, receiver) = queue();
        sender.send("mark 1", Haste::Waits).unwrap();
        sender.send("mark 2", Haste::Waits).unwrap();
        assert_eq!(receiver.next(SOON), Err(Nothing::Yet), "nobody presses");
        sender.send("entries", Haste::Presses).unwrap();
        sender.send("mark 3", Haste::Waits).unwrap();
        assert_eq!(receiver.next(SOON), Ok("mark 1"));
        assert_eq!(receiver.waiting(), Some("mark 2"));
        assert_eq!(receiver.next(None), Ok("entries"));
        assert_eq!(receiver.next(SOON), Err(Nothing::Yet));
        assert_eq!(receiver.waiting(), Some("mark 3"));
        assert_eq!(receiver.waiting(), None);
    }

    /// Whichever side is first, and however often they meet, nothing is lost or overtaken.
    #[test]
    fn two_threads_keep_the_order() {
        let (sender, receiver) = queue();
        let sending = std::thread::spawn(move || {
            for number in 0..20_000 {
                let haste = if number % 3 == 0 {
                    Haste::Waits
                } else {
                    Haste::Presses
                };
                sender.send(number, haste).unwrap();
            }
        });
        let mut came = 0;
        while let Ok(number) = receiver.next(None) {
            assert_eq!(number, came);
            came += 1;
        }
        assert_eq!(came, 20_000);
        sending.join().unwrap();
    }

    #[test]
    fn each_side_notices_the_end_of_the_other() {
        let (sender, receiver) = queue();
        sender.send("mark", Haste::Waits).unwrap();
        drop(sender.clone());
        assert_eq!(receiver.next(SOON), Err(Nothing::Yet), "one sender is left");
        drop(sender);
        assert_eq!(receiver.next(None), Ok("mark"));
        assert_eq!(receiver.next(None), Err(Nothing::More));

        let (sender, receiver) = queue();
        let (waiter, told) = std::sync::mpsc::channel::<()>();
        sender.send(waiter, Haste::Presses).unwrap();
        drop(receiver);
        assert!(told.recv().is_err(), "whoever waits is told");
        assert_eq!(
            sender.send(std::sync::mpsc::channel().0, Haste::Presses),
            Err(Ended)
        );
    }
}
