//! The service: what exists, who may do what with it, and what is on air because of it.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`Service`]: everything wired together; start and drain |
//! | [`who`] | callers: who they are and what they may do |
//! | [`bus`] | what changes, told to operators' pages (numbered, resumable) |
//! | [`roster`] | operations on agents, destinations, keys, the switch, the flag: store, audit and bus in one step |
//! | [`rotate`] | changing the key-encryption key while the service runs |
//! | [`mod@matches`] | live matches: events in (idempotent, limited, logged before they are acknowledged), states out |
//! | [`streams`] | desired state → broadcasts: who should be on air, on which destinations, and what it costs |
//! | [`turns`] | how many do something costly at once |
//! | [`stage`] | what [`streams`] needs of a broadcast: real ([`crate::studio`]) or a fake in tests |
//!
//! It knows no HTTP. A call from a game returns when the event is logged and never waits for a stream.

pub mod bus;
pub mod matches;
pub mod roster;
pub mod rotate;
pub mod stage;
pub mod streams;
pub mod turns;
pub mod who;

use crate::config::Config;
use crate::livekit::Server as LiveKit;
use crate::secure::{Keyring, TokenSigner};
use crate::store::Store;
use crate::webhook::Hub;
use bus::Bus;
use matches::Matches;
use stage::Stage;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use streams::Streams;
use turns::Turns;

/// The running service. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    parts: Arc<Shared>,
}

/// What rooms of the service share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub store: Store,
    pub keyring: Arc<Keyring>,
    pub tokens: Arc<TokenSigner>,
    pub bus: Bus,
    /// Replaced as a whole by a reload.
    pub config: Arc<RwLock<Arc<Config>>>,
    pub livekit: Option<LiveKit>,
    pub hub: Option<Hub>,
}

struct Shared {
    context: Context,
    matches: Matches,
    streams: Streams,
    /// Pre-flight checks, which may hang for 20 s at somebody else's server.
    checks: Turns,
    /// Decoding of pictures, which takes up to 64 MiB each.
    pictures: Turns,
}

/// At once, and of one tenant.
const CHECKS: (usize, usize) = (8, 2);
const PICTURES: (usize, usize) = (2, 1);

impl Context {
    /// The settings as they are now.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Unix ms by the system's clock.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl Service {
    /// Brings back what the store says: open matches, then the streams that should be live.
    pub async fn start(context: Context, stage: Arc<dyn Stage>) -> Result<Service, StartError> {
        let matches = Matches::restore(context.clone()).await?;
        let streams = Streams::start(context.clone(), matches.clone(), stage).await?;
        let (checks, pictures) = (Turns::new(CHECKS.0, CHECKS.1), Turns::new(PICTURES.0, PICTURES.1));
        Ok(Service { parts: Arc::new(Shared { context, matches, streams, checks, pictures }) })
    }

    pub fn context(&self) -> &Context {
        &self.parts.context
    }

    pub fn matches(&self) -> &Matches {
        &self.parts.matches
    }

    pub fn streams(&self) -> &Streams {
        &self.parts.streams
    }

    /// No new streams; running ones finish their GOP and files within `deadline`; what waits is written. Does not change
    /// what should be live: the next start brings it back.
    pub async fn drain(&self, deadline: Duration) {
        self.leave_air(deadline).await;
        self.close().await;
    }

    /// The first half of [`Service::drain`]: no new streams, and running ones end. Calls are still answered.
    pub async fn leave_air(&self, deadline: Duration) {
        self.parts.streams.drain(deadline).await;
    }

    /// The second half: what waits is written.
    pub async fn close(&self) {
        self.parts.matches.close().await;
        self.parts.context.store.close().await;
    }
}
