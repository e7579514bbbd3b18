//! The thread of a destination and its end, for those that have one.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tracing::Span;

/// A thread that its destination joins, unless it overstays the deadline. What it logs stands in the span in which it was made.
#[derive(Debug)]
pub(super) struct Worker {
    /// None once it was joined or left behind.
    thread: Option<JoinHandle<()>>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
    span: Span,
}

/// What became of a thread that was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    InTime,
    /// It hangs in the system and was left behind; it ends by itself after that.
    Late,
}

impl Worker {
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Worker> {
        let (alive, ended) = channel::<()>();
        let span = Span::current();
        let inside = span.clone();
        let work = move || {
            let _alive = alive;
            inside.in_scope(work);
        };
        Ok(Worker { thread: Some(Builder::new().name(name.to_owned()).spawn(work)?), ended, span })
    }

    /// Waits until the thread has ended, `deadline` at most. None: that was done before. `name` is for logs.
    pub fn end(&mut self, name: &str, deadline: Duration) -> Option<Ended> {
        let thread = self.thread.take()?;
        let _inside = self.span.enter();
        // The thread sends nothing: this returns when it ends.
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(deadline) {
            tracing::warn!(destination = name, "did not stop within {deadline:?}, left behind");
            return Some(Ended::Late);
        }
        if thread.join().is_err() {
            tracing::error!(destination = name, "the destination's thread panicked");
        }
        Some(Ended::InTime)
    }

    /// Whether [`Self::end`] was never called.
    pub fn runs(&self) -> bool {
        self.thread.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_left_behind_and_one_that_ends_is_joined() {
        let (stop, stopped) = channel::<()>();
        let mut hung = Worker::spawn("hung", move || _ = stopped.recv()).unwrap();
        assert_eq!(hung.end("test", Duration::ZERO), Some(Ended::Late));
        assert_eq!((hung.runs(), hung.end("test", Duration::ZERO)), (false, None));
        drop(stop);
        let mut short = Worker::spawn("short", || ()).unwrap();
        assert_eq!(short.end("test", Duration::from_secs(60)), Some(Ended::InTime));
        let mut broken = Worker::spawn("broken", || panic!("on purpose")).unwrap();
        assert_eq!(broken.end("test", Duration::from_secs(60)), Some(Ended::InTime));
    }
}
