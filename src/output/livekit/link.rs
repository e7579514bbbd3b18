//! The way back of signalling: close what is left, restart, restart ICE. A row of steps that the session takes one by one
//! between its other work.

use crate::livekit::ApiError;
use livekit_protocol as proto;
use livekit_signaling::{SignalClient, SignalError};
use proto::{ReconnectReason, ReconnectResponse};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server's answer to a restart.
pub(super) type Restarted = Result<Box<ReconnectResponse>, NotRestarted>;

#[derive(Debug)]
pub(super) enum NotRestarted {
    /// Somebody else is there under our identity.
    Replaced,
    Failed(SignalError),
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// livekit-signaling closes within 3 s even when the peer does not answer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Its own limits for connecting and for the answer, together.
const RESTART_DEADLINE: Duration = Duration::from_secs(11);

/// Where signalling is.
pub(super) enum Link {
    Up,
    /// What is left of the old connection.
    Closing(ReconnectReason, Pending<()>),
    Restarting(ReconnectReason, Pending<Restarted>),
    /// Until the next attempt.
    Pausing(Instant, ReconnectReason),
    /// The server goes on with the session; ICE is being restarted. `seen`: the last reliable message that it has.
    Ice {
        deadline: Instant,
        seen: u32,
    },
}

/// What has come to an end.
pub(super) enum Step {
    Closed(ReconnectReason),
    Restarted(ReconnectReason, Restarted),
    Again(ReconnectReason),
    IceTooLate,
}

impl Link {
    /// The old connection is closed apart from the restart: closing makes an event of its own, which the session must not
    /// take for a new loss.
    pub fn close(signal: &Arc<SignalClient>, reason: ReconnectReason) -> Link {
        let signal = signal.clone();
        let closed = async move {
            let _ = tokio::time::timeout(CLOSE_DEADLINE, signal.close()).await;
        };
        Link::Closing(reason, Box::pin(closed))
    }

    /// `replaced` is asked first: whether somebody else has taken our place.
    pub fn restart(
        signal: &Arc<SignalClient>,
        reason: ReconnectReason,
        replaced: impl Future<Output = Result<bool, ApiError>> + Send + 'static,
    ) -> Link {
        let signal = signal.clone();
        let restarted = async move {
            match replaced.await {
                Ok(true) => return Err(NotRestarted::Replaced),
                Ok(false) => {}
                Err(error) => return Err(NotRestarted::Failed(SignalError::Timeout(error.to_string()))),
            }
            let late = |_| Err(SignalError::Timeout("no answer".to_owned()));
            let answer = tokio::time::timeout(RESTART_DEADLINE, signal.restart(reason)).await.unwrap_or_else(late);
            answer.map(Box::new).map_err(NotRestarted::Failed)
        };
        Link::Restarting(reason, Box::pin(restarted))
    }

    /// Whether messages may be sent. In between they would be dropped, or wait for a lock that the restart holds.
    pub fn carries(&self) -> bool {
        matches!(self, Link::Up | Link::Ice { .. })
    }

    /// The end of what is under way. To be followed by another state; a call that is dropped loses nothing.
    pub async fn step(&mut self) -> Step {
        match self {
            Link::Up => std::future::pending().await,
            Link::Closing(reason, closed) => {
                closed.await;
                Step::Closed(*reason)
            }
            Link::Restarting(reason, restarted) => Step::Restarted(*reason, restarted.await),
            Link::Pausing(until, reason) => {
                tokio::time::sleep_until((*until).into()).await;
                Step::Again(*reason)
            }
            Link::Ice { deadline, .. } => {
                tokio::time::sleep_until((*deadline).into()).await;
                Step::IceTooLate
            }
        }
    }
}

/// The pause before attempt `attempts + 2`: media flows meanwhile, so there is no hurry, and no crowd either.
pub(super) fn resume_pause(attempts: u32) -> Duration {
    Duration::from_millis((200u64 << attempts.min(4)).min(2_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_resumes_grow_to_two_seconds() {
        let pauses: Vec<_> = (0..7).map(|n| resume_pause(n).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600, 2_000, 2_000, 2_000]);
        assert_eq!(resume_pause(u32::MAX), Duration::from_secs(2));
    }
}
