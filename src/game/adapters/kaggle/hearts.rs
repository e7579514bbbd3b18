//! OpenSpiel's hearts: one deal of thirteen tricks, as each agent's own information state tells it.

use super::cards::Name;
use super::connect::zone;
use super::{Episode, Final, Move, Table, list, name, winners};
use crate::game::adapters::{RecordError, malformed};
use crate::game::wire::FeedLine;
use crate::game::{
    Arrange, CardRole, Cards, Counter, Game, MatchResult, SideResult, Snapshot, Suit, Visibility, Zone, ZoneContent,
};

const SEATS: [&str; 4] = ["North", "East", "South", "West"];
/// All hearts and the queen of spades; the final reward is this minus the points taken.
const POINTS: f64 = 26.0;

pub(super) struct Hearts;

/// What an information state says to everybody.
struct Public {
    /// `Across`; `No Pass` when there is no passing.
    direction: String,
    /// Whether cards are still to be passed.
    passing: bool,
    /// Tricks in order, each as `(seat, card)` from the lead.
    tricks: Vec<Vec<(usize, Name)>>,
    points: [i64; 4],
}

impl Hearts {
    pub fn new(ep: &Episode) -> Option<Hearts> {
        let readable = |agent| hand(ep, ep.first(), agent).is_ok_and(|hand| !hand.is_empty());
        (ep.agents() == 4 && public(ep, ep.first()).is_ok() && (0..4).all(readable)).then_some(Hearts)
    }
}

fn unreadable(t: usize, agent: usize, problem: &str) -> RecordError {
    malformed(format!("steps[{t}][{agent}].observation.observationString"), problem)
}

/// Lines of a section such as `Hand:` up to the next empty line.
fn section<'a>(text: &'a str, title: &str) -> Option<impl Iterator<Item = &'a str>> {
    let (_, rest) = text.split_once(title)?;
    Some(rest.lines().skip(1).take_while(|line| !line.trim().is_empty()))
}

/// An agent's own hand, suit by suit. The terminal state has no hand, only the deal as it was.
fn hand(ep: &Episode, t: usize, agent: usize) -> Result<Vec<Name>, RecordError> {
    let Some(suits) = section(ep.obs_text(t, agent), "Hand:") else { return Ok(Vec::new()) };
    let mut cards = Vec::new();
    for line in suits {
        let (suit, ranks) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if ranks.trim() == "none" {
            continue;
        }
        for rank in ranks.trim().chars() {
            let card = suit.chars().next().and_then(|suit| Name::new(rank, suit));
            cards.push(card.ok_or_else(|| unreadable(t, agent, "expected suits and ranks below Hand:"))?);
        }
    }
    Ok(cards)
}

fn public(ep: &Episode, t: usize) -> Result<Public, RecordError> {
    let text = ep.obs_text(t, 0);
    let direction = text.lines().find_map(|line| line.strip_prefix("Pass Direction:")).map(|d| d.trim().to_owned());
    let direction = direction.ok_or_else(|| unreadable(t, 0, "expected a line Pass Direction:"))?;
    let mut tricks = Vec::new();
    // Below a line of seats, N E S W N E S; a card stands below who played it, three characters a seat.
    for line in section(text, "Tricks:").into_iter().flatten().skip(1) {
        let chars: Vec<char> = line.chars().collect();
        let mut trick = Vec::new();
        for (column, card) in chars.chunks(3).enumerate().filter(|(_, card)| card[0] != ' ') {
            let card = card.get(1).and_then(|suit| Name::new(card[0], *suit));
            trick.push((column % 4, card.ok_or_else(|| unreadable(t, 0, "expected cards below Tricks:"))?));
        }
        tricks.push(trick);
    }
    let mut points = [0; 4];
    for (points, line) in points.iter_mut().zip(section(text, "Points:").into_iter().flatten()) {
        let number = line.split(':').nth(1).and_then(|n| n.trim().parse().ok());
        *points = number.ok_or_else(|| unreadable(t, 0, "expected a number for each seat below Points:"))?;
    }
    // Nobody has played when the passed cards arrive.
    let passing = tricks.is_empty() && direction != "No Pass" && !text.contains("Received Cards:");
    Ok(Public { direction, passing, tricks, points })
}

impl Public {
    fn played(&self) -> usize {
        self.tricks.iter().map(Vec::len).sum()
    }
}

/// Who takes a whole trick: the highest card of the suit that was led.
fn taker(trick: &[(usize, Name)]) -> Option<(usize, Name)> {
    let led = trick.first()?.1.suit;
    let high = trick.iter().filter(|(_, card)| card.suit == led).max_by_key(|(_, card)| card.height())?;
    (trick.len() == 4).then_some(*high)
}

impl Table for Hearts {
    fn game(&self, _ep: &Episode) -> Game {
        Game { id: "hearts".into(), name: "Hearts".into() }
    }

    fn open(&self) -> bool {
        false
    }

    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError> {
        let table = public(ep, t)?;
        for (agent, seat) in SEATS.iter().enumerate() {
            let id = ep.side(agent);
            let vis = super::private(ep, agent);
            let cards = hand(ep, t, agent)?;
            let items = cards.iter().enumerate().map(|(i, card)| card.card(format!("{id} {i}"), false, vis.clone()));
            let cards =
                Cards { arrange: Arrange::Fan, role: CardRole::Hand, items: items.collect(), ..Cards::default() };
            let hand = Zone { owner: Some(id.clone()), ..zone(ZoneContent::Cards(cards)) };
            snap.zones.insert(format!("hand{}", agent + 1), hand);
            let Some(side) = snap.sides.get_mut(&id) else { continue };
            side.role = (*seat).into();
            side.counters = vec![Counter {
                id: "points".into(),
                label: "Points".into(),
                value: table.points[agent] as f64,
                ..Counter::default()
            }];
        }
        let trick = table.tricks.last().map_or(&[][..], Vec::as_slice);
        let taken = taker(trick);
        let items = trick.iter().map(|(seat, card)| {
            let mut item = card.card(format!("trick {seat}"), true, Visibility::Public);
            item.side = Some(ep.side(*seat));
            item.lit = taken.is_some_and(|(taker, _)| taker == *seat);
            item
        });
        let cards = Cards {
            arrange: Arrange::Slots,
            role: CardRole::Table,
            items: items.collect(),
            slots: 4,
            ..Cards::default()
        };
        snap.zones.insert("trick".into(), Zone { label: "Trick".into(), ..zone(ZoneContent::Cards(cards)) });
        snap.phase.turn = super::number(table.tricks.len().max(1));
        snap.phase.turn_label = "Trick".into();
        snap.phase.name = if table.passing { "Pass" } else { "Play" }.into();
        snap.phase.cycle = vec!["Pass".into(), "Play".into()];
        Ok(())
    }

    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move {
        let word = ep.step(t, agent).and_then(|step| {
            step.info.get("actionSubmittedToString").or_else(|| step.action.get("actionString"))?.as_str()
        });
        let card = word.and_then(|word| Name::all(word)?.first().copied());
        let passing = t.checked_sub(1).and_then(|before| public(ep, before).ok()).is_some_and(|table| table.passing);
        match card {
            // An illegal card is still in the hand.
            _ if ep.illegal(t, agent) => Move::public("illegal move"),
            Some(card) if passing => {
                Move { text: "passes a card".into(), secret: Some(format!("passes {}", card.text())) }
            }
            Some(card) => Move::public(card.text()),
            None => Move::public("no move"),
        }
    }

    fn lines(&self, ep: &Episode, t: usize) -> Vec<FeedLine> {
        let Ok(now) = public(ep, t) else { return Vec::new() };
        let line = |text: String, actor: Option<usize>, importance| FeedLine {
            kind: "event".into(),
            text,
            actor: actor.map(|agent| ep.side(agent)),
            importance,
        };
        if t == ep.first() {
            let text = match now.passing {
                true => format!("Three cards pass {}", now.direction.to_lowercase()),
                false => "No cards pass".to_owned(),
            };
            return vec![line(text, None, 30)];
        }
        let Some(before) = t.checked_sub(1).and_then(|before| public(ep, before).ok()) else { return Vec::new() };
        let trick = now.tricks.last().map_or(&[][..], Vec::as_slice);
        let Some((seat, card)) = taker(trick).filter(|_| now.played() > before.played()) else { return Vec::new() };
        let hearts = trick.iter().filter(|(_, card)| card.suit == Suit::Hearts).count();
        let queen = trick.iter().any(|(_, card)| card.suit == Suit::Spades && card.rank == 'Q');
        let points = hearts + if queen { 13 } else { 0 };
        let gain = match points {
            0 => String::new(),
            1 => ", 1 point".to_owned(),
            n => format!(", {n} points"),
        };
        let text = format!("{} takes trick {} with {}{gain}", name(ep, seat), now.tricks.len(), card.text());
        vec![line(text, Some(seat), if queen { 80 } else { 40 })]
    }

    /// Rewards are 26 − points: the fewest points win, and several can have them.
    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult {
        let failed: Vec<String> = (0..4)
            .filter_map(|agent| finals[agent].failure.map(|f| format!("{} {}", name(ep, agent), super::failed(f))))
            .collect();
        let points: Option<Vec<f64>> = finals.iter().map(|end| end.reward.map(|reward| POINTS - reward)).collect();
        let Some(points) = points.filter(|_| failed.is_empty()) else {
            return MatchResult { aborted: true, reason: list(&failed), ..MatchResult::default() };
        };
        let fewest = points.iter().copied().fold(f64::INFINITY, f64::min);
        let mut result = winners(ep, |agent| points[agent] == fewest);
        result.reason = format!("fewest points: {fewest}");
        for (agent, points) in points.iter().enumerate() {
            result.sides.insert(ep.side(agent), SideResult { score: Some(*points), reason: String::new() });
        }
        result
    }
}
