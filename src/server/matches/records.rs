//! Native records: all of it now, as a file that grows, or played as it happened.
//!
//! A record that is posted again as it grows may change its end: a move that was the last one is told otherwise than one in
//! the middle. What was fed is remembered by a hash of each event, in the store too. Where the new record only goes on, the
//! rest is fed; where it differs from some event on, a snapshot of the board before that event comes first; where nothing
//! is the same, it is another game and begins a new epoch.

use super::live::Live;
use super::round::{CallKind, refused};
use super::{FeedError, FeedReport, LiveMatch, Pace};
use crate::game::adapters::{self, Format, Record, Timed};
use crate::game::wire::VERSION;
use crate::game::{Body, Event, Reducer};
use crate::server::now_ms;
use crate::server::turns::Turn;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 8 << 20;
/// Times faster than it happened.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;
/// Events of a playing record that go in at once, when many are due.
const AT_ONCE: usize = 512;
/// A record waits so long for its turn to be sent, and to be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// A playing record tries again after this when the store refused.
const RETRY: Duration = Duration::from_secs(1);

/// What was fed of a growing record, or what plays. One call at a time.
#[derive(Default)]
pub(super) struct Desk(tokio::sync::Mutex<Slot>);

impl Desk {
    /// Whether a record plays, or is being taken in.
    pub(super) fn plays(&self) -> bool {
        self.0.try_lock().map_or(true, |slot| slot.player.is_some())
    }
}

#[derive(Default)]
struct Slot {
    mark: Option<Mark>,
    player: Option<AbortOnDropHandle<()>>,
    /// Number of the player, so that one that ends does not clear away its successor.
    players: u64,
}

/// What was fed of a record.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    epoch: u64,
    /// Number of the record's first event. Below 1 when a snapshot took the place of earlier ones.
    base: i128,
    hashes: Vec<Hash>,
}

type Hash = [u8; 8];

/// The first line of what is stored; a mark's hashes or a record's bytes follow.
#[derive(Serialize, Deserialize)]
enum Head {
    #[serde(rename = "mark")]
    Mark { epoch: u64, base: i128 },
    #[serde(rename = "play")]
    Play(Play),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Play {
    format: Option<String>,
    speed: f64,
    /// Unix ms of the first event.
    began: i64,
    /// Added to the record's own epochs.
    epochs: u64,
}

fn stored(head: &Head, rest: &[u8]) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(head).expect("numbers and a word, written to memory");
    bytes.push(b'\n');
    bytes.extend_from_slice(rest);
    bytes
}

fn loaded(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    Some((serde_json::from_slice(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn name(format: Option<Format>) -> Option<String> {
    Format::NAMES.iter().find(|name| Format::from_name(name) == format).map(|name| (*name).to_owned())
}

/// Beside the async threads, when it is this tenant's turn.
async fn in_turn<T: Send + 'static>(live: &Live, what: impl FnOnce() -> T + Send + 'static) -> Result<T, FeedError> {
    let turn = live.parts.readers.wait(&live.record().tenant_id, PATIENCE).await;
    let turn = turn.ok_or(FeedError::Busy { retry_ms: 1_000 })?;
    blocking(move || {
        let _turn = turn;
        what()
    })
    .await
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Result<T, FeedError> {
    // It ends only with the service or by a panic.
    tokio::task::spawn_blocking(what).await.map_err(|_| FeedError::Record("it could not be read through".to_owned()))
}

/// Reads a record as events of this match.
fn read(bytes: &[u8], format: Option<Format>, reference: &str) -> Result<Record, FeedError> {
    let mut record = adapters::read(bytes, format).map_err(|error| FeedError::Record(error.to_string()))?;
    record.events.iter_mut().for_each(|timed| timed.event.match_id = reference.to_owned());
    Ok(record)
}

/// The right to send one record to a match, and to have it in memory.
pub struct RecordTurn {
    live: Arc<Live>,
    turn: Turn,
}

impl LiveMatch {
    /// Asks for the right to send a record, before its body is taken in; waits for it a while. It counts as one event, however
    /// many the record holds.
    ///
    /// # Errors
    ///
    /// [`FeedError::Busy`] when too many are being sent, [`FeedError::TooFast`] and [`FeedError::Closed`].
    pub async fn record_turn(&self) -> Result<RecordTurn, FeedError> {
        if self.live.closed.is_cancelled() {
            return Err(FeedError::Closed);
        }
        let taken = self.live.limiter(|limiter, rate, now| limiter.take(1, false, rate, now));
        taken.map_err(|wait| self.live.too_fast(wait))?;
        let turn = self.live.parts.senders.wait(&self.live.record().tenant_id, PATIENCE).await;
        Ok(RecordTurn { live: self.live.clone(), turn: turn.ok_or(FeedError::Busy { retry_ms: 1_000 })? })
    }

    /// [`LiveMatch::record_turn`] and [`RecordTurn::feed`].
    pub async fn feed_record(&self, format: Option<Format>, body: &[u8], pace: Pace) -> Result<FeedReport, FeedError> {
        self.record_turn().await?.feed(format, body.to_vec(), pace).await
    }
}

impl RecordTurn {
    /// Feeds a native record of at most [`RECORD_BYTES`].
    ///
    /// A record that is fed [`Pace::AtOnce`] and breaks off, or has no result, is one that goes on: its match does not end.
    pub async fn feed(self, format: Option<Format>, body: Vec<u8>, pace: Pace) -> Result<FeedReport, FeedError> {
        if body.len() > RECORD_BYTES {
            let problem = format!("it has {} bytes, the limit is {RECORD_BYTES}", body.len());
            return Err(FeedError::Record(problem));
        }
        let RecordTurn { live, turn } = self;
        // A caller that leaves must not leave half of it done.
        let fed = tokio::spawn(async move {
            let _turn = turn;
            match pace {
                Pace::AtOnce => at_once(&live, format, body).await,
                Pace::Recorded { speed } => recorded(&live, format, body, speed).await,
            }
        });
        fed.await.unwrap_or_else(|error| Err(FeedError::Store(error.to_string())))
    }
}

async fn at_once(live: &Arc<Live>, format: Option<Format>, body: Vec<u8>) -> Result<FeedReport, FeedError> {
    let mut slot = live.records.0.lock().await;
    let reference = live.reference.clone();
    let record = in_turn(live, move || read(&body, format, &reference)).await??;
    if record.format == Format::Wire {
        let events = live.ordered(record.events.into_iter().map(|timed| timed.event).collect())?;
        let report = live.write(events, CallKind::Record).await?;
        clear(live, &mut slot).await;
        return Ok(report);
    }
    let (mark, report) = (slot.mark.clone(), live.position());
    let position = live.state().started.then_some((report.epoch, report.seq));
    let planned = in_turn(live, move || plan(mark.as_ref(), position, unfinished(record))).await??;
    let mut report = match planned.events.is_empty() {
        true => report,
        false => live.write(live.ordered(planned.events)?, CallKind::Record).await?,
    };
    report.duplicates += planned.known;
    slot.player = None;
    if let Some(mark) = planned.mark {
        let head = Head::Mark { epoch: mark.epoch, base: mark.base };
        let stored = stored(&head, mark.hashes.as_flattened());
        if let Err(error) = live.parts.store.put_record(&live.id, &stored).await {
            // Without it the next post begins with a snapshot, and comes to the same.
            tracing::warn!(id = %live.id, "what was fed of a record could not be stored: {error}");
        }
        slot.mark = Some(mark);
    }
    Ok(report)
}

async fn clear(live: &Live, slot: &mut Slot) {
    if (slot.player.take().is_some() | slot.mark.take().is_some())
        && let Err(error) = live.parts.store.delete_record(&live.id).await
    {
        tracing::warn!(id = %live.id, "a record could not be deleted: {error}");
    }
}

/// The events of a record without an end that only says that it has none.
fn unfinished(record: Record) -> Vec<Event> {
    let mut events = record.events;
    let end = events.iter().rev().find(|timed| matches!(timed.event.body, Body::MatchEnded(_)));
    if let Some(Timed { at, event: Event { body: Body::MatchEnded(result), .. } }) = end
        && result.aborted
    {
        let at = *at;
        let begins = events.iter().position(|timed| timed.at >= at).unwrap_or(0);
        // What happens at that instant belongs to the end; but a record of one instant is all there is.
        match begins {
            0 => events.retain(|timed| !matches!(timed.event.body, Body::MatchEnded(_))),
            begins => events.truncate(begins),
        }
    }
    events.into_iter().map(|timed| timed.event).collect()
}

#[derive(Debug, PartialEq)]
struct Planned {
    events: Vec<Event>,
    /// Fed before.
    known: u64,
    /// None: as it was.
    mark: Option<Mark>,
}

/// What of a record is fed. `position`: None before the match has begun.
fn plan(mark: Option<&Mark>, position: Option<(u64, u64)>, mut events: Vec<Event>) -> Result<Planned, FeedError> {
    let hash = |event: &Event| {
        let mut hash = Hash::default();
        hash.copy_from_slice(&Sha256::digest(event.to_json())[..8]);
        hash
    };
    let hashes: Vec<Hash> = events.iter().map(hash).collect();
    let Some((epoch, seq)) = position else {
        let Some(first) = events.first() else { return Ok(Planned { events, known: 0, mark: None }) };
        let mark = Mark { epoch: first.epoch, base: i128::from(first.seq), hashes };
        return Ok(Planned { events, known: 0, mark: Some(mark) });
    };
    let mark = mark.filter(|mark| mark.epoch == epoch);
    let same = mark.map_or(0, |mark| mark.hashes.iter().zip(&hashes).take_while(|(a, b)| a == b).count());
    if same == events.len() {
        return Ok(Planned { events: Vec::new(), known: same as u64, mark: None });
    }
    let full = || FeedError::Record("the match has used up its numbers".to_owned());
    let (epoch, base) = match mark {
        Some(mark) if same == mark.hashes.len() && mark.base + same as i128 == i128::from(seq) + 1 => {
            (epoch, mark.base)
        }
        // A snapshot takes the place of event `same`.
        Some(_) if same > 0 => (epoch, i128::from(seq) + 2 - same as i128),
        _ => (epoch.checked_add(1).ok_or_else(full)?, 1),
    };
    let same = if mark.is_some_and(|mark| mark.epoch == epoch) { same } else { 0 };
    let mut rest: Vec<Event> = events.split_off(same);
    for (event, number) in rest.iter_mut().zip(base + same as i128..) {
        event.epoch = epoch;
        event.seq = u64::try_from(number).map_err(|_| full())?;
    }
    if rest.first().is_some_and(|first| same > 0 && first.seq != seq.saturating_add(1)) {
        rest.insert(0, board(&events, epoch, seq.checked_add(1).ok_or_else(full)?)?);
    }
    Ok(Planned { events: rest, known: same as u64, mark: Some(Mark { epoch, base, hashes }) })
}

/// A snapshot of the board after these events.
fn board(events: &[Event], epoch: u64, seq: u64) -> Result<Event, FeedError> {
    let mut reducer = Reducer::default();
    for (index, event) in events.iter().enumerate() {
        reducer.apply(event.clone()).map_err(|error| refused(index, error))?;
    }
    let state = reducer.state();
    let body = Body::StateSnapshot(Box::new(state.board.clone()));
    Ok(Event { v: VERSION, match_id: state.match_id.clone(), epoch, seq, ts: state.ts, vis: None, body })
}

async fn recorded(
    live: &Arc<Live>,
    format: Option<Format>,
    body: Vec<u8>,
    speed: f64,
) -> Result<FeedReport, FeedError> {
    if !SPEEDS.contains(&speed) {
        let problem = format!("speed: {speed} is not within {} to {}", SPEEDS.start(), SPEEDS.end());
        return Err(FeedError::Record(problem));
    }
    let mut slot = live.records.0.lock().await;
    let reference = live.reference.clone();
    let (body, record) = in_turn(live, move || {
        let record = read(&body, format, &reference)?;
        // While it plays nobody is there to hear of a refusal.
        let mut reducer = Reducer::default();
        for (index, timed) in record.events.iter().enumerate() {
            reducer.apply(timed.event.clone()).map_err(|error| refused(index, error))?;
        }
        Ok::<_, FeedError>((body, record))
    })
    .await??;
    slot.player = None;
    slot.mark = None;
    let first = record.events.iter().map(|timed| timed.event.epoch).min().unwrap_or(0);
    let epoch = live.position().epoch;
    let epochs = match live.state().started {
        true => epoch.saturating_add(1).saturating_sub(first),
        false => 0,
    };
    let play = Play { format: name(Some(record.format)), speed, began: now_ms(), epochs };
    let kept = stored(&Head::Play(play.clone()), &body);
    live.parts.store.put_record(&live.id, &kept).await.map_err(|error| FeedError::Store(error.to_string()))?;
    let mut player = Player::new(live.clone(), record, play);
    let due = player.due_now();
    let begun = live.write(player.batch(due), CallKind::Record).await;
    match begun {
        Ok(_) => player.next = due,
        Err(_) => clear_play(live).await,
    }
    let report = begun?;
    slot.start(player);
    Ok(report)
}

async fn clear_play(live: &Live) {
    if let Err(error) = live.parts.store.delete_record(&live.id).await {
        tracing::warn!(id = %live.id, "a record that has been played could not be deleted: {error}");
    }
}

impl Live {
    /// Goes on with what the store has of a record.
    pub(super) async fn resume(self: &Arc<Live>, bytes: Vec<u8>) {
        let mut slot = self.records.0.lock().await;
        let damaged =
            || tracing::error!(id = %self.id, "a record in the store is damaged, it is not played on: post it again");
        match loaded(&bytes) {
            None => damaged(),
            Some((Head::Mark { epoch, base }, hashes)) => {
                let (hashes, _) = hashes.as_chunks::<8>();
                slot.mark = Some(Mark { epoch, base, hashes: hashes.to_vec() });
            }
            Some((Head::Play(play), body)) => {
                let format = play.format.as_deref().and_then(Format::from_name);
                let (body, reference) = (body.to_vec(), self.reference.clone());
                match blocking(move || read(&body, format, &reference)).await {
                    Ok(Ok(record)) => slot.start(Player::new(self.clone(), record, play)),
                    _ => damaged(),
                }
            }
        }
    }

    /// Plays no record any more; what is stored of it stays.
    pub(super) async fn rest(&self) {
        self.records.0.lock().await.player = None;
    }
}

impl Slot {
    fn start(&mut self, mut player: Player) {
        self.players += 1;
        player.number = self.players;
        self.player = Some(AbortOnDropHandle::new(tokio::spawn(player.run())));
    }
}

/// Feeds a record as it happened.
struct Player {
    live: Arc<Live>,
    events: Vec<Timed>,
    play: Play,
    next: usize,
    number: u64,
}

impl Player {
    fn new(live: Arc<Live>, record: Record, play: Play) -> Player {
        let mut events = record.events;
        for timed in &mut events {
            timed.event.epoch = timed.event.epoch.saturating_add(play.epochs);
        }
        Player { live, events, play, next: 0, number: 0 }
    }

    /// When an event is due, Unix ms.
    fn due(&self, i: usize) -> i64 {
        let first = self.events.first().map_or(0, |timed| timed.at);
        let passed = self.events[i].at.saturating_sub(first) as f64 / self.play.speed;
        // Times come from a file: far apart they saturate.
        self.play.began.saturating_add(passed as i64)
    }

    /// The end of what is due, at most a batch.
    fn due_now(&self) -> usize {
        let now = now_ms();
        let end = self.events.len().min(self.next + AT_ONCE);
        (self.next..end).find(|i| self.due(*i) > now).unwrap_or(end)
    }

    fn batch(&self, end: usize) -> Vec<(usize, Event)> {
        let events = self.events[self.next..end].iter().map(|timed| timed.event.clone());
        let mut batch: Vec<(usize, Event)> = events.enumerate().collect();
        batch.sort_by_key(|(_, event)| (event.epoch, event.seq));
        batch
    }

    async fn run(mut self) {
        let closed = self.live.closed.clone();
        tokio::select! {
            () = closed.cancelled() => return,
            () = self.play() => {}
        }
        let live = self.live.clone();
        let mut slot = live.records.0.lock().await;
        if slot.players == self.number {
            clear_play(&live).await;
            // Its own handle goes last.
            let own = slot.player.take();
            drop(slot);
            drop(own);
        }
    }

    async fn play(&mut self) {
        let (start, wall) = (Instant::now(), now_ms());
        while self.next < self.events.len() {
            let wait = u64::try_from(self.due(self.next).saturating_sub(wall)).unwrap_or(0);
            // Anything beyond a year is the same: nobody waits for it.
            tokio::time::sleep_until(start + Duration::from_millis(wait.min(31_536_000_000))).await;
            let end = self.due_now().max(self.next + 1);
            match self.live.write(self.batch(end), CallKind::Record).await {
                Ok(_) => self.next = end,
                Err(FeedError::Closed) => return std::future::pending().await,
                // What comes of the record may not fit what others fed: event by event then.
                Err(FeedError::Event { .. }) => {
                    for i in self.next..end {
                        let event = vec![(0, self.events[i].event.clone())];
                        if let Err(error) = self.live.write(event, CallKind::Record).await {
                            tracing::warn!(id = %self.live.id, "event {} of a record that plays was refused: {error}", i + 1);
                        }
                    }
                    self.next = end;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
