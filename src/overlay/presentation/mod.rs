//! What outlives a frame: the newest state and what is still on its way there. No clock: everything is told its time.

mod clock;
mod reading;
mod standing;
mod tween;

pub use clock::{ClockFace, ClockLook, format_clock};
pub use reading::{Reading, newest_sentence, sentence_starts};
pub use standing::Place;
pub use tween::Tween;

use super::MediaMs;
use crate::game::{
    ActionStatus, Cell, GridBody, MatchState, Scene, Side, SideId, SideStatus, Zone, ZoneContent, ZoneId,
};
use clock::ClockTrack;
use reading::Reader;
use standing::Standing;
use std::collections::BTreeMap;
use std::sync::Arc;
use tween::Paced;

/// Durations in ms, and easings, of everything that moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    pub fast: i64,
    pub base: i64,
    pub slow: i64,
    /// 0: nothing pulses.
    pub pulse: i64,
    pub out: [f32; 4],
}

impl Default for Motion {
    fn default() -> Motion {
        Motion { fast: 120, base: 180, slow: 300, pulse: 1_200, out: [0.2, 0.0, 0.0, 1.0] }
    }
}

impl Motion {
    /// For `motion=reduced`: everything is where it belongs at once, nothing pulses.
    pub fn reduced() -> Motion {
        Motion { fast: 0, base: 0, slow: 0, pulse: 0, ..Motion::default() }
    }
}

/// A ghost keeps a bar's old width for this long.
const GHOST: i64 = 600;
const DELTA: i64 = 2_500;
/// Timeout and invalid move stay at least this long.
const CHIP_HOLD: i64 = 2_500;
const BODY_FADES: i64 = 3_000;
/// The last move is seen before the result covers it.
const RESULT_AFTER: i64 = 3_000;
/// Changes of the tug bar below this share are noise.
const EVAL_LEAST: f32 = 0.01;
const EVAL_GAP: i64 = 500;
const EVAL_STALE: i64 = 30_000;
/// More pieces than this moving at once is a new position, not a move.
const SLIDES: usize = 6;
/// An event's time stamp further off than this moves the clock mapping at once, ms.
const RESYNC: i64 = 2_000;

/// The match as the viewer is shown it.
#[derive(Clone, Debug, Default)]
pub struct Presentation {
    state: Arc<MatchState>,
    motion: Motion,
    /// Media time minus sender's time, ms; None before the first state.
    offset: Option<i64>,
    sides: BTreeMap<SideId, SideTrack>,
    eval: Option<EvalTrack>,
    slides: Vec<Slide>,
    taken: Vec<Taken>,
    fallen: BTreeMap<(ZoneId, String), Fallen>,
    result_at: Option<MediaMs>,
    standing: Standing,
    /// When the newest entry of the feed or action came.
    news_at: Option<MediaMs>,
}

#[derive(Clone, Debug, Default)]
struct SideTrack {
    clock: Option<ClockTrack>,
    score_at: Option<MediaMs>,
    /// When it was eliminated.
    out_at: Option<MediaMs>,
    counters: BTreeMap<String, CounterTrack>,
    chip: Option<(Chip, MediaMs)>,
    thought: Option<Reader>,
}

#[derive(Clone, Debug)]
struct CounterTrack {
    value: f64,
    share: Tween,
    /// Last change and when.
    delta: Option<(f64, MediaMs)>,
}

#[derive(Clone, Debug)]
struct EvalTrack {
    left: SideId,
    share: Paced,
    /// Sender's time of the estimate.
    as_of: i64,
}

/// A piece on its way.
#[derive(Clone, Debug)]
struct Slide {
    zone: ZoneId,
    id: String,
    from: [f32; 2],
    start: MediaMs,
}

/// A piece that goes when the one that takes it has arrived.
#[derive(Clone, Debug)]
struct Taken {
    zone: ZoneId,
    cell: Cell,
    start: MediaMs,
}

/// A body that died.
#[derive(Clone, Debug)]
struct Fallen {
    /// The body, if the state no longer has it.
    body: Option<GridBody>,
    start: MediaMs,
}

/// A side's status in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    Winner,
    Eliminated,
    Reconnecting,
    Timeout,
    Invalid,
    Error,
    Thinking,
    Waiting,
}

/// A side's counter at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CounterView {
    pub value: f64,
    /// Of the bar, 0 to 1; 0 without a maximum.
    pub share: f32,
    /// The bar's old share, while it shows.
    pub ghost: Option<f32>,
    /// Change of the value, while it shows.
    pub delta: Option<f64>,
}

/// Win chances at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalView {
    /// Of the left side, where the bar's edge is, 0.03 to 0.97.
    pub share: f32,
    /// Of the left side as it was sent, 0 to 1.
    pub target: f32,
    /// Over 30 s old.
    pub stale: bool,
}

impl Presentation {
    pub fn new(motion: Motion) -> Presentation {
        Presentation { motion, ..Presentation::default() }
    }

    pub fn state(&self) -> &MatchState {
        &self.state
    }

    pub fn motion(&self) -> Motion {
        self.motion
    }

    /// Shows `next` from media time `at` on; what differs from before moves there from now. Times do not go back.
    pub fn advance(&mut self, next: Arc<MatchState>, at: MediaMs) {
        let old = std::mem::replace(&mut self.state, next.clone());
        let fresh = self.offset.is_none() || old.match_id != next.match_id || old.epoch != next.epoch;
        self.synchronise(next.ts, at, fresh);
        if fresh {
            let (offset, motion) = (self.offset, self.motion);
            *self = Presentation { state: next.clone(), offset, motion, ..Presentation::default() };
        }
        let same_move = !fresh
            && old.board.phase.turn == next.board.phase.turn
            && old.board.phase.active == next.board.phase.active;
        self.sides.retain(|id, _| next.board.sides.contains_key(id));
        for (id, side) in &next.board.sides {
            self.advance_side(id, side, &old, at, fresh, same_move);
        }
        let order = self.ranked();
        self.standing.set(order, at);
        self.advance_eval(at);
        self.advance_boards(&old, at, fresh);
        self.result_at = match (&next.board.result, self.result_at) {
            (None, _) => None,
            // A result that was there before anybody looked is shown at once.
            (Some(_), None) if fresh => Some(at - RESULT_AFTER),
            (Some(_), None) => Some(at),
            (Some(_), known) => known,
        };
        if old.feed.back() != next.feed.back() || old.actions != next.actions {
            self.news_at = Some(if fresh { at - 10_000 } else { at });
        }
    }

    /// The quickest way seen from sender to picture is the mapping of their clocks.
    fn synchronise(&mut self, ts: i64, at: MediaMs, fresh: bool) {
        let seen = at.saturating_sub(ts);
        self.offset = Some(match self.offset {
            Some(offset) if !fresh && seen.abs_diff(offset) < RESYNC as u64 => offset.min(seen),
            _ => seen,
        });
    }

    fn advance_side(&mut self, id: &SideId, side: &Side, old: &MatchState, at: MediaMs, fresh: bool, same_move: bool) {
        let as_of = |ts: i64| self.media(if ts == 0 { self.state.ts } else { ts }).min(at);
        let clock_as_of = side.clock.as_ref().map(|c| as_of(c.as_of));
        let was = old.board.sides.get(id).filter(|_| !fresh);
        let (curve, slow) = (self.motion.out, self.motion.slow);
        let next = self.state.clone();
        let track = self.sides.entry(id.clone()).or_default();

        match (&mut track.clock, &side.clock, clock_as_of) {
            (Some(track), Some(raw), Some(as_of)) => track.update(raw, as_of, at, same_move),
            (slot, raw, as_of) => *slot = raw.as_ref().zip(as_of).map(|(raw, as_of)| ClockTrack::new(raw, as_of)),
        }
        if was.is_some_and(|w| w.score != side.score) {
            track.score_at = Some(at);
        }

        track.out_at = match (side.status, track.out_at) {
            (SideStatus::Eliminated, None) => Some(at),
            (SideStatus::Eliminated, known) => known,
            _ => None,
        };

        track.counters.retain(|id, _| side.counters.iter().any(|c| c.id == *id));
        for counter in &side.counters {
            let (min, max) = (counter.min.unwrap_or(0.0), counter.max.unwrap_or(0.0));
            let share = if max > min { ((counter.value - min) / (max - min)).clamp(0.0, 1.0) as f32 } else { 0.0 };
            let entry = track.counters.entry(counter.id.clone()).or_insert_with(|| CounterTrack {
                value: counter.value,
                share: Tween::still(share),
                delta: None,
            });
            if entry.value != counter.value {
                entry.delta = Some((counter.value - entry.value, at));
                entry.value = counter.value;
            }
            if entry.share.to != share {
                entry.share = Tween { from: entry.share.at(at, slow, curve), to: share, start: at };
            }
        }

        let trouble = |status: SideStatus| match status {
            SideStatus::Timeout => Some(Chip::Timeout),
            SideStatus::Invalid => Some(Chip::Invalid),
            SideStatus::Error => Some(Chip::Error),
            _ => None,
        };
        let action = next.actions.get(id);
        let acted = action.filter(|a| !fresh && Some(*a) != old.actions.get(id)).and_then(|a| match a.status {
            ActionStatus::Ok => None,
            ActionStatus::Timeout => Some(Chip::Timeout),
            ActionStatus::Invalid => Some(Chip::Invalid),
            ActionStatus::Error => Some(Chip::Error),
        });
        let turned = was.is_some_and(|w| w.status != side.status) || fresh;
        if let Some(chip) = acted.or(trouble(side.status).filter(|_| turned)) {
            track.chip = Some((chip, at));
        }

        match (next.thoughts.get(id), &mut track.thought) {
            (Some(thought), Some(reader)) if reader.id == thought.id => reader.update(&thought.text, thought.done, at),
            (Some(thought), slot) => *slot = Some(Reader::new(&thought.id, &thought.text, thought.done, at, fresh)),
            (None, slot) => *slot = None,
        }
    }

    fn advance_eval(&mut self, at: MediaMs) {
        let Some(left) = self.ordered().first().map(|(id, _)| (*id).clone()) else {
            self.eval = None;
            return;
        };
        let Some((eval, share)) = self.state.board.eval.as_ref().and_then(|e| Some((e, left_share(&e.shares, &left)?)))
        else {
            self.eval = None;
            return;
        };
        let as_of = if eval.as_of == 0 { self.state.ts } else { eval.as_of };
        let unchanged = |track: &EvalTrack| eval.as_of == 0 && (track.share.target() - share).abs() < f32::EPSILON;
        let (slow, curve) = (self.motion.slow, self.motion.out);
        match &mut self.eval {
            Some(track) if track.left == left => {
                if !unchanged(track) {
                    track.as_of = as_of;
                }
                track.share.set(share, at, EVAL_LEAST, EVAL_GAP, slow, curve);
            }
            slot => *slot = Some(EvalTrack { left, share: Paced::still(share), as_of }),
        }
    }

    fn advance_boards(&mut self, old: &MatchState, at: MediaMs, fresh: bool) {
        let base = self.motion.base;
        self.slides.retain(|s| at < s.start + base);
        self.taken.retain(|t| at < t.start + base);
        self.fallen.retain(|_, f| f.body.is_none() || at < f.start + BODY_FADES);
        let next = self.state.clone();
        for (id, zone) in &next.board.zones {
            let ZoneContent::Grid(grid) = &zone.content else { continue };
            for body in &grid.bodies {
                let key = (id.clone(), body.id.clone());
                if !body.dead {
                    self.fallen.remove(&key);
                } else {
                    let start = if fresh { at - BODY_FADES } else { at };
                    self.fallen.entry(key).or_insert(Fallen { body: None, start });
                }
            }
            let before = match old.board.zones.get(id) {
                Some(Zone { content: ZoneContent::Grid(before), .. })
                    if !fresh && (before.cols, before.rows) == (grid.cols, grid.rows) =>
                {
                    before
                }
                _ => continue,
            };
            if before.cells != grid.cells {
                self.advance_cells(id, &before.cells, &grid.cells, at);
            }
            // A body that left with its side fell; one that left otherwise may only be out of this view's sight.
            let out = |body: &GridBody| {
                let side = body.side.as_ref().and_then(|s| next.board.sides.get(s));
                !body.id.is_empty() && side.is_some_and(|s| s.status == SideStatus::Eliminated)
            };
            for body in before.bodies.iter().filter(|b| out(b)) {
                if !grid.bodies.iter().any(|b| b.id == body.id) {
                    let entry =
                        self.fallen.entry((id.clone(), body.id.clone())).or_insert(Fallen { body: None, start: at });
                    entry.body = Some(body.clone());
                }
            }
        }
    }

    fn advance_cells(&mut self, zone: &str, before: &[Cell], after: &[Cell], at: MediaMs) {
        let places: BTreeMap<&str, &Cell> = before.iter().filter(|c| !c.id.is_empty()).map(|c| (&*c.id, c)).collect();
        let moved: Vec<(&Cell, &Cell)> = after
            .iter()
            .filter_map(|c| Some((*places.get(&*c.id)?, c)))
            .filter(|(was, is)| (was.x, was.y) != (is.x, is.y))
            .collect();
        if moved.is_empty() || moved.len() > SLIDES {
            return;
        }
        for (was, is) in moved {
            // A piece that moves on while it is still moving leaves from where it is seen.
            let here = [f32::from(was.x), f32::from(was.y)];
            let from = self.slide_of(zone, &is.id, here, at).unwrap_or(here);
            self.slides.retain(|s| s.zone != zone || s.id != is.id);
            self.slides.push(Slide { zone: zone.to_owned(), id: is.id.clone(), from, start: at });
            let gone =
                |c: &&Cell| !c.id.is_empty() && (c.x, c.y) == (is.x, is.y) && !after.iter().any(|a| a.id == c.id);
            if let Some(cell) = before.iter().find(gone) {
                self.taken.push(Taken { zone: zone.to_owned(), cell: cell.clone(), start: at });
            }
        }
    }

    fn slide_of(&self, zone: &str, id: &str, to: [f32; 2], t: MediaMs) -> Option<[f32; 2]> {
        let s = self.slides.iter().find(|s| s.zone == zone && s.id == id)?;
        let way =
            |i: usize| Tween { from: s.from[i], to: to[i], start: s.start }.at(t, self.motion.base, self.motion.out);
        (t < s.start + self.motion.base).then(|| [way(0), way(1)])
    }

    /// Media time of a sender's time.
    fn media(&self, ts: i64) -> MediaMs {
        ts.saturating_add(self.offset.unwrap_or(0))
    }

    /// Sides in the order of their seats.
    pub fn ordered(&self) -> Vec<(&SideId, &Side)> {
        let mut sides: Vec<_> = self.state.board.sides.iter().collect();
        sides.sort_by_key(|(id, s)| (s.seat, *id));
        sides
    }

    /// Sides alive by score, then eliminated, the latest out first. Seats decide between equals.
    fn ranked(&self) -> Vec<SideId> {
        let mut sides = self.ordered();
        let out = |id: &SideId| self.sides.get(id).and_then(|s| s.out_at).map(std::cmp::Reverse);
        let score = |side: &Side| -side.score.unwrap_or(0.0);
        sides.sort_by(|(a, x), (b, y)| out(a).cmp(&out(b)).then(score(x).total_cmp(&score(y))));
        sides.into_iter().map(|(id, _)| id.clone()).collect()
    }

    /// The scene to show at `t`: what the match asked for, else what fits where it is.
    pub fn scene(&self, t: MediaMs) -> Scene {
        if let Some(scene) = self.state.scene.as_ref().and_then(|c| c.scene) {
            return scene;
        }
        let starts_later = self.state.board.starts_at.is_some_and(|ts| self.media(ts) > t);
        match self.result_at {
            Some(at) if t >= at + RESULT_AFTER => Scene::Over,
            Some(_) => Scene::Live,
            None if !self.state.started || starts_later => Scene::Starting,
            None => Scene::Live,
        }
    }

    /// A time after `t` at which the picture may change by itself; None: not before the next state. Never too late.
    pub fn next_change(&self, t: MediaMs) -> Option<MediaMs> {
        let mut next = None::<MediaMs>;
        let mut at = |when: MediaMs| {
            if when > t {
                next = Some(next.map_or(when, |n| n.min(when)));
            }
        };
        let moving = |start: MediaMs, duration: i64| t < start.saturating_add(duration) && t >= start;
        for side in self.sides.values() {
            side.clock.iter().filter_map(|c| c.next_change(t)).for_each(&mut at);
            side.thought.iter().filter_map(|r| r.next_change(t)).for_each(&mut at);
            side.score_at.iter().for_each(|s| at(s + self.motion.slow));
            side.chip.iter().for_each(|c| at(c.1 + CHIP_HOLD));
            for c in side.counters.values() {
                if moving(c.share.start, self.motion.slow) {
                    at(t + 1);
                }
                at(c.share.start.saturating_add(GHOST));
                c.delta.iter().for_each(|d| at(d.1 + DELTA));
            }
        }
        if let Some(eval) = &self.eval {
            // Cheap and never late: while it may move, every frame.
            if eval.share.at(t, self.motion.slow, self.motion.out) != eval.share.target() {
                at(t + 1);
            }
            at(self.media(eval.as_of) + EVAL_STALE + 1);
        }
        if self.slides.iter().any(|s| moving(s.start, self.motion.base)) {
            at(t + 1);
        }
        self.standing.next_change(t, self.motion.base).into_iter().for_each(&mut at);
        self.taken.iter().for_each(|s| at(s.start + self.motion.base));
        self.fallen.values().for_each(|f| at(f.start + BODY_FADES));
        self.result_at.iter().for_each(|r| at(r + RESULT_AFTER));
        if let Some(starts) = self.state.board.starts_at.map(|ts| self.media(ts)).filter(|s| *s > t) {
            at(t + (starts - t - 1).rem_euclid(1_000) + 1);
        }
        if let Some(deadline) = self.state.board.phase.deadline.map(|ts| self.media(ts)).filter(|d| *d > t) {
            at(t + (deadline - t - 1).rem_euclid(1_000) + 1);
        }
        let news = self.news_at.unwrap_or(MediaMs::MIN / 2);
        if moving(news, self.motion.base) {
            at(t + 1);
        }
        if self.motion.pulse > 0 && self.pulses() {
            let step = (self.motion.pulse / 4).max(1);
            at(t - t.rem_euclid(step) + step);
        }
        next
    }

    fn pulses(&self) -> bool {
        self.sides.keys().any(|id| self.status_chip(id) == Some(Chip::Thinking))
            || self.state.thoughts.values().any(|t| !t.done)
    }

    fn status_chip(&self, id: &SideId) -> Option<Chip> {
        let side = self.state.board.sides.get(id)?;
        let phase = &self.state.board.phase;
        if let Some(result) = &self.state.board.result {
            let won = side.status == SideStatus::Winner || result.winners.contains(id);
            return won.then_some(Chip::Winner);
        }
        Some(match side.status {
            SideStatus::Winner => Chip::Winner,
            SideStatus::Eliminated => Chip::Eliminated,
            SideStatus::Disconnected => Chip::Reconnecting,
            SideStatus::Timeout => Chip::Timeout,
            SideStatus::Invalid => Chip::Invalid,
            SideStatus::Error => Chip::Error,
            SideStatus::Thinking => Chip::Thinking,
            SideStatus::Active if phase.active.contains(id) => Chip::Thinking,
            SideStatus::Active => Chip::Waiting,
        })
    }
}

/// Share of the left side among all that have one.
fn left_share(shares: &BTreeMap<SideId, f64>, left: &SideId) -> Option<f32> {
    let sum: f64 = shares.values().filter(|v| v.is_finite()).map(|v| v.max(0.0)).sum();
    let own = shares.get(left).copied().filter(|v| v.is_finite());
    match (own, sum > 0.0) {
        // A single share is the whole truth about two sides.
        (Some(own), true) if shares.len() == 1 => Some(own.clamp(0.0, 1.0) as f32),
        (Some(own), true) => Some((own.max(0.0) / sum) as f32),
        (None, true) if shares.len() == 1 => Some(1.0 - sum.clamp(0.0, 1.0) as f32),
        _ => None,
    }
}

/// A presentation at a time: what scenes and widgets read.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub show: &'a Presentation,
    pub t: MediaMs,
}

impl<'a> Moment<'a> {
    pub fn state(&self) -> &'a MatchState {
        &self.show.state
    }

    /// Sides in the order of their seats.
    pub fn sides(&self) -> Vec<(&'a SideId, &'a Side)> {
        self.show.ordered()
    }

    /// Sides as they are listed, with their places; between two places while a row slides.
    pub fn standing(&self) -> Vec<Place<'a>> {
        let motion = &self.show.motion;
        self.show.standing.at(self.t, motion.base, motion.out, &self.show.state.board.sides)
    }

    /// The sender's time now, Unix ms.
    pub fn sender_time(&self) -> i64 {
        self.t.saturating_sub(self.show.offset.unwrap_or(0))
    }

    /// Whole seconds until a sender's time, rounded up; None once it is over.
    pub fn seconds_until(&self, ts: i64) -> Option<i64> {
        let ms = self.show.media(ts).saturating_sub(self.t);
        (ms > 0).then(|| (ms + 999) / 1_000)
    }

    pub fn clock(&self, side: &SideId) -> Option<ClockFace> {
        Some(self.show.sides.get(side)?.clock.as_ref()?.face(self.t))
    }

    /// The score box is lit.
    pub fn score_flash(&self, side: &SideId) -> bool {
        let at = self.show.sides.get(side).and_then(|s| s.score_at);
        at.is_some_and(|at| self.t >= at && self.t < at + self.show.motion.slow)
    }

    pub fn counter(&self, side: &SideId, id: &str) -> Option<CounterView> {
        let c = self.show.sides.get(side)?.counters.get(id)?;
        let since = |at: MediaMs, hold: i64| (at..at.saturating_add(hold)).contains(&self.t);
        let motion = &self.show.motion;
        let ghost = since(c.share.start, GHOST) && c.share.from > c.share.to;
        Some(CounterView {
            value: c.value,
            share: c.share.at(self.t, motion.slow, motion.out),
            ghost: ghost.then_some(c.share.from),
            delta: c.delta.filter(|d| since(d.1, DELTA)).map(|d| d.0),
        })
    }

    /// The side's chip: eliminated > reconnecting > timeout > invalid > thinking > waiting.
    pub fn chip(&self, side: &SideId) -> Option<Chip> {
        let status = self.show.status_chip(side);
        let track = self.show.sides.get(side)?;
        let held = track.chip.filter(|c| (c.1..c.1 + CHIP_HOLD).contains(&self.t)).map(|c| c.0);
        match (status, held) {
            (Some(Chip::Winner | Chip::Eliminated | Chip::Reconnecting), _) | (_, None) => status,
            (Some(Chip::Timeout), _) => status,
            (_, held) => held,
        }
    }

    /// How much of the side's thought is shown.
    pub fn reading(&self, side: &SideId) -> Option<Reading> {
        let thought = self.show.state.thoughts.get(side)?;
        Some(self.show.sides.get(side)?.thought.as_ref()?.at(&thought.text, self.t))
    }

    pub fn eval(&self) -> Option<EvalView> {
        let eval = self.show.eval.as_ref()?;
        let motion = &self.show.motion;
        Some(EvalView {
            share: eval.share.at(self.t, motion.slow, motion.out).clamp(0.03, 0.97),
            target: eval.share.target(),
            stale: self.t > self.show.media(eval.as_of) + EVAL_STALE,
        })
    }

    /// Where a cell's piece is, columns and rows, while it moves.
    pub fn slide(&self, zone: &str, cell: &Cell) -> Option<[f32; 2]> {
        self.show.slide_of(zone, &cell.id, [f32::from(cell.x), f32::from(cell.y)], self.t)
    }

    /// Pieces taken by ones that are still on their way.
    pub fn taken(&self, zone: &str) -> impl Iterator<Item = &'a Cell> {
        let (t, base, zone) = (self.t, self.show.motion.base, zone.to_owned());
        self.show.taken.iter().filter(move |x| x.zone == zone && t < x.start + base).map(|x| &x.cell)
    }

    /// None: the body lives. Some(false): it died and is gone. Some(true): it still shows, faded.
    pub fn fallen(&self, zone: &str, body: &str) -> Option<bool> {
        let fallen = self.show.fallen.get(&(zone.to_owned(), body.to_owned()))?;
        Some(self.t < fallen.start + BODY_FADES)
    }

    /// Bodies that the state no longer has and that still show, faded.
    pub fn remains(&self, zone: &str) -> impl Iterator<Item = &'a GridBody> {
        let (t, zone) = (self.t, zone.to_owned());
        let here = self.show.fallen.iter().filter(move |(key, f)| key.0 == zone && t < f.start + BODY_FADES);
        here.filter_map(|(_, f)| f.body.as_ref())
    }

    /// How far the newest feed item has come in, 0 to 1.
    pub fn news(&self) -> f32 {
        let motion = &self.show.motion;
        let start = self.show.news_at.unwrap_or(MediaMs::MIN / 2);
        Tween { from: 0.0, to: 1.0, start }.at(self.t, motion.base, motion.out)
    }

    /// Opacity of pulsing dots, in four steps.
    pub fn pulse(&self) -> f32 {
        let period = self.show.motion.pulse;
        if period <= 0 {
            return 1.0;
        }
        [1.0, 0.7, 0.4, 0.7][(self.t.rem_euclid(period) * 4 / period) as usize]
    }

    /// The caret is lit: the pulse in two steps.
    pub fn caret(&self) -> bool {
        let period = self.show.motion.pulse;
        period <= 0 || self.t.rem_euclid(period) * 2 < period
    }
}
