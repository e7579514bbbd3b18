//! How much memory a state takes, roughly: what bounds queues of states. Every field is named, so that a new one cannot be
//! forgotten here.

use super::state::*;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

/// What a node of a tree takes beside its entries: it has room for eleven.
const NODE: usize = 64;

/// What something takes beyond its own place, bytes.
trait Beyond {
    fn beyond(&self) -> usize;
}

impl MatchState {
    /// Bytes of memory that this state takes, all it holds with it. Within a factor of two or so; takes no longer than
    /// looking at each cell and card once.
    pub fn bytes(&self) -> usize {
        let MatchState {
            match_id,
            epoch: _,
            seq: _,
            ts: _,
            started: _,
            board,
            thoughts,
            actions,
            feed,
            scene: _,
            marker,
        } = self;
        let feed: usize = feed.iter().map(|item| size_of::<FeedItem>() + item.beyond()).sum();
        size_of::<MatchState>()
            + match_id.beyond()
            + board.beyond()
            + thoughts.beyond()
            + actions.beyond()
            + feed
            + marker.beyond()
    }
}

impl Snapshot {
    /// As [`MatchState::bytes`].
    pub fn bytes(&self) -> usize {
        size_of::<Snapshot>() + self.beyond()
    }
}

impl Beyond for String {
    fn beyond(&self) -> usize {
        self.capacity()
    }
}

impl Beyond for PictureRef {
    fn beyond(&self) -> usize {
        self.0.beyond()
    }
}

impl<T: Beyond> Beyond for Option<T> {
    fn beyond(&self) -> usize {
        self.as_ref().map_or(0, T::beyond)
    }
}

impl<T: Beyond> Beyond for Vec<T> {
    fn beyond(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::beyond).sum::<usize>()
    }
}

/// Entries of a tree, which has nodes of eleven at least half full, and one in any case.
fn nodes(entries: usize, entry: usize) -> usize {
    entries.div_ceil(6) * (NODE + 11 * entry)
}

impl<V: Beyond> Beyond for BTreeMap<String, V> {
    fn beyond(&self) -> usize {
        let entry = size_of::<String>() + size_of::<V>();
        nodes(self.len(), entry) + self.iter().map(|(name, value)| name.beyond() + value.beyond()).sum::<usize>()
    }
}

impl Beyond for BTreeSet<String> {
    fn beyond(&self) -> usize {
        nodes(self.len(), size_of::<String>()) + self.iter().map(String::beyond).sum::<usize>()
    }
}

impl Beyond for f64 {
    fn beyond(&self) -> usize {
        0
    }
}

impl Beyond for Visibility {
    fn beyond(&self) -> usize {
        match self {
            Visibility::Public => 0,
            Visibility::Sides(sides) => sides.beyond(),
        }
    }
}

impl Beyond for Snapshot {
    fn beyond(&self) -> usize {
        let Snapshot { title, round, game, phase, sides, zones, eval, series, result, facts, starts_at: _ } = self;
        let Game { id, name } = game;
        let Phase { turn: _, turn_label, name: phase_name, active, deadline: _, cycle } = phase;
        let texts: usize = [title, round, id, name, turn_label, phase_name].into_iter().map(String::beyond).sum();
        texts
            + active.beyond()
            + cycle.beyond()
            + sides.beyond()
            + zones.beyond()
            + eval.as_ref().map_or(0, |Eval { shares, text, as_of: _ }| shares.beyond() + text.beyond())
            + series.as_ref().map_or(0, |Series { best_of: _, game: _, winners }| winners.beyond())
            + result.beyond()
            + facts.beyond()
    }
}

impl Beyond for MatchResult {
    fn beyond(&self) -> usize {
        let MatchResult { winners, draw: _, aborted: _, reason, sides } = self;
        winners.beyond() + reason.beyond() + sides.beyond()
    }
}

impl Beyond for SideResult {
    fn beyond(&self) -> usize {
        let SideResult { score: _, reason } = self;
        reason.beyond()
    }
}

impl Beyond for Fact {
    fn beyond(&self) -> usize {
        let Fact { label, text } = self;
        label.beyond() + text.beyond()
    }
}

impl Beyond for Side {
    fn beyond(&self) -> usize {
        let Side {
            seat: _,
            name,
            agent,
            author,
            lang,
            avatar,
            role,
            status: _,
            status_text,
            clock: _,
            counters,
            score: _,
            blurb,
        } = self;
        let texts: usize = [name, agent, author, lang, role, status_text, blurb].into_iter().map(String::beyond).sum();
        texts + avatar.beyond() + counters.beyond()
    }
}

impl Beyond for Counter {
    fn beyond(&self) -> usize {
        let Counter { id, label, value: _, min: _, max: _, unit, icon } = self;
        id.beyond() + label.beyond() + unit.beyond() + icon.beyond()
    }
}

impl Beyond for Zone {
    fn beyond(&self) -> usize {
        let Zone { content, owner, label, order: _, vis } = self;
        let content = match content {
            ZoneContent::Grid(grid) => grid.beyond(),
            ZoneContent::Cards(Cards { arrange: _, role: _, items, count: _, slots: _ }) => items.beyond(),
            ZoneContent::Text(TextZone { text, mono: _ }) => text.beyond(),
            ZoneContent::Picture(PictureZone { picture, pixelated: _ }) => picture.beyond(),
        };
        content + owner.beyond() + label.beyond() + vis.beyond()
    }
}

impl Beyond for Grid {
    fn beyond(&self) -> usize {
        let Grid { cols: _, rows: _, ground: _, col_labels, row_labels, cells, bodies, arrows } = self;
        col_labels.beyond() + row_labels.beyond() + cells.beyond() + bodies.beyond() + arrows.beyond()
    }
}

impl Beyond for Cell {
    fn beyond(&self) -> usize {
        let Cell { x: _, y: _, id, paint: _, picture, label, side, tone: _, vis } = self;
        id.beyond() + picture.beyond() + label.beyond() + side.beyond() + vis.beyond()
    }
}

impl Beyond for GridBody {
    fn beyond(&self) -> usize {
        let GridBody { id, side, cells, dead: _, vis } = self;
        id.beyond() + side.beyond() + cells.capacity() * size_of::<[u16; 2]>() + vis.beyond()
    }
}

impl Beyond for Arrow {
    fn beyond(&self) -> usize {
        let Arrow { from: _, to: _, side, vis } = self;
        side.beyond() + vis.beyond()
    }
}

impl Beyond for Card {
    fn beyond(&self) -> usize {
        let Card { id, up: _, face, lit: _, side, vis } = self;
        id.beyond() + face.beyond() + side.beyond() + vis.beyond()
    }
}

impl Beyond for Face {
    fn beyond(&self) -> usize {
        let Face { rank, suit: _, name, text, value: _, art } = self;
        rank.beyond() + name.beyond() + text.beyond() + art.beyond()
    }
}

impl Beyond for Thought {
    fn beyond(&self) -> usize {
        let Thought { id, text, arrivals, done: _, vis } = self;
        id.beyond() + text.beyond() + arrivals.capacity() * size_of::<(i64, u32)>() + vis.beyond()
    }
}

impl Beyond for Action {
    fn beyond(&self) -> usize {
        let Action { turn: _, text, reason, confidence: _, latency_ms: _, status: _, ts: _, vis } = self;
        text.beyond() + reason.beyond() + vis.beyond()
    }
}

impl Beyond for FeedItem {
    fn beyond(&self) -> usize {
        let FeedItem { epoch: _, seq: _, ts: _, kind, text, actor, importance: _, vis } = self;
        kind.beyond() + text.beyond() + actor.beyond() + vis.beyond()
    }
}

impl Beyond for Marker {
    fn beyond(&self) -> usize {
        let Marker { label, ts: _, vis } = self;
        label.beyond() + vis.beyond()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_weighs_what_is_in_it() {
        let empty = MatchState::default().bytes();
        assert!((300..4_000).contains(&empty), "{empty}");
        let mut state = MatchState::default();
        let text = ZoneContent::Text(TextZone { text: "x".repeat(4_000), mono: false });
        let zone = Zone { content: text, owner: None, label: String::new(), order: 0, vis: None };
        state.board.zones = (0..64).map(|i| (format!("z{i}"), zone.clone())).collect();
        let texts = state.bytes() - empty;
        assert!((256_000..320_000).contains(&texts), "{texts}");
        let seen = Some(Visibility::Sides(["a".to_owned()].into()));
        let cell = Cell { vis: seen, ..Cell::default() };
        let cells = ZoneContent::Grid(Grid { cells: vec![cell; 1_000], ..Grid::default() });
        state.board.zones = [("g".to_owned(), Zone { content: cells, ..zone })].into();
        let grid = state.bytes() - empty;
        assert!(
            grid > 1_000 * (size_of::<Cell>() + 11 * size_of::<String>()),
            "a list of viewers is a tree each: {grid}"
        );
    }
}
