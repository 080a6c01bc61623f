//! A client's connection that may not dawdle: idle only for so long between requests,
//! and never stuck in the middle of one. A slow reader holds an answer in our memory as
//! surely as a slow writer holds a connection ("slow loris").

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::env::clock::{self, Timer};

/// No request has begun.
const IDLE: u8 = 0;
/// The head of a request is on its way.
const HEAD: u8 = 1;
/// A request is being served; its body has a limit of its own.
const SERVING: u8 = 2;

/// Where the connection stands, shared with whoever serves its requests.
#[derive(Debug, Clone, Default)]
pub struct Stage(Arc<AtomicU8>);

impl Stage {
    /// A request's head has been read.
    pub fn serve(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// Its answer is ready.
    pub fn rest(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How patient the node is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between requests.
    pub idle: Duration,
    /// For a head to arrive whole, and for a piece of an answer to be taken.
    pub busy: Duration,
}

/// A stream that fails when its client dawdles.
pub struct Paced<S> {
    stream: S,
    stage: Stage,
    patience: Patience,
    /// Since when the client is waited for, as a stage and its end.
    reading: Option<(u8, Timer)>,
    writing: Option<Timer>,
}

impl<S> Paced<S> {
    /// Watches the pace of `stream`.
    pub fn new(stream: S, stage: Stage, patience: Patience) -> Paced<S> {
        Paced {
            stream,
            stage,
            patience,
            reading: None,
            writing: None,
        }
    }
}

fn dawdled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, into) {
            // The head's time runs from its first byte on, however many follow it.
            if this.stage.now() == IDLE {
                this.stage.0.store(HEAD, Ordering::Relaxed);
            }
            return Poll::Ready(read);
        }
        let stage = this.stage.now();
        if stage == SERVING {
            this.reading = None;
            return Poll::Pending;
        }
        if this.reading.as_ref().is_none_or(|(since, _)| *since != stage) {
            let limit = match stage {
                HEAD => this.patience.busy,
                _ => this.patience.idle,
            };
            this.reading = Some((stage, clock::timer(limit)));
        }
        let (_, timer) = this.reading.as_mut().expect("it was just set");
        match timer.as_mut().poll(context) {
            Poll::Ready(()) if stage == HEAD => {
                Poll::Ready(Err(dawdled("the head of a request did not arrive in time")))
            }
            Poll::Ready(()) => Poll::Ready(Err(dawdled("no request for too long"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Whoever takes an answer, a watch's perhaps, is not idle. The timer is rearmed, not
    /// dropped: nobody need read again before it is due.
    fn note_taken(&mut self, wrote: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(1..)), Some((IDLE, timer))) = (wrote, &mut self.reading) {
            clock::rearm(timer, self.patience.idle);
        }
    }

    /// Fails a write that has waited for too long.
    fn paced<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.writing = None;
            return wrote;
        }
        let limit = self.patience.busy;
        let timer = self.writing.get_or_insert_with(|| clock::timer(limit));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(dawdled("the answer was not taken in time"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note_taken(&wrote);
        this.paced(context, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.note_taken(&wrote);
        this.paced(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.paced(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.paced(context, shut)
    }
}
