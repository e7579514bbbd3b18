//! Who may see what.

pub use super::delay::{DelayError, Delayed};
use super::state::*;
use std::fmt;
use std::str::FromStr;

/// Through whose eyes a stream sees the match.
///
/// A visibility that is there is obeyed as it stands, by owners too: `"public"` shows to everybody, a list to the views
/// of the sides in it. The table says what holds where it is missing. [`View::All`] sees everything always.
///
/// | part | without a visibility of its own it is seen by | who may not see it gets |
/// |---|---|---|
/// | zone without an owner | everybody | nothing, not even its label; of cards as many backs |
/// | zone with an owner | the owner | the same |
/// | card, face up | who sees the zone | a back in its place: no face, no id, `lit` and `side` stay |
/// | card, face down | the zone's owner | the same |
/// | cell, body, arrow | who sees the zone | nothing |
/// | thought, action | its own side | nothing |
/// | feed line, marker | nobody | nothing |
///
/// A zone that is hidden hides everything in it, whatever that says of itself. Everything else on a board is public:
/// sides with clocks and counters, phase, eval, series, result. The end of a match reveals nothing by itself.
///
/// A face that is left may be shown: the audience may see through the back of a card that is not [`Card::up`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What is public or revealed.
    #[default]
    Spectator,
    /// What is public and what this side may see.
    Side(SideId),
    /// Everything. Must be asked for by name.
    All,
}

/// A view's name was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("view: expected `spectator`, `side:<id>` or `all`")]
pub struct ViewError;

/// `spectator`, `all`, `side:<id>`, or just the id. A word that names no side sees what a spectator sees.
impl FromStr for View {
    type Err = ViewError;

    fn from_str(name: &str) -> Result<View, ViewError> {
        match name {
            "" | "side:" => Err(ViewError),
            "spectator" => Ok(View::Spectator),
            "all" => Ok(View::All),
            _ => Ok(View::Side(name.strip_prefix("side:").unwrap_or(name).to_owned())),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            View::Spectator => f.write_str("spectator"),
            View::Side(id) => write!(f, "side:{id}"),
            View::All => f.write_str("all"),
        }
    }
}

impl View {
    /// The state with everything removed that this view may not see. Hidden cards stay as backs, so their number shows.
    pub fn filter(&self, state: &MatchState) -> MatchState {
        if *self == View::All {
            return state.clone();
        }
        let owned = |vis: &Option<Visibility>, side: &SideId| self.sees(vis.as_ref(), || self.is(side));
        MatchState {
            match_id: state.match_id.clone(),
            epoch: state.epoch,
            seq: state.seq,
            ts: state.ts,
            started: state.started,
            board: self.board(&state.board),
            thoughts: seen(&state.thoughts, |side, thought| owned(&thought.vis, side)),
            actions: seen(&state.actions, |side, action| owned(&action.vis, side)),
            feed: state.feed.iter().filter(|item| self.sees(item.vis.as_ref(), || false)).cloned().collect(),
            scene: state.scene.clone(),
            marker: state.marker.clone().filter(|marker| self.sees(marker.vis.as_ref(), || false)),
        }
    }

    fn is(&self, side: &SideId) -> bool {
        matches!(self, View::Side(own) if own == side)
    }

    fn sees(&self, vis: Option<&Visibility>, missing: impl FnOnce() -> bool) -> bool {
        match (self, vis) {
            (View::All, _) | (_, Some(Visibility::Public)) => true,
            (View::Spectator, Some(Visibility::Sides(_))) => false,
            (View::Side(own), Some(Visibility::Sides(list))) => list.contains(own),
            (_, None) => missing(),
        }
    }

    /// Every field is named, so that a new one cannot be forgotten here.
    fn board(&self, board: &Snapshot) -> Snapshot {
        let Snapshot { title, round, game, phase, sides, zones, eval, series, result, facts, starts_at } = board;
        Snapshot {
            title: title.clone(),
            round: round.clone(),
            game: game.clone(),
            phase: phase.clone(),
            sides: sides.clone(),
            zones: zones.iter().filter_map(|(id, zone)| Some((id.clone(), self.zone(zone)?))).collect(),
            eval: eval.clone(),
            series: series.clone(),
            result: result.clone(),
            facts: facts.clone(),
            starts_at: *starts_at,
        }
    }

    fn zone(&self, zone: &Zone) -> Option<Zone> {
        let Zone { content, owner, label, order, vis } = zone;
        if !self.sees(vis.as_ref(), || owner.as_ref().is_none_or(|owner| self.is(owner))) {
            let ZoneContent::Cards(cards) = content else { return None };
            let items = cards.items.iter().map(|_| Card::default()).collect();
            return Some(Zone {
                content: ZoneContent::Cards(Cards { items, ..without_items(cards) }),
                owner: owner.clone(),
                label: String::new(),
                order: *order,
                vis: vis.clone(),
            });
        }
        let content = match content {
            ZoneContent::Grid(grid) => ZoneContent::Grid(self.grid(grid)),
            ZoneContent::Cards(cards) => {
                let items = cards.items.iter().map(|card| self.card(card, owner.as_ref())).collect();
                ZoneContent::Cards(Cards { items, ..without_items(cards) })
            }
            ZoneContent::Text(text) => ZoneContent::Text(text.clone()),
            ZoneContent::Picture(picture) => ZoneContent::Picture(picture.clone()),
        };
        Some(Zone { content, owner: owner.clone(), label: label.clone(), order: *order, vis: vis.clone() })
    }

    fn grid(&self, grid: &Grid) -> Grid {
        let Grid { cols, rows, ground, col_labels, row_labels, cells, bodies, arrows } = grid;
        let with_zone = || true;
        Grid {
            cols: *cols,
            rows: *rows,
            ground: *ground,
            col_labels: col_labels.clone(),
            row_labels: row_labels.clone(),
            cells: cells.iter().filter(|c| self.sees(c.vis.as_ref(), with_zone)).cloned().collect(),
            bodies: bodies.iter().filter(|b| self.sees(b.vis.as_ref(), with_zone)).cloned().collect(),
            arrows: arrows.iter().filter(|a| self.sees(a.vis.as_ref(), with_zone)).cloned().collect(),
        }
    }

    /// A card in a zone that may be seen. A back has no id: ids often say what the card is.
    fn card(&self, card: &Card, owner: Option<&SideId>) -> Card {
        if self.sees(card.vis.as_ref(), || card.up || owner.is_some_and(|owner| self.is(owner))) {
            return card.clone();
        }
        Card { lit: card.lit, side: card.side.clone(), ..Card::default() }
    }
}

fn without_items(cards: &Cards) -> Cards {
    let Cards { arrange, role, items: _, count, slots } = cards;
    Cards { arrange: *arrange, role: *role, items: Vec::new(), count: *count, slots: *slots }
}

fn seen<T: Clone>(
    all: &std::collections::BTreeMap<SideId, T>,
    may: impl Fn(&SideId, &T) -> bool,
) -> std::collections::BTreeMap<SideId, T> {
    all.iter().filter(|(side, part)| may(side, part)).map(|(side, part)| (side.clone(), part.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::{Event, apply};

    /// Poker by two, as a spectator's stream gets it.
    fn table() -> MatchState {
        let json = r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":9,"type":"match.started","data":{
            "sides":{"a":{"seat":0},"b":{"seat":1}},
            "zones":{
              "a.hand":{"kind":"cards","role":"hand","owner":"a","label":"Aces","items":[
                 {"id":"As","face":{"rank":"A","suit":"spades"},"lit":true},{"id":"Ah","face":{"rank":"A"}}]},
              "b.hand":{"kind":"cards","owner":"b","vis":["a"],"items":[{"id":"2c","up":true,"face":{"rank":"2"}}]},
              "board":{"kind":"cards","items":[
                 {"id":"Kd","up":true,"face":{"rank":"K"}},
                 {"id":"Qd","lit":true,"side":"a","face":{"rank":"Q"}},
                 {"id":"Jd","vis":["b"],"up":true,"face":{"rank":"J"}}]},
              "deck":{"kind":"cards","vis":[],"count":43},
              "notes":{"kind":"text","owner":"a","text":"bluff"}}}}"#;
        let mut state = MatchState::default();
        apply(&mut state, &Event::from_json(json).unwrap()).unwrap();
        state
    }

    fn ranks(state: &MatchState, zone: &str) -> Vec<String> {
        let ZoneContent::Cards(cards) = &state.board.zones[zone].content else { panic!("{zone} has cards") };
        cards.items.iter().map(|c| c.face.as_ref().map_or("-".to_owned(), |f| f.rank.clone())).collect()
    }

    #[test]
    fn cards_are_seen_by_owner_list_or_everybody_as_they_say() {
        let state = table();
        for (view, a, b, board) in [
            ("spectator", ["-", "-"], ["-"], ["K", "-", "-"]),
            ("side:a", ["A", "A"], ["2"], ["K", "-", "-"]),
            // Owns the hand, but the list leaves it out (Hanabi).
            ("b", ["-", "-"], ["-"], ["K", "-", "J"]),
            ("all", ["A", "A"], ["2"], ["K", "Q", "J"]),
        ] {
            let seen = view.parse::<View>().unwrap().filter(&state);
            assert_eq!(ranks(&seen, "a.hand"), a, "{view}");
            assert_eq!(ranks(&seen, "b.hand"), b, "{view}");
            assert_eq!(ranks(&seen, "board"), board, "{view}");
            assert_eq!(seen.board.zones.contains_key("notes"), matches!(view, "side:a" | "all"), "{view}");
        }
    }

    #[test]
    fn hidden_card_in_visible_zone_keeps_light_and_side_but_no_id() {
        let seen = View::Spectator.filter(&table());
        let ZoneContent::Cards(board) = &seen.board.zones["board"].content else { panic!("cards") };
        let back = Card { lit: true, side: Some("a".to_owned()), ..Card::default() };
        assert_eq!(board.items[1], back);
        assert_eq!(board.items[2], Card::default(), "a hidden card lies face down");
    }

    #[test]
    fn hidden_card_zone_keeps_its_place_and_number_only() {
        let seen = View::Spectator.filter(&table());
        let hand = &seen.board.zones["a.hand"];
        assert_eq!((hand.owner.as_deref(), hand.label.as_str()), (Some("a"), ""));
        let ZoneContent::Cards(cards) = &hand.content else { panic!("cards") };
        assert_eq!((cards.role, &cards.items[..]), (CardRole::Hand, &[Card::default(), Card::default()][..]));
        let ZoneContent::Cards(deck) = &seen.board.zones["deck"].content else { panic!("cards") };
        assert_eq!(deck.count, Some(43));
    }

    #[test]
    fn match_that_ended_reveals_nothing() {
        let mut state = table();
        state.board.result = Some(MatchResult { winners: vec!["a".to_owned()], ..MatchResult::default() });
        assert_eq!(ranks(&View::Spectator.filter(&state), "a.hand"), ["-", "-"]);
    }

    #[test]
    fn view_names_parse_and_print() {
        for name in ["spectator", "all", "side:white"] {
            assert_eq!(name.parse::<View>().unwrap().to_string(), name);
        }
        assert_eq!("white".parse(), Ok(View::Side("white".to_owned())));
        assert_eq!("".parse::<View>(), Err(ViewError));
        assert_eq!("side:".parse::<View>(), Err(ViewError));
    }
}
