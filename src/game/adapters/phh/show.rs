//! A hand as events.

use super::super::shared::{clip, match_id};
use super::super::{Format, Record, RecordError, Script};
use super::hand::{Hand, HandCard, Outcome, Step, rank_name};
use super::rank::Known;
use super::source::{Deal, Source};
use super::{END_MS, START_MS};
use crate::game::limits::{TEXT_CHARS, THOUGHT_CHARS};
use crate::game::wire::{ActionDecided, AgentThinking, Body, FeedLine, TurnStarted};
use crate::game::{
    Arrange, Card, CardRole, Cards, Counter, Face, Fact, MatchResult, Side, SideResult, SideStatus, Snapshot, TextZone,
    Visibility, Zone, ZoneContent,
};

/// Plays the hand of `source` and writes it down as events.
pub(super) fn record(text: &str, source: Source) -> Result<Record, RecordError> {
    let mut hand = Hand::new(&source);
    let mut show = Show { base: base(&source), script: Script::new(&match_id("poker", text), source.start) };
    let mut opening = show.snapshot(&hand, None);
    opening.starts_at = Some(source.start + START_MS);
    show.script.public(0, Body::MatchStarted(Box::new(opening)));

    let mut at = START_MS;
    let turn = TurnStarted { turn: source.hand, name: Some(hand.street_name().into()), ..TurnStarted::default() };
    show.script.public(at, Body::TurnStarted(turn));
    let posted = hand.post();
    show.step(at, &hand, next_actor(&source, 0), posted, 0);
    for (index, action) in source.actions.iter().enumerate() {
        let step = hand.apply(action).map_err(|problem| RecordError::Malformed {
            place: format!("actions[{index}]"),
            problem: clip(&problem, TEXT_CHARS),
        })?;
        at += step.wait;
        show.step(at, &hand, next_actor(&source, index + 1), step, index);
    }

    let street =
        if hand.showdown { source.variant.streets[source.variant.streets.len() - 1] } else { hand.street_name() };
    let names: Vec<&str> = source.players.iter().map(String::as_str).collect();
    let mut truncated = source.truncated.clone();
    let ended = hand.finish();
    let result = match &ended {
        Some(outcome) => result(outcome, &names),
        None => {
            let reason = match (&truncated, hand.showdown) {
                (None, true) => "the record does not say who won".to_owned(),
                _ => format!("the record ends on: {street}"),
            };
            if !hand.showdown && truncated.is_none() {
                truncated = Some(format!("the actions end before the hand does ({street})"));
            }
            MatchResult { aborted: true, reason, ..MatchResult::default() }
        }
    };
    at += END_MS;
    let mut last = show.snapshot(&hand, None);
    last.phase.name = street.into();
    for id in &result.winners {
        if let (Some(side), Some(r)) = (last.sides.get_mut(id), result.sides.get(id)) {
            side.status = SideStatus::Winner;
            side.status_text = r.reason.clone();
        }
    }
    show.script.public(at, Body::StateSnapshot(Box::new(last)));
    for (id, side) in &result.sides {
        if !side.reason.is_empty() {
            let name = source.players.get(seat(id)).map(|n| clip(n, 24)).unwrap_or_default();
            show.feed(at, "event", format!("{name} {}", side.reason), Some(id.clone()), 90);
        }
    }
    show.script.public(at, Body::MatchEnded(result));
    Ok(show.script.finish(Format::Phh, truncated))
}

fn id(index: usize) -> String {
    format!("p{}", index + 1)
}

fn seat(id: &str) -> usize {
    id[1..].parse::<usize>().unwrap_or(1).saturating_sub(1)
}

/// Who acts next: the record knows.
fn next_actor(source: &Source, index: usize) -> Option<usize> {
    let mut words = source.actions.get(index)?.split_whitespace();
    let (player, verb) = (words.next()?, words.next()?);
    let index = player.strip_prefix('p')?.parse::<usize>().ok()?.checked_sub(1)?;
    (verb != "sm" && index < source.players.len()).then_some(index)
}

fn result(outcome: &Outcome, names: &[&str]) -> MatchResult {
    let winners: Vec<String> = (0..names.len()).filter(|&i| outcome.net[i] > 0.0).map(id).collect();
    let takers = outcome.won.iter().filter(|w| !w.is_zero()).count();
    let pot: super::chips::Chips = outcome.won.iter().copied().sum();
    let reason = match (takers, outcome.showdown) {
        (0..=1, true) => format!("a pot of {pot} at showdown"),
        (0..=1, false) => format!("a pot of {pot}, everybody else folded"),
        _ => format!("pots of {pot} shared at showdown"),
    };
    let side = |index: usize| SideResult {
        score: Some(outcome.net[index]),
        reason: if outcome.won[index].is_zero() { String::new() } else { format!("wins {}", outcome.won[index]) },
    };
    MatchResult {
        draw: winners.is_empty(),
        winners,
        aborted: false,
        reason,
        sides: (0..names.len()).map(|i| (id(i), side(i))).collect(),
    }
}

/// What stays the same through the hand.
fn base(source: &Source) -> Snapshot {
    let mut snapshot = Snapshot {
        title: if source.title.is_empty() { source.variant.name.to_owned() } else { source.title.clone() },
        round: source.table.clone(),
        facts: facts(source),
        ..Snapshot::default()
    };
    snapshot.game.id = "poker".into();
    snapshot.game.name = source.variant.name.into();
    snapshot.phase.turn = source.hand;
    snapshot.phase.turn_label = "Hand".into();
    snapshot.phase.cycle = source.variant.streets.iter().map(|&s| s.to_owned()).collect();
    for (index, name) in source.players.iter().enumerate() {
        let side = Side {
            seat: u8::try_from(index).unwrap_or(u8::MAX),
            name: name.clone(),
            role: role(source, index),
            blurb: source.stacks[index].map_or(String::new(), |s| format!("{s} chips")),
            ..Side::default()
        };
        snapshot.sides.insert(id(index), side);
    }
    snapshot
}

/// `Small blind`, `Big blind`, `Straddle`, `Dealer`: the last seat has the button. Stud has none.
fn role(source: &Source, index: usize) -> String {
    let posts = |i: usize| !source.blinds[i].is_zero();
    let last = source.players.len() - 1;
    if !(0..=last).any(posts) {
        return String::new();
    }
    // Heads-up the button is the small blind.
    if index == last {
        return "Dealer".into();
    }
    let before = (0..index).filter(|&i| posts(i)).count() + usize::from(last == 1);
    let posters = (0..=last).filter(|&i| posts(i)).count();
    match (posts(index), before, posters) {
        (false, ..) => "",
        (_, 0, 2..) => "Small blind",
        (_, 0 | 1, _) => "Big blind",
        _ => "Straddle",
    }
    .into()
}

fn facts(source: &Source) -> Vec<Fact> {
    let list = |amounts: &[super::chips::Chips]| {
        let mut amounts: Vec<_> = amounts.iter().copied().filter(|a| !a.is_zero()).collect();
        amounts.sort_unstable();
        amounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" / ")
    };
    let mut antes = source.antes.clone();
    antes.dedup();
    let bring_in = if source.bring_in.is_zero() { String::new() } else { source.bring_in.to_string() };
    let all = [
        ("Blinds", list(&source.blinds)),
        ("Ante", list(&antes)),
        ("Bring-in", bring_in),
        ("Currency", source.currency.clone()),
        ("Place", source.site.clone()),
        ("Date", source.date.clone().unwrap_or_default()),
    ];
    let fact = |(label, text): (&str, String)| Fact { label: label.into(), text };
    all.into_iter().filter(|(_, text)| !text.is_empty()).map(fact).collect()
}

struct Show {
    base: Snapshot,
    script: Script,
}

impl Show {
    /// The events of one action.
    fn step(&mut self, at: i64, hand: &Hand<'_>, next: Option<usize>, step: Step, number: usize) {
        if let Some(index) = step.actor {
            if !step.comment.is_empty() {
                let thought = AgentThinking {
                    side: id(index),
                    thought_id: format!("{}-{number}", id(index)),
                    delta: clip(&step.comment, THOUGHT_CHARS),
                    done: true,
                };
                let owner = Visibility::Sides([id(index)].into());
                self.script.push(at, Some(owner), Body::AgentThinking(thought));
            }
            let decided =
                ActionDecided { side: id(index), text: clip(&step.decided, TEXT_CHARS), ..ActionDecided::default() };
            self.script.public(at, Body::ActionDecided(decided));
        } else if !step.comment.is_empty() {
            self.feed(at, "event", clip(&step.comment, TEXT_CHARS), None, 40);
        }
        let snapshot = self.snapshot(hand, next);
        self.script.public(at, Body::StateSnapshot(Box::new(snapshot)));
        for (text, actor, importance) in step.feed {
            let kind = if actor.is_some() { "move" } else { "event" };
            self.feed(at, kind, text, actor.map(id), importance);
        }
    }

    fn feed(&mut self, at: i64, kind: &str, text: String, actor: Option<String>, importance: u8) {
        let line = FeedLine { kind: kind.into(), text: clip(&text, TEXT_CHARS), actor, importance };
        self.script.public(at, Body::Feed(line));
    }

    fn snapshot(&self, hand: &Hand<'_>, next: Option<usize>) -> Snapshot {
        let mut snapshot = self.base.clone();
        snapshot.phase.name = hand.street_name().into();
        snapshot.phase.active = next.map(id).into_iter().collect();
        for (index, player) in hand.players.iter().enumerate() {
            let Some(side) = snapshot.sides.get_mut(&id(index)) else { continue };
            let counter = |id: &str, label: &str, value: f64| Counter {
                id: id.into(),
                label: label.into(),
                value,
                ..Counter::default()
            };
            side.counters.extend(player.stack.map(|s| counter("stack", "Stack", s.value())));
            side.counters.push(counter("bet", "Bet", player.bet.value()));
            side.status = if next == Some(index) { SideStatus::Thinking } else { SideStatus::Active };
            side.status_text = match (player.folded, player.mucked, player.all_in()) {
                (true, ..) => "folded",
                (_, true, _) => "mucked",
                (_, _, true) => "all in",
                _ => "",
            }
            .into();
            let items = player.cards.iter().map(|c| card(c, &id(index))).collect();
            let cards = Cards { arrange: Arrange::Row, role: CardRole::Hand, items, ..Cards::default() };
            snapshot
                .zones
                .insert(format!("hand-{}", id(index)), zone(ZoneContent::Cards(cards), Some(id(index)), "", 0));
        }
        if hand.source.variant.deal == Deal::Board || !hand.board.is_empty() {
            let up = |(i, face): (usize, &Option<Known>)| Card {
                id: format!("board-{i}"),
                up: face.is_some(),
                face: face.map(known),
                vis: Some(Visibility::Public),
                ..Card::default()
            };
            let items = hand.board.iter().enumerate().map(up).collect();
            let cards = Cards { arrange: Arrange::Slots, role: CardRole::Table, items, count: None, slots: 5 };
            snapshot.zones.insert("board".into(), zone(ZoneContent::Cards(cards), None, "Board", 0));
        }
        let pot = TextZone { text: hand.total().to_string(), mono: false };
        snapshot.zones.insert("pot".into(), zone(ZoneContent::Text(pot), None, "Pot", 1));
        snapshot
    }
}

/// A zone that everybody sees; what is hidden in it is hidden card by card.
fn zone(content: ZoneContent, owner: Option<String>, label: &str, order: i32) -> Zone {
    Zone { content, owner, label: label.into(), order, vis: Some(Visibility::Public) }
}

fn card(card: &HandCard, owner: &str) -> Card {
    let vis = if card.up { Visibility::Public } else { Visibility::Sides([owner.to_owned()].into()) };
    Card { id: card.id.clone(), up: card.up, face: card.face.map(known), vis: Some(vis), ..Card::default() }
}

fn known((rank, suit): Known) -> Face {
    Face { rank: rank_name(rank), suit: Some(suit), ..Face::default() }
}
