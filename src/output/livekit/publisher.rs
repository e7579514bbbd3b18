//! The thread of a room destination: joins, stays, and comes back after everything that is not somebody's decision.

use super::audience::Audience;
use super::ends::{self, End, Next};
use super::news::News;
use super::session::{Memory, Session};
use super::tracks::Holds;
use super::{RoomOptions, RoomTarget, Shared, join};
use crate::livekit::rooms::Rooms;
use crate::output::State;
use crate::output::backoff::{Backoff, BackoffSettings};
use livekit_signaling::SignalClient;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The first try comes within 0.3 s: viewers of a room wait with their pages open. The cap keeps the way back short after an
/// outage of any length; a LiveKit server takes a join every few seconds with ease.
const BACKOFF: BackoffSettings = BackoffSettings {
    first: Duration::from_millis(200),
    factor: 1.8,
    cap: Duration::from_secs(3),
    reset_after: Duration::from_secs(10),
};

/// A server that is being set up, or a clock that is being set, gets a little time before a refused key counts as refused.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// For a peer connection to end.
const LAST_WORDS: Duration = Duration::from_millis(200);

pub(super) struct Publisher {
    shared: Arc<Shared>,
    target: RoomTarget,
    options: RoomOptions,
    memory: Memory,
    backoff: Backoff,
    /// Refusals of the key in a row.
    refusals: u32,
    /// Whether any join has succeeded.
    joined: bool,
    /// Goodbyes to sessions that were given up; each lasts 2 s at most.
    goodbyes: JoinSet<()>,
}

impl Publisher {
    pub fn new(shared: Arc<Shared>, target: RoomTarget, options: RoomOptions) -> Self {
        let instance = format!("{:016x}", fastrand::u64(..));
        let news = News::new(&target, &instance, options.data, shared.states.subscribe());
        let ourselves = join::Ourselves { instance, sid: String::new() };
        let rooms = Arc::new(Rooms::new(&target.server));
        let memory =
            Memory { rooms, holds: Holds::default(), audience: Audience::default(), news, ourselves, stays: 0 };
        let backoff = Backoff::new(BACKOFF);
        Self { shared, target, options, memory, backoff, refusals: 0, joined: false, goodbyes: JoinSet::new() }
    }

    /// Until the stream is over.
    pub async fn run(mut self) {
        if self.shared.queue.filled().await {
            self.publish().await;
        }
        self.shared.life().stopped();
    }

    async fn publish(&mut self) {
        loop {
            {
                let mut life = self.shared.life();
                let fresh = life.connections == 0 && life.last_error.is_none();
                life.state = if fresh { State::Connecting } else { State::Reconnecting };
                (life.retry_at, life.note) = (None, None);
            }
            let (end, lived) = self.stay().await;
            self.shared.idr_served();
            self.shared.life().viewers.now = 0;
            while self.goodbyes.try_join_next().is_some() {}
            self.backoff.lived(lived);
            self.refusals = if matches!(end, End::Refused(_)) { self.refusals + 1 } else { 0 };
            let least = if self.refusals > 0 { REFUSAL_PAUSE } else { Duration::ZERO };
            match end.next(self.refusals) {
                Next::Stop => return,
                Next::Rest(words) => return self.rest(words).await,
                Next::Rejoin(words) => {
                    if self.pause(words, least).await {
                        return;
                    }
                }
            }
        }
    }

    /// One stay, from the join to its end, and how long media flowed.
    async fn stay(&mut self) -> (End, Duration) {
        let shared = self.shared.clone();
        let joined = tokio::select! {
            () = shared.stop_point(Duration::MAX) => return (End::Stopped, Duration::ZERO),
            joined = self.join() => joined,
        };
        let joined = match joined {
            Ok(joined) => joined,
            Err(end) => return (end, Duration::ZERO),
        };
        self.joined = true;
        let Some(info) = shared.queue.info() else { return (End::Stopped, Duration::ZERO) };
        match Session::begin(&shared, &self.target, &self.options, &mut self.memory, info, joined).await {
            Ok(session) => {
                let (end, signal, peers, lived) = session.run().await;
                if end == End::Stopped {
                    for peer in peers {
                        peer.closed(LAST_WORDS).await;
                    }
                } else {
                    self.say_goodbye(signal);
                    // Their sockets and relays go back beside the way back, which need not wait for it.
                    for peer in peers {
                        self.goodbyes.spawn(peer.closed(LAST_WORDS));
                    }
                }
                (end, lived)
            }
            Err((end, signal)) => {
                self.say_goodbye(signal);
                (end, Duration::ZERO)
            }
        }
    }

    async fn join(&mut self) -> Result<join::Joined, End> {
        let metadata = self.memory.news.metadata();
        join::open_room(&self.memory.rooms, &self.target, &metadata.room).await?;
        // An own earlier stay, of a run that crashed, is no reason to stay away at the first join.
        let replaced = join::is_replaced(&self.memory.rooms, &self.target, &self.memory.ourselves);
        if self.joined && replaced.await.map_err(|e| ends::from_api(&e))? {
            return Err(ends::taken_over(&self.target.identity));
        }
        join::join(&self.target, metadata.participant).await
    }

    /// Beside the way back, which need not wait for it.
    fn say_goodbye(&mut self, signal: Arc<SignalClient>) {
        self.goodbyes.spawn(async move { join::leave(&signal).await });
    }

    /// Waits for a person, without touching the network.
    async fn rest(&mut self, words: String) {
        tracing::error!(destination = self.shared.name, "gave up: {words}");
        self.shared.queue.refuse();
        {
            let mut life = self.shared.life();
            (life.state, life.note) = (State::NeedsAttention, None);
            life.last_error = Some(words);
        }
        self.shared.stop_point(Duration::MAX).await;
    }

    /// Sleeps until the next attempt; true when the stream ended meanwhile.
    async fn pause(&mut self, words: String, least: Duration) -> bool {
        let pause = self.backoff.next_pause(fastrand::f64()).max(least);
        tracing::warn!(destination = self.shared.name, "{words} (next attempt in {:.1} s)", pause.as_secs_f32());
        {
            let mut life = self.shared.life();
            (life.state, life.note) = (State::Reconnecting, None);
            life.last_error = Some(words);
            life.retry_at = Some(Instant::now() + pause);
        }
        tokio::time::timeout(pause, self.shared.stop_point(Duration::MAX)).await.is_ok()
    }
}
