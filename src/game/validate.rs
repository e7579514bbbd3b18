//! Refuses what is over a limit, not a number, or names something that is not there.

use super::apply::ApplyError;
use super::limits::*;
use super::path::Path;
use super::state::*;
use super::wire::{Body, Event, VERSION};
use serde_json::Value;
use std::collections::BTreeMap;

type Checked = Result<(), ApplyError>;
type Sides = BTreeMap<SideId, Side>;

fn invalid(at: &Path, problem: impl Into<String>) -> ApplyError {
    ApplyError::Invalid { field: at.to_string(), problem: problem.into() }
}

fn at_most(found: usize, limit: usize, at: &Path) -> Checked {
    if found <= limit { Ok(()) } else { Err(ApplyError::Limit { field: at.to_string(), found, limit }) }
}

/// A text of at most `limit` characters.
pub(super) fn text(text: &str, limit: usize, at: &Path) -> Checked {
    // Fewer bytes than the limit are fewer characters too.
    if text.len() <= limit { Ok(()) } else { at_most(text.chars().count(), limit, at) }
}

fn id(id: &str, at: &Path) -> Checked {
    if id.is_empty() {
        return Err(invalid(at, "an id must not be empty"));
    }
    text(id, ID_CHARS, at)
}

/// The name of a side that is in the match.
pub(super) fn side(name: &str, sides: &Sides, at: &Path) -> Checked {
    if sides.contains_key(name) {
        return Ok(());
    }
    Err(invalid(at, format!("there is no side {:?}", super::path::clip(name, ID_CHARS))))
}

fn some_side(name: &Option<SideId>, sides: &Sides, at: &Path) -> Checked {
    name.as_ref().map_or(Ok(()), |name| side(name, sides, at))
}

pub(super) fn visibility(vis: &Option<Visibility>, sides: &Sides, at: &Path) -> Checked {
    let Some(Visibility::Sides(list)) = vis else { return Ok(()) };
    list.iter().enumerate().try_for_each(|(i, name)| side(name, sides, &at.index(i)))
}

fn finite(value: f64, at: &Path) -> Checked {
    if value.is_finite() { Ok(()) } else { Err(invalid(at, format!("{value} is not a number that can be shown"))) }
}

fn some_finite(value: Option<f64>, at: &Path) -> Checked {
    value.map_or(Ok(()), |v| finite(v, at))
}

/// A share or confidence, 0 to 1.
fn unit(value: f64, at: &Path) -> Checked {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(invalid(at, format!("{value} is not within 0 to 1"))) }
}

fn time(ms: i64, at: &Path) -> Checked {
    if (-TIME_MS..=TIME_MS).contains(&ms) {
        return Ok(());
    }
    Err(invalid(at, format!("{ms} ms is not within -{TIME_MS} to {TIME_MS}")))
}

fn picture(picture: &Option<PictureRef>, at: &Path) -> Checked {
    picture.as_ref().map_or(Ok(()), |p| text(&p.0, NAME_CHARS, at))
}

/// What can be said of an event without a state: version, id, times, visibility where there is none, and the shape of
/// a patch.
pub(super) fn envelope(event: &Event) -> Checked {
    let root = Path::Root;
    if event.v != VERSION {
        return Err(invalid(&root.key("v"), format!("{} is not supported, expected {VERSION}", event.v)));
    }
    id(&event.match_id, &root.key("match"))?;
    time(event.ts, &root.key("ts"))?;
    let flows = matches!(
        event.body,
        Body::AgentThinking(_) | Body::ActionDecided(_) | Body::Feed(_) | Body::Marker(_) | Body::Unknown(_)
    );
    if !flows && matches!(event.vis, Some(Visibility::Sides(_))) {
        let problem = format!("{} changes what everybody sees: leave vis out or say \"public\"", event.body.kind());
        return Err(invalid(&root.key("vis"), problem));
    }
    match &event.body {
        Body::StatePatch(patch) if !patch.is_object() => Err(invalid(&root.key("data"), "expected an object")),
        Body::StatePatch(patch) => at_most(depth(patch, PATCH_DEPTH + 1), PATCH_DEPTH, &root.key("data")),
        _ => Ok(()),
    }
}

/// Nesting of objects and lists, looked at no deeper than `max`.
fn depth(value: &Value, max: usize) -> usize {
    if max == 0 {
        return 0;
    }
    match value {
        Value::Object(map) => 1 + map.values().map(|v| depth(v, max - 1)).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(|v| depth(v, max - 1)).max().unwrap_or(0),
        _ => 0,
    }
}

/// A whole board, found at `at`.
pub(super) fn board(board: &Snapshot, at: &Path) -> Checked {
    text(&board.title, TEXT_CHARS, &at.key("title"))?;
    text(&board.round, TEXT_CHARS, &at.key("round"))?;
    let game = at.key("game");
    text(&board.game.id, ID_CHARS, &game.key("id"))?;
    text(&board.game.name, NAME_CHARS, &game.key("name"))?;
    sides(&board.sides, &at.key("sides"))?;
    phase(&board.phase, &board.sides, &at.key("phase"))?;
    let zones = at.key("zones");
    at_most(board.zones.len(), ZONES, &zones)?;
    for (name, z) in &board.zones {
        let at = zones.key(name);
        id(name, &at)?;
        zone(z, &board.sides, &at)?;
    }
    if let Some(e) = &board.eval {
        eval(e, &board.sides, &at.key("eval"))?;
    }
    if let Some(s) = &board.series {
        series(s, &board.sides, &at.key("series"))?;
    }
    if let Some(r) = &board.result {
        result(r, &board.sides, &at.key("result"))?;
    }
    let facts = at.key("facts");
    at_most(board.facts.len(), FACTS, &facts)?;
    for (i, fact) in board.facts.iter().enumerate() {
        let at = facts.index(i);
        text(&fact.label, TEXT_CHARS, &at.key("label"))?;
        text(&fact.text, TEXT_CHARS, &at.key("text"))?;
    }
    board.starts_at.map_or(Ok(()), |t| time(t, &at.key("startsAt")))?;
    at_most(json_bytes(board), BOARD_BYTES, at)
}

fn sides(sides: &Sides, at: &Path) -> Checked {
    if sides.is_empty() {
        return Err(invalid(at, format!("a match has 1 to {SIDES} sides")));
    }
    at_most(sides.len(), SIDES, at)?;
    let mut seats: [Option<&str>; SIDES] = [None; SIDES];
    for (name, side) in sides {
        let at = at.key(name);
        id(name, &at)?;
        // These words name a view, and one must not be taken for the other.
        if name == "spectator" || name == "all" || name.starts_with("side:") {
            return Err(invalid(&at, "`spectator`, `all` and ids that start with `side:` are reserved"));
        }
        let seat = at.key("seat");
        match seats.get_mut(usize::from(side.seat)) {
            None => return Err(invalid(&seat, format!("{} is not a seat, expected 0 to {}", side.seat, SIDES - 1))),
            Some(Some(other)) => {
                return Err(invalid(&seat, format!("seat {} is taken by {other:?}", side.seat)));
            }
            Some(free) => *free = Some(name),
        }
        text(&side.name, NAME_CHARS, &at.key("name"))?;
        text(&side.agent, NAME_CHARS, &at.key("agent"))?;
        text(&side.author, NAME_CHARS, &at.key("author"))?;
        text(&side.lang, ID_CHARS, &at.key("lang"))?;
        picture(&side.avatar, &at.key("avatar"))?;
        text(&side.role, TEXT_CHARS, &at.key("role"))?;
        text(&side.status_text, TEXT_CHARS, &at.key("statusText"))?;
        if let Some(c) = &side.clock {
            clock(c, &at.key("clock"))?;
        }
        let counters = at.key("counters");
        at_most(side.counters.len(), COUNTERS, &counters)?;
        for (i, c) in side.counters.iter().enumerate() {
            let at = counters.index(i);
            text(&c.id, ID_CHARS, &at.key("id"))?;
            text(&c.label, TEXT_CHARS, &at.key("label"))?;
            finite(c.value, &at.key("value"))?;
            some_finite(c.min, &at.key("min"))?;
            some_finite(c.max, &at.key("max"))?;
            text(&c.unit, TEXT_CHARS, &at.key("unit"))?;
            picture(&c.icon, &at.key("icon"))?;
        }
        some_finite(side.score, &at.key("score"))?;
        text(&side.blurb, TEXT_CHARS, &at.key("blurb"))?;
    }
    Ok(())
}

pub(super) fn clock(clock: &Clock, at: &Path) -> Checked {
    time(clock.ms, &at.key("ms"))?;
    time(clock.as_of, &at.key("asOf"))
}

/// What `turn.started` sets of a phase and what a board has of it.
pub(super) fn phase(phase: &Phase, sides: &Sides, at: &Path) -> Checked {
    text(&phase.turn_label, TEXT_CHARS, &at.key("turnLabel"))?;
    text(&phase.name, TEXT_CHARS, &at.key("name"))?;
    let active = at.key("active");
    phase.active.iter().enumerate().try_for_each(|(i, name)| side(name, sides, &active.index(i)))?;
    phase.deadline.map_or(Ok(()), |t| time(t, &at.key("deadline")))?;
    let cycle = at.key("cycle");
    at_most(phase.cycle.len(), PHASES, &cycle)?;
    phase.cycle.iter().enumerate().try_for_each(|(i, name)| text(name, TEXT_CHARS, &cycle.index(i)))
}

fn zone(zone: &Zone, sides: &Sides, at: &Path) -> Checked {
    some_side(&zone.owner, sides, &at.key("owner"))?;
    text(&zone.label, TEXT_CHARS, &at.key("label"))?;
    visibility(&zone.vis, sides, &at.key("vis"))?;
    match &zone.content {
        ZoneContent::Grid(g) => grid(g, sides, at),
        ZoneContent::Cards(c) => cards(c, sides, at),
        ZoneContent::Text(t) => text(&t.text, ZONE_TEXT_CHARS, &at.key("text")),
        ZoneContent::Picture(p) => picture(&p.picture, &at.key("picture")),
    }
}

fn grid(grid: &Grid, sides: &Sides, at: &Path) -> Checked {
    for (edge, name) in [(grid.cols, "cols"), (grid.rows, "rows")] {
        if !(1..=GRID_EDGE).contains(&usize::from(edge)) {
            return Err(invalid(&at.key(name), format!("{edge} is not within 1 to {GRID_EDGE}")));
        }
    }
    let inside = |[x, y]: [u16; 2], at: &Path| {
        if x < grid.cols && y < grid.rows {
            return Ok(());
        }
        Err(invalid(at, format!("[{x}, {y}] is outside of the grid's {} × {} cells", grid.cols, grid.rows)))
    };
    for (labels, name) in [(&grid.col_labels, "colLabels"), (&grid.row_labels, "rowLabels")] {
        let at = at.key(name);
        at_most(labels.len(), GRID_EDGE, &at)?;
        labels.iter().enumerate().try_for_each(|(i, l)| text(l, TEXT_CHARS, &at.index(i)))?;
    }
    let cells = at.key("cells");
    at_most(grid.cells.len(), GRID_ITEMS, &cells)?;
    for (i, cell) in grid.cells.iter().enumerate() {
        let at = cells.index(i);
        inside([cell.x, cell.y], &at)?;
        text(&cell.id, ID_CHARS, &at.key("id"))?;
        picture(&cell.picture, &at.key("picture"))?;
        text(&cell.label, TEXT_CHARS, &at.key("label"))?;
        some_side(&cell.side, sides, &at.key("side"))?;
        visibility(&cell.vis, sides, &at.key("vis"))?;
    }
    let bodies = at.key("bodies");
    at_most(grid.bodies.iter().map(|b| b.cells.len() + 1).sum(), GRID_ITEMS, &bodies)?;
    for (i, body) in grid.bodies.iter().enumerate() {
        let at = bodies.index(i);
        text(&body.id, ID_CHARS, &at.key("id"))?;
        some_side(&body.side, sides, &at.key("side"))?;
        visibility(&body.vis, sides, &at.key("vis"))?;
        let segments = at.key("cells");
        body.cells.iter().enumerate().try_for_each(|(i, cell)| inside(*cell, &segments.index(i)))?;
    }
    let arrows = at.key("arrows");
    at_most(grid.arrows.len(), GRID_ITEMS, &arrows)?;
    for (i, arrow) in grid.arrows.iter().enumerate() {
        let at = arrows.index(i);
        inside(arrow.from, &at.key("from"))?;
        inside(arrow.to, &at.key("to"))?;
        some_side(&arrow.side, sides, &at.key("side"))?;
        visibility(&arrow.vis, sides, &at.key("vis"))?;
    }
    Ok(())
}

fn cards(cards: &Cards, sides: &Sides, at: &Path) -> Checked {
    let items = at.key("items");
    at_most(cards.items.len(), CARDS, &items)?;
    at_most(cards.count.unwrap_or(0) as usize, CARD_COUNT, &at.key("count"))?;
    at_most(usize::from(cards.slots), CARDS, &at.key("slots"))?;
    for (i, card) in cards.items.iter().enumerate() {
        let at = items.index(i);
        text(&card.id, ID_CHARS, &at.key("id"))?;
        some_side(&card.side, sides, &at.key("side"))?;
        visibility(&card.vis, sides, &at.key("vis"))?;
        if let Some(face) = &card.face {
            let at = at.key("face");
            text(&face.rank, ID_CHARS, &at.key("rank"))?;
            text(&face.name, NAME_CHARS, &at.key("name"))?;
            text(&face.text, TEXT_CHARS, &at.key("text"))?;
            some_finite(face.value, &at.key("value"))?;
            picture(&face.art, &at.key("art"))?;
        }
    }
    Ok(())
}

pub(super) fn eval(eval: &Eval, sides: &Sides, at: &Path) -> Checked {
    let shares = at.key("shares");
    for (name, share) in &eval.shares {
        let at = shares.key(name);
        side(name, sides, &at)?;
        unit(*share, &at)?;
    }
    text(&eval.text, TEXT_CHARS, &at.key("text"))?;
    time(eval.as_of, &at.key("asOf"))
}

pub(super) fn series(series: &Series, sides: &Sides, at: &Path) -> Checked {
    at_most(usize::from(series.best_of), SERIES_GAMES, &at.key("bestOf"))?;
    at_most(usize::from(series.game), SERIES_GAMES, &at.key("game"))?;
    let winners = at.key("winners");
    at_most(series.winners.len(), SERIES_GAMES, &winners)?;
    series.winners.iter().enumerate().try_for_each(|(i, name)| some_side(name, sides, &winners.index(i)))
}

pub(super) fn result(result: &MatchResult, sides: &Sides, at: &Path) -> Checked {
    let winners = at.key("winners");
    if !result.winners.is_empty() && (result.draw || result.aborted) {
        let why = if result.draw { "a draw" } else { "an aborted match" };
        return Err(invalid(&winners, format!("{why} has no winners")));
    }
    at_most(result.winners.len(), SIDES, &winners)?;
    result.winners.iter().enumerate().try_for_each(|(i, name)| side(name, sides, &winners.index(i)))?;
    text(&result.reason, TEXT_CHARS, &at.key("reason"))?;
    let list = at.key("sides");
    for (name, r) in &result.sides {
        let at = list.key(name);
        side(name, sides, &at)?;
        some_finite(r.score, &at.key("score"))?;
        text(&r.reason, TEXT_CHARS, &at.key("reason"))?;
    }
    Ok(())
}

/// A confidence of 0 to 1, if there is one.
pub(super) fn confidence(value: Option<f64>, at: &Path) -> Checked {
    value.map_or(Ok(()), |v| unit(v, at))
}

/// How long something is as JSON.
pub(super) fn json_bytes<T: serde::Serialize>(value: &T) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // Cannot happen (string keys, no failing writer); if it does, it fits nowhere.
        Err(_) => usize::MAX,
    }
}
