//! Who should be on air, and who is.
//!
//! The desired state is a function of the store and the matches: the flag is on, the agent's switch is on, a match with this
//! agent runs, nobody stopped the stream, its minutes and budget are not used up. One task compares it with what is and
//! starts or ends what differs. One render + encode per distinct (match, view, layout, size, theme) carries all streams that
//! want it.

use super::matches::Matches;
use super::stage::{Scene, Stage};
use super::{Context, StartError};
use crate::store::model::{Millis, StreamRecord};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {}

/// A stream as an operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamView {
    #[serde(flatten)]
    pub record: StreamRecord,
    pub state: StreamState,
    /// In plain words: what is wrong and what to do, or why it ended.
    pub trouble: Option<String>,
    pub fps: f32,
    pub kbps: u32,
    pub frames: u64,
    pub skipped: u64,
    pub uptime_ms: i64,
    /// `1280x720`.
    pub size: String,
    /// Streams that share this render + encode, this one counted.
    pub shared_by: u32,
    pub viewers: Option<u64>,
    pub scene: Option<Scene>,
    pub destinations: Vec<DestinationView>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    #[default]
    Starting,
    /// At least one destination takes it.
    Live,
    /// On, but no destination takes it at the moment.
    Waiting,
    /// The ending slate is on.
    Ending,
    Ended,
}

/// A destination of a running stream.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationView {
    /// `dst_…`
    pub id: String,
    /// Never holds a key.
    pub name: String,
    /// `idle`, `connecting`, `live`, `reconnecting`, `needs-attention` or `stopped`.
    pub state: &'static str,
    pub trouble: Option<String>,
    pub kbps: u32,
    pub bytes: u64,
    pub dropped: u64,
    pub reconnects: u64,
    pub queue_ms: u32,
    pub retry_ms: Option<u32>,
    pub viewers: Option<u32>,
    pub viewers_peak: Option<u32>,
}

/// Why an operator's wish was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamsError {
    #[error("no such stream")]
    NotFound,
    /// With what to do.
    #[error("{0}")]
    Refused(String),
    #[error("the store refused: {0}")]
    Store(String),
}

#[allow(unused_variables)]
impl Streams {
    pub(super) async fn start(
        context: Context,
        matches: Matches,
        stage: Arc<dyn Stage>,
    ) -> Result<Streams, StartError> {
        unimplemented!()
    }
    /// Something changed in the store (a switch, a destination, a key, the flag): look again. Never waits.
    pub fn poke(&self) {
        unimplemented!()
    }
    /// Streams that have not ended; of one tenant, or all.
    pub fn list(&self, tenant: Option<&str>) -> Vec<StreamView> {
        unimplemented!()
    }
    pub fn get(&self, tenant: Option<&str>, id: &str) -> Option<StreamView> {
        unimplemented!()
    }
    /// Wants the agent on air with this match again after somebody stopped it (the switch and the flag must be on).
    pub async fn begin(&self, tenant: Option<&str>, agent: &str, match_id: &str) -> Result<StreamRecord, StreamsError> {
        unimplemented!()
    }
    /// Ends a stream; it does not come back for this match by itself.
    pub async fn end(&self, tenant: Option<&str>, id: &str, reason: &str) -> Result<(), StreamsError> {
        unimplemented!()
    }
    /// Puts a scene on air; None: the match decides.
    pub fn scene(&self, tenant: Option<&str>, id: &str, scene: Option<Scene>) -> Result<(), StreamsError> {
        unimplemented!()
    }
    /// Marks a moment of the stream; its position on air.
    pub fn marker(&self, tenant: Option<&str>, id: &str, label: &str) -> Result<Duration, StreamsError> {
        unimplemented!()
    }
    /// JPEG, at most 5 s old, and when it was made.
    pub fn thumbnail(&self, tenant: Option<&str>, id: &str) -> Option<(Arc<[u8]>, Millis)> {
        unimplemented!()
    }
    /// The kill switch went off: the ending slate for at most 2 s (not with `hard`), then every output ends; 3 s at most.
    pub async fn kill(&self, hard: bool) {
        unimplemented!()
    }
    /// Ends everything for a restart.
    pub(super) async fn drain(&self, deadline: Duration) {
        unimplemented!()
    }
}
