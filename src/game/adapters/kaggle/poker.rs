//! OpenSpiel's universal poker: one hand of hold'em.
//!
//! Hole cards come from each agent's own observation, community cards from the history of actions. (The observation's
//! `Pot` is the highest bet times the players, not the chips that lie there.)

use super::cards::Name;
use super::connect::zone;
use super::{Episode, Final, Move, Table, fact, name, number, winners};
use crate::game::adapters::{RecordError, list, malformed};
use crate::game::wire::FeedLine;
use crate::game::{
    Arrange, Card, CardRole, Cards, Counter, Fact, Game, MatchResult, Snapshot, Visibility, Zone, ZoneContent,
};
use serde_json::Value;
use std::collections::BTreeSet;

const STREETS: [&str; 4] = ["Preflop", "Flop", "Turn", "River"];
const SHOWDOWN: &str = "Showdown";

pub(super) struct Poker {
    /// Community cards that each round brings.
    rounds: Vec<usize>,
    /// Community cards on the table after each step; fewer than [`Poker::dealt`] when the history is not recorded.
    community: Vec<Vec<Name>>,
}

/// The fields of an observation: `[Round 0][Money: 198 199][Private: 6s5d][PlayerContribution: 2 1]`.
struct Seen {
    round: usize,
    money: Vec<i64>,
    paid: Vec<i64>,
    hole: Vec<Name>,
}

fn look(ep: &Episode, t: usize, agent: usize) -> Result<Seen, RecordError> {
    let text = ep.obs_text(t, agent);
    let field = |key: &str| {
        let (_, rest) = text.split_once(&format!("[{key}"))?;
        Some(rest.split(']').next()?.trim())
    };
    let numbers = |key: &str| field(key)?.split_whitespace().map(|n| n.parse().ok()).collect::<Option<Vec<i64>>>();
    let seen = || {
        let seen = Seen {
            round: field("Round")?.parse().ok()?,
            money: numbers("Money:")?,
            // Older versions call it so.
            paid: numbers("PlayerContribution:").or_else(|| numbers("Ante:"))?,
            hole: Name::all(field("Private:")?)?,
        };
        (seen.money.len() == ep.agents() && seen.paid.len() == ep.agents()).then_some(seen)
    };
    seen().ok_or_else(|| {
        let problem = "expected [Round][Money:][Private:][PlayerContribution:] of universal poker";
        malformed(format!("steps[{t}][{agent}].observation.observationString"), problem)
    })
}

impl Poker {
    pub fn new(ep: &Episode) -> Option<Poker> {
        let french = ep.setting("numRanks").unwrap_or(13) == 13 && ep.setting("numSuits").unwrap_or(4) == 4;
        let words = ep.parameter("numBoardCards").and_then(Value::as_str)?;
        let rounds: Vec<usize> = words.split_whitespace().map(|n| n.parse().ok()).collect::<Option<_>>()?;
        let readable = (0..ep.agents()).all(|agent| look(ep, ep.first(), agent).is_ok());
        if !french || !readable || rounds.iter().any(|n| *n > 10) || rounds.len() > 10 {
            return None;
        }
        let mut poker = Poker { rounds, community: Vec::new() };
        poker.community = poker.deal(ep);
        Some(poker)
    }

    /// Walks the history of actions, chance included: hole cards, then each player's action and what was dealt on it.
    fn deal(&self, ep: &Episode) -> Vec<Vec<Name>> {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let history = ep.info.get("actionHistory").and_then(Value::as_array);
        let history: Vec<u64> = history.into_iter().flatten().filter_map(number).collect();
        let holes = usize::try_from(ep.setting("numHoleCards").unwrap_or(2)).unwrap_or(usize::MAX);
        let mut next = holes.saturating_mul(ep.agents());
        let mut table: Vec<Name> = Vec::new();
        let mut steps = Vec::with_capacity(ep.steps.len());
        for t in 0..ep.steps.len() {
            next = next.saturating_add((0..ep.agents()).filter(|a| ep.acted(t, *a) && !ep.illegal(t, *a)).count());
            let due = look(ep, t, 0).map_or(0, |seen| self.dealt(seen.round));
            // All in: what is left of the board was dealt on the last action.
            let due = if terminal(ep, t) { self.dealt(self.rounds.len()) } else { due };
            while table.len() < due
                && let Some(card) = history.get(next).and_then(|id| card_of_action(*id))
            {
                table.push(card);
                next += 1;
            }
            steps.push(table.clone());
        }
        steps
    }

    /// Community cards after `round`.
    fn dealt(&self, round: usize) -> usize {
        self.rounds.iter().take(round.saturating_add(1)).sum()
    }

    fn street(&self, ep: &Episode, t: usize) -> String {
        if self.showdown(ep, t) {
            return SHOWDOWN.to_owned();
        }
        let round = look(ep, t, 0).map_or(0, |seen| seen.round);
        match STREETS.get(round) {
            Some(street) if self.holdem() => (*street).to_owned(),
            _ => format!("Round {}", round + 1),
        }
    }

    fn holdem(&self) -> bool {
        self.rounds == [0, 3, 1, 1]
    }

    /// Whether hands are compared in step `t`: the hand is over and several have not folded.
    fn showdown(&self, ep: &Episode, t: usize) -> bool {
        terminal(ep, t) && (0..ep.agents()).all(|agent| ep.failure(t, agent).is_none()) && in_hand(ep, t).len() > 1
    }
}

fn terminal(ep: &Episode, t: usize) -> bool {
    ep.shared(t, "isTerminal").and_then(Value::as_bool).unwrap_or_default()
}

/// The number behind a card dealt by chance: four suits a rank, from the deuce of clubs.
fn card_of_action(id: u64) -> Option<Name> {
    let rank = "23456789TJQKA".chars().nth(usize::try_from(id / 4).ok()?)?;
    Name::new(rank, "cdhs".chars().nth(usize::try_from(id % 4).ok()?)?)
}

fn submission(ep: &Episode, t: usize, agent: usize) -> Option<i64> {
    ep.step(t, agent)?.action.get("submission")?.as_i64()
}

/// Who has not folded as of step `t`.
fn in_hand(ep: &Episode, t: usize) -> BTreeSet<usize> {
    let folded = |agent: &usize| (0..=t).any(|t| ep.acted(t, *agent) && submission(ep, t, *agent) == Some(0));
    (0..ep.agents()).filter(|agent| !folded(agent)).collect()
}

impl Table for Poker {
    fn game(&self, _ep: &Episode) -> Game {
        let name = if self.holdem() { "Texas Hold'em" } else { "Poker" };
        Game { id: "poker".into(), name: name.into() }
    }

    fn open(&self) -> bool {
        false
    }

    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError> {
        let table = look(ep, t, 0)?;
        let first = look(ep, ep.first(), 0)?;
        let over = ep.outcome.as_ref().filter(|_| t == ep.last() && terminal(ep, t));
        let showdown = self.showdown(ep, t);
        let playing = in_hand(ep, t);
        for agent in 0..ep.agents() {
            let id = ep.side(agent);
            let hole = look(ep, t, agent)?.hole;
            let open = showdown && playing.contains(&agent);
            let vis = if open { Visibility::Public } else { super::private(ep, agent) };
            let cards = hole.iter().enumerate().map(|(i, card)| card.card(format!("{id} {i}"), open, vis.clone()));
            let hand =
                Cards { arrange: Arrange::Row, role: CardRole::Hand, items: cards.collect(), ..Cards::default() };
            let hand = Zone { owner: Some(id.clone()), ..zone(ZoneContent::Cards(hand)) };
            snap.zones.insert(format!("hand{}", agent + 1), hand);
            let Some(side) = snap.sides.get_mut(&id) else { continue };
            // When the hand is over the pot has gone to somebody.
            let won = over.and_then(|outcome| outcome.get(agent)?.0);
            let start = (first.money[agent].saturating_add(first.paid[agent])) as f64;
            let (stack, paid) = match won {
                Some(won) => (start + won, 0.0),
                None => (table.money[agent] as f64, table.paid[agent] as f64),
            };
            side.counters = [("stack", "Stack", stack), ("bet", "In pot", paid)]
                .map(|(id, label, value)| Counter { id: id.into(), label: label.into(), value, ..Counter::default() })
                .into();
            side.role = match first.paid.iter().filter(|other| **other > first.paid[agent]).count() {
                _ if first.paid[agent] == 0 => "",
                0 => "Big blind",
                _ => "Small blind",
            }
            .into();
        }
        let due = if showdown { self.dealt(self.rounds.len()) } else { self.dealt(table.round) };
        let known = self.community.get(t).map_or(&[][..], Vec::as_slice);
        let cards = known.iter().enumerate().map(|(i, card)| card.card(format!("board {i}"), true, Visibility::Public));
        // Without a history the faces are not recorded: as many backs.
        let backs = (known.len()..due.max(known.len())).map(|_| Card::default());
        let board = Cards {
            arrange: Arrange::Slots,
            role: CardRole::Table,
            items: cards.chain(backs).collect(),
            slots: self.dealt(self.rounds.len()) as u16,
            ..Cards::default()
        };
        let pot: i64 = table.paid.iter().fold(0, |pot, paid| pot.saturating_add(*paid));
        snap.zones.insert("board".into(), Zone { label: format!("Pot {pot}"), ..zone(ZoneContent::Cards(board)) });
        snap.phase.turn = 1;
        snap.phase.turn_label = "Hand".into();
        snap.phase.name = self.street(ep, t);
        if self.holdem() {
            snap.phase.cycle = STREETS.iter().chain([&SHOWDOWN]).map(|street| (*street).to_owned()).collect();
        }
        Ok(())
    }

    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move {
        let before = t.checked_sub(1).and_then(|before| look(ep, before, agent).ok());
        let most = before.as_ref().and_then(|seen| seen.paid.iter().copied().max()).unwrap_or_default();
        let own = before.as_ref().and_then(|seen| seen.paid.get(agent).copied()).unwrap_or_default();
        // Bets are open at a street's start, when all have paid the same.
        let level = before.as_ref().is_some_and(|seen| in_hand(ep, t - 1).iter().all(|a| seen.paid[*a] == most));
        let paid = look(ep, t, agent).ok().and_then(|seen| seen.paid.get(agent).copied());
        let broke = look(ep, t, agent).is_ok_and(|seen| seen.money.get(agent) == Some(&0));
        let all_in = if broke { ", all in" } else { "" };
        Move::public(match submission(ep, t, agent) {
            _ if ep.illegal(t, agent) => "illegal move".to_owned(),
            Some(0) => "fold".to_owned(),
            Some(1) if most == own => "check".to_owned(),
            Some(1) => format!("call {most}{all_in}"),
            Some(to) if to > 1 => {
                let to = paid.unwrap_or(to);
                if level { format!("bet {}{all_in}", to.saturating_sub(own)) } else { format!("raise to {to}{all_in}") }
            }
            _ => "no move".to_owned(),
        })
    }

    fn lines(&self, ep: &Episode, t: usize) -> Vec<FeedLine> {
        let line = |text: String, importance| FeedLine { kind: "event".into(), text, actor: None, importance };
        let mut lines = Vec::new();
        if t == ep.first() {
            lines.extend(look(ep, t, 0).ok().map(|seen| {
                let blinds = seen.paid.iter().filter(|paid| **paid > 0).map(i64::to_string).collect::<Vec<_>>();
                line(format!("Blinds {}, hole cards are dealt", list(&blinds)), 30)
            }));
        }
        let now = self.community.get(t).map_or(&[][..], Vec::as_slice);
        let before = t.checked_sub(1).and_then(|t| self.community.get(t)).map_or(0, Vec::len);
        if now.len() > before {
            let cards = now[before..].iter().map(|card| card.text()).collect::<Vec<_>>().join(" ");
            let round = (0..self.rounds.len()).find(|round| self.dealt(*round) >= now.len()).unwrap_or_default();
            let street = STREETS.get(round).filter(|_| self.holdem() && now.len() - before == self.rounds[round]);
            lines.push(line(format!("{}: {cards}", street.copied().unwrap_or("Board")), 60));
        }
        if self.showdown(ep, t) {
            for agent in in_hand(ep, t) {
                let hole = look(ep, t, agent).map(|seen| seen.hole).unwrap_or_default();
                let cards = hole.iter().map(|card| card.text()).collect::<Vec<_>>().join(" ");
                lines.push(FeedLine {
                    actor: Some(ep.side(agent)),
                    ..line(format!("{} shows {cards}", name(ep, agent)), 70)
                });
            }
        }
        lines
    }

    /// Rewards are chips won and lost.
    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult {
        let mut result = winners(ep, |agent| finals[agent].reward.is_some_and(|chips| chips > 0.0));
        let last = ep.last();
        result.reason = match result.draw {
            true => "the pot is split".into(),
            false if self.showdown(ep, last) => "at the showdown".into(),
            false => {
                let folded: Vec<String> =
                    (0..ep.agents()).filter(|a| !in_hand(ep, last).contains(a)).map(|a| name(ep, a)).collect();
                format!("{} folded", list(&folded))
            }
        };
        result
    }

    fn facts(&self, ep: &Episode) -> Vec<Fact> {
        let setting = |key: &str| ep.parameter(key).and_then(Value::as_str);
        let mut facts = Vec::new();
        facts.extend(setting("blind").map(|blinds| fact("Blinds", super::clip(&blinds.replace(' ', " / "), 60))));
        facts.extend(setting("stack").map(|stacks| fact("Stacks", super::clip(&stacks.replace(' ', " / "), 60))));
        facts.push(fact("Players", number(ep.agents()).to_string()));
        facts
    }
}
