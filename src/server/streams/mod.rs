//! Who should be on air, and who is.
//!
//! The desired state is a function of the store and the matches: the flag is on, the agent's switch is on, a match with this
//! agent runs, nobody stopped the stream, its minutes and budget are not used up. The board compares it with what is and
//! starts or ends what differs. One render + encode per distinct (match, view, look) carries all streams that want it.
//!
//! | file | what |
//! |---|---|
//! | `desired` | who should be on air: a pure function |
//! | `board` | what is on air, and what must be done about the difference: no I/O, time is an argument |
//! | `places` | the board's part that puts streams on encodes |
//! | `waiting` | matches that run and are not shown, told |
//! | `destinations` | how destinations are, and trying again those that gave up |
//! | `rows` | a stream and its destinations as the board keeps them |
//! | `encodes` | a render + encode as the board sees it: its look, what it shows, its failures |
//! | `off` | what was switched off and is not in the store yet |
//! | `usage` | minutes and outputs of agents |
//! | `supervisor` | tasks: looking up, time, writing, doing what the board wants |
//! | `crew` | a thread for each render + encode |
//! | `outputs` | destinations with their keys into outputs |
//! | `view` | streams as operators see them |

mod board;
mod crew;
mod desired;
mod destinations;
mod encodes;
mod off;
mod outputs;
mod places;
mod rows;
#[cfg(test)]
mod samples;
mod supervisor;
mod usage;
mod view;
mod waiting;

use super::matches::Matches;
pub use rows::room_name;

use super::stage::{Scene, Stage};
use super::{Context, StartError};
use crate::store::StoreError;
use crate::store::model::{Agent, AuditEntry, MatchPhase, Millis, StreamRecord};
use crate::stream::Meters;
pub use off::{FLAG, Kept, Switch};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use supervisor::Supervisor;
use utoipa::ToSchema;

/// The streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Owner>);

/// Ends the tasks with the last clone.
struct Owner(Arc<Supervisor>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

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
    /// Where it goes: of each only its state and figures, unless the caller's role is operator or above.
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
    /// `dst_…`; null below role operator.
    pub id: Option<String>,
    /// Never holds a key. Of a LiveKit room it has the name that the LiveKit server knows, `<tenantId>-<room>`. Null below role
    /// operator.
    pub name: Option<String>,
    /// `idle`, `connecting`, `live`, `reconnecting`, `needs-attention` or `stopped`.
    pub state: &'static str,
    /// Null below role operator.
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

/// How a destination is now.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// `idle` (no stream sends to it), `connecting`, `live`, `reconnecting`, `needs-attention` or `stopped`.
    pub state: &'static str,
    /// In plain words: what is wrong and what to do. Of one that is idle, what was wrong when its last stream ended.
    pub trouble: Option<String>,
    /// Since when it is in this state; null: since the service started.
    pub since: Option<Millis>,
}

/// An agent that plays a match and is not on air with it, though its switch is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingAgent {
    /// `agt_…`
    pub agent_id: String,
    /// In plain words: why, and what to do.
    pub reason: String,
}

/// Why an operator's wish was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamsError {
    #[error("no such stream")]
    NotFound,
    /// With what to do.
    #[error("{0}")]
    Refused(String),
    /// A stream that says goodbye is not called back; the next one begins after it.
    #[error("its stream is just ending; try again in 2 s")]
    Ending,
    /// Too many of these at once; with what to do.
    #[error("{0}")]
    Busy(String),
    #[error("the store refused: {0}")]
    Store(String),
}

/// A soft kill is over within this.
const KILLED: Duration = Duration::from_millis(3_000);
/// The store takes a record within this, or is not there.
const WRITTEN: Duration = Duration::from_secs(5);
/// A thumbnail waits so long for its turn.
const PICTURE: Duration = Duration::from_secs(5);
/// Characters of a marker's label.
const LABEL: usize = 200;

impl Streams {
    pub(super) async fn start(
        context: Context,
        matches: Matches,
        stage: Arc<dyn Stage>,
    ) -> Result<Streams, StartError> {
        Ok(Streams(Arc::new(Owner(Supervisor::start(context, matches, stage).await?))))
    }

    fn supervisor(&self) -> &Arc<Supervisor> {
        &self.0.0
    }

    /// Something changed in the store (a switch, a destination, a key, the flag): look again. Never waits.
    pub fn poke(&self) {
        self.supervisor().poke();
    }

    /// Streams that have not ended; of one tenant, or all.
    pub fn list(&self, tenant: Option<&str>) -> Vec<StreamView> {
        self.supervisor().apply(|board, now, _| board.views(tenant, now))
    }

    /// Records of streams that the store has not taken yet, as they are now: of streams that run, and of ended ones.
    pub fn unwritten(&self, tenant: Option<&str>) -> Vec<StreamRecord> {
        self.supervisor().unwritten(tenant)
    }

    pub fn get(&self, tenant: Option<&str>, id: &str) -> Option<StreamView> {
        self.supervisor().apply(|board, now, _| Some(board.view(board.find(tenant, id)?, now)))
    }

    /// How a destination is now.
    pub fn destination(&self, id: &str) -> DestinationStatus {
        self.supervisor().apply(|board, _, _| board.destination(id))
    }

    /// Agents that play this match and are not on air with it, and why.
    pub fn waiting(&self, match_id: &str) -> Vec<WaitingAgent> {
        self.supervisor().apply(|board, _, _| board.waiting(match_id))
    }

    /// What all streams measured together, for `/metrics`.
    pub fn meters(&self) -> Arc<Meters> {
        self.supervisor().stage().meters()
    }

    /// Wants the agent on air with this match again after somebody stopped it (the switch and the flag must be on). Where it is
    /// on air already, destinations that gave up are tried again. A refusal changes nothing: what was stopped stays so.
    pub async fn begin(&self, tenant: Option<&str>, agent: &str, match_id: &str) -> Result<StreamRecord, StreamsError> {
        let supervisor = self.supervisor();
        let store = &supervisor.context.store;
        let agent = store.agent(tenant, agent).await.map_err(StreamsError::of)?;
        let record = store.match_(tenant, match_id).await.map_err(StreamsError::of)?;
        if record.tenant_id != agent.tenant_id || !record.sides.values().any(|a| *a == agent.id) {
            return Err(StreamsError::Refused("the agent plays no side of this match".into()));
        }
        let phase = supervisor.matches().get(match_id).map_or(record.phase, |live| live.record().phase);
        if phase != MatchPhase::Running {
            let words = format!("the match is {phase}; a stream begins when it runs");
            return Err(StreamsError::Refused(words));
        }
        let stopped = supervisor.apply(|board, _, _| board.wanted_again(&agent.id, match_id));
        let looked = supervisor.look().await;
        let found = supervisor.apply(|board, now, _| board.begun(&agent.id, match_id, stopped, now));
        looked.map_err(StreamsError::of)?;
        let record = found?;
        // In order: what became of it meanwhile is not overwritten.
        match supervisor.written(WRITTEN).await {
            true => Ok(record),
            false => Err(StreamsError::Store("it does not answer".into())),
        }
    }

    /// Ends a stream; it does not come back for this match by itself.
    pub async fn end(&self, tenant: Option<&str>, id: &str, reason: &str) -> Result<(), StreamsError> {
        let supervisor = self.supervisor();
        let ended = supervisor.apply(|board, now, wall| {
            board.find(tenant, id)?;
            board.end(id, reason, now, wall)
        });
        let record = ended.ok_or(StreamsError::NotFound)?;
        // Written here too: whoever asked for it wants to know that it lasts.
        supervisor.context.store.put_stream(&record).await.map_err(StreamsError::of)
    }

    /// Puts a scene on air; None: the match decides.
    pub fn scene(&self, tenant: Option<&str>, id: &str, scene: Option<Scene>) -> Result<(), StreamsError> {
        self.supervisor().apply(|board, _, _| {
            board.find(tenant, id).ok_or(StreamsError::NotFound)?;
            let none = || StreamsError::Refused("the stream has no picture yet; try again when it is live".into());
            board.scene(id, scene).then_some(()).ok_or_else(none)
        })
    }

    /// Marks a moment of the stream; its position on air.
    pub fn marker(&self, tenant: Option<&str>, id: &str, label: &str) -> Result<Duration, StreamsError> {
        if label.chars().count() > LABEL {
            return Err(StreamsError::Refused(format!("label: at most {LABEL} characters")));
        }
        let supervisor = self.supervisor();
        let (tenant, position) = supervisor.apply(|board, now, _| {
            let stream = board.find(tenant, id).ok_or(StreamsError::NotFound)?;
            let since = stream.live_since;
            let since = since.ok_or_else(|| StreamsError::Refused("the stream is not on air yet".into()))?;
            Ok((stream.record.tenant_id.clone(), now.saturating_sub(since)))
        })?;
        let data = json!({"marker": label, "positionMs": position});
        supervisor.context.bus.tell(Some(&tenant), "stream", id, data);
        Ok(Duration::from_millis(position))
    }

    /// JPEG, at most 5 s old, and when it was made. Takes some ms of a thread, and so many threads at once at most.
    ///
    /// # Errors
    /// [`StreamsError::Busy`]: no turn came free in time.
    pub async fn thumbnail(&self, tenant: Option<&str>, id: &str) -> Result<Option<(Arc<[u8]>, Millis)>, StreamsError> {
        let stage = self.supervisor().apply(|board, _, _| {
            let stream = board.find(tenant, id)?;
            let stage = board.encodes.get(&stream.encode?)?.stage().cloned()?;
            Some((stream.record.tenant_id.clone(), stage))
        });
        let Some((owner, stage)) = stage else { return Ok(None) };
        let busy = || StreamsError::Busy("too many pictures are being made; try again in a moment".into());
        let turn = self.supervisor().thumbnails.wait(&owner, PICTURE).await.ok_or_else(busy)?;
        let work = move || {
            let _turn = turn;
            stage.thumbnail()
        };
        // One that panics has said so.
        Ok(tokio::task::spawn_blocking(work).await.unwrap_or_default())
    }

    /// The kill switch went off: the ending slate for at most 2 s (not with `hard`), then every output ends; 3 s at most.
    pub async fn kill(&self, hard: bool) {
        let supervisor = self.supervisor();
        supervisor.kill(hard);
        if tokio::time::timeout(KILLED, supervisor.silent()).await.is_err() {
            tracing::error!("not every stream ended within {KILLED:?}: what hangs is left behind and ends by itself");
        }
    }

    /// The kill switch, the store told beside it: [`Streams::kill`] does not wait for a store that does not answer.
    pub(super) async fn flag_off(&self, hard: bool, entry: AuditEntry) -> Kept {
        let supervisor = self.supervisor();
        supervisor.off.set(Switch::Flag, entry);
        let kept = supervisor.off.keep(&supervisor.context.store, &Switch::Flag);
        tokio::join!(self.kill(hard), kept).1
    }

    /// Whether the kill switch is off and the store does not know yet.
    pub fn is_killed(&self) -> bool {
        self.supervisor().off.flag()
    }

    /// Whether an agent's switch is off and the store does not know yet.
    pub(super) fn is_off(&self, agent: &str) -> bool {
        self.supervisor().off.agents().contains(agent)
    }

    /// Does `write`, which turns off in the store what is not on air, after every switch that came before.
    pub(super) async fn in_turn<T>(&self, write: impl Future<Output = T>) -> T {
        self.supervisor().off.in_turn(write).await
    }

    /// An agent that is on air, or could be at once; of one tenant, or any. Known without the store.
    pub(super) fn candidate(&self, tenant: Option<&str>, agent: &str) -> Option<Agent> {
        self.supervisor().apply(|board, _, _| board.candidate(tenant, agent))
    }

    /// Ends what an agent has on air and tells the store afterwards.
    pub(super) async fn agent_off(&self, agent: &str, entry: AuditEntry) -> Kept {
        let supervisor = self.supervisor();
        let switch = Switch::Agent(agent.to_owned());
        supervisor.off.set(switch.clone(), entry);
        supervisor.end_all_of(agent);
        supervisor.off.keep(&supervisor.context.store, &switch).await
    }

    /// Does `write`, which turns a switch on in the store.
    pub(super) async fn on<T>(
        &self,
        switch: &Switch,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = self.supervisor().off.on(switch, write).await?;
        self.poke();
        Ok(done)
    }

    /// Ends everything for a restart.
    pub(super) async fn drain(&self, deadline: Duration) {
        self.supervisor().drain(deadline).await;
    }
}

impl StreamsError {
    fn of(error: crate::store::StoreError) -> StreamsError {
        match error {
            crate::store::StoreError::NotFound(_) => StreamsError::NotFound,
            error => StreamsError::Store(error.to_string()),
        }
    }
}
