//! Environments without a table of their own: names, scores, statuses and a few words.
//!
//! What an agent saw or did may be hidden from the others, so nothing of it is shown unless the game is known to hide
//! nothing (or the part is known to be public).

use super::connect::zone;
use super::{Episode, Final, Move, Table, list, name, rewards, winners};
use crate::game::adapters::{RecordError, clip};
use crate::game::limits::ZONE_TEXT_CHARS;
use crate::game::{Counter, Game, MatchResult, Snapshot, TextZone, ZoneContent};
use serde_json::Value;

/// OpenSpiel games in which everybody knows everything.
const OPEN_GAMES: [&str; 15] = [
    "amazons",
    "breakthrough",
    "checkers",
    "chess",
    "clobber",
    "connect_four",
    "go",
    "havannah",
    "hex",
    "lines_of_action",
    "nine_mens_morris",
    "othello",
    "oware",
    "tic_tac_toe",
    "ultimate_tic_tac_toe",
];
const SIGNS: [&str; 3] = ["rock", "paper", "scissors"];

pub(super) struct Generic {
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    RockPaperScissors,
    PlanetWars,
    /// Teams of a spymaster (agents 0 and 2, who know all roles) and a guesser.
    WordAssociation,
    Crawl,
    OpenSpiel {
        open: bool,
    },
    Unknown,
}

impl Generic {
    pub fn new(ep: &Episode) -> Generic {
        let kind = match (ep.name.as_str(), ep.agents()) {
            ("rps", 2) => Kind::RockPaperScissors,
            ("planet_wars", 2) => Kind::PlanetWars,
            ("word_association", 4) => Kind::WordAssociation,
            ("crawl", 2) => Kind::Crawl,
            (name, _) if ep.open_spiel() => {
                Kind::OpenSpiel { open: OPEN_GAMES.contains(&name.trim_start_matches("open_spiel_")) }
            }
            _ => Kind::Unknown,
        };
        Generic { kind }
    }

    fn summary(&self, ep: &Episode, t: usize) -> String {
        match self.kind {
            Kind::RockPaperScissors if t > 0 => {
                let choices = (0..ep.agents()).map(|agent| format!("{}: {}", name(ep, agent), sign(ep, t, agent)));
                choices.collect::<Vec<_>>().join("\n")
            }
            Kind::WordAssociation => words(ep, t).unwrap_or_default(),
            Kind::OpenSpiel { open: true } if !ep.obs_text(t, 0).starts_with('{') => ep.obs_text(t, 0).to_owned(),
            _ => format!("Step {} of {}", t - ep.first(), ep.last() - ep.first()),
        }
    }
}

fn sign(ep: &Episode, t: usize, agent: usize) -> String {
    let sign = ep.step(t, agent).and_then(|step| step.action.as_u64());
    let word = sign.and_then(|sign| SIGNS.get(usize::try_from(sign).ok()?)).filter(|_| ep.setting("signs") == Some(3));
    match (word, sign) {
        (Some(word), _) => (*word).to_owned(),
        (None, Some(sign)) => format!("sign {sign}"),
        (None, None) => "nothing".to_owned(),
    }
}

/// The table as a guesser sees it: the roles of words nobody has found are masked there.
fn words(ep: &Episode, t: usize) -> Option<String> {
    let obs = &ep.step(t, 1)?.obs;
    let list_of = |key: &str| obs.get(key).and_then(Value::as_array);
    let (words, roles, revealed) = (list_of("words")?, list_of("roles")?, list_of("revealed")?);
    let found = |i: usize| revealed.get(i).and_then(Value::as_bool).unwrap_or_default();
    let role = |i: usize| if found(i) { roles.get(i).and_then(Value::as_str).unwrap_or_default() } else { "open" };
    let mut text = String::new();
    let clue = obs.get("clue").and_then(Value::as_str).unwrap_or_default();
    if !clue.is_empty() {
        let number = obs.get("clue_number").and_then(Value::as_i64).unwrap_or_default();
        text.push_str(&format!("Clue: {}, {number}\n", clip(clue, 60)));
    }
    let mut groups: Vec<&str> = (0..words.len()).map(role).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let in_group = (0..words.len()).filter(|i| role(*i) == group);
        let in_group: Vec<&str> = in_group.filter_map(|i| words[i].as_str()).collect();
        text.push_str(&format!("{}: {}\n", clip(group, 30), in_group.join(", ")));
    }
    Some(text)
}

/// Planets and ships of a player, in flight too: `[id, x, y, owner, ships, growth]`, `[owner, ships, ...]`.
fn fleet(ep: &Episode, t: usize, agent: usize) -> (f64, f64) {
    let rows = |key: &str| ep.shared(t, key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let owner = |row: &&Value, at: usize| row.get(at).and_then(Value::as_u64) == Some(agent as u64 + 1);
    let ships = |row: &Value, at: usize| row.get(at).and_then(Value::as_f64).unwrap_or_default();
    let planets: Vec<&Value> = rows("planets").iter().filter(|row| owner(row, 3)).collect();
    let landed: f64 = planets.iter().map(|row| ships(row, 4)).sum();
    let flying: f64 = rows("fleets").iter().filter(|row| owner(row, 0)).map(|row| ships(row, 1)).sum();
    (planets.len() as f64, landed + flying)
}

impl Table for Generic {
    fn game(&self, ep: &Episode) -> Game {
        let plain = ep.name.trim_start_matches("open_spiel_");
        let name = match self.kind {
            Kind::OpenSpiel { .. } => capitals(plain),
            _ if ep.title.is_empty() => capitals(plain),
            _ => ep.title.clone(),
        };
        let id = if plain.is_empty() { "kaggle" } else { plain };
        Game { id: clip(id, 64), name: clip(&name, 100) }
    }

    fn open(&self) -> bool {
        matches!(self.kind, Kind::PlanetWars | Kind::OpenSpiel { open: true })
    }

    fn describe(&self, ep: &Episode, t: usize, snap: &mut Snapshot) -> Result<(), RecordError> {
        for agent in 0..ep.agents() {
            let Some(side) = snap.sides.get_mut(&ep.side(agent)) else { continue };
            match self.kind {
                Kind::PlanetWars => {
                    let (planets, ships) = fleet(ep, t, agent);
                    side.counters = [("planets", "Planets", planets), ("ships", "Ships", ships)]
                        .map(|(id, label, value)| Counter {
                            id: id.into(),
                            label: label.into(),
                            value,
                            ..Counter::default()
                        })
                        .into();
                }
                Kind::WordAssociation => {
                    side.role = ["Blue spymaster", "Blue guesser", "Yellow spymaster", "Yellow guesser"][agent].into();
                }
                _ => side.score = (ep.first()..=t).rev().find_map(|t| ep.step(t, agent)?.reward),
            }
        }
        let text = TextZone {
            text: clip(&self.summary(ep, t), ZONE_TEXT_CHARS),
            mono: matches!(self.kind, Kind::OpenSpiel { open: true }),
        };
        snap.zones.insert("summary".into(), zone(ZoneContent::Text(text)));
        Ok(())
    }

    fn action(&self, ep: &Episode, t: usize, agent: usize) -> Move {
        let Some(step) = ep.step(t, agent) else { return Move::public("no move") };
        let action = &step.action;
        let word = |key: &str| action.get(key).and_then(Value::as_str);
        match self.kind {
            Kind::RockPaperScissors => Move::public(sign(ep, t, agent)),
            Kind::PlanetWars => {
                let orders = action.as_array().map_or(&[][..], Vec::as_slice);
                let ships: f64 = orders.iter().filter_map(|order| order.get(2)?.as_f64()).sum();
                Move::public(match orders.len() {
                    0 => "waits".to_owned(),
                    1 => format!("1 fleet, {ships} ships"),
                    n => format!("{n} fleets, {ships} ships"),
                })
            }
            Kind::WordAssociation => Move::public(match (word("clue"), action.as_i64()) {
                (Some(clue), _) => {
                    let number = action.get("number").and_then(Value::as_i64).unwrap_or_default();
                    format!("clue: {}, {number}", clip(clue, 60))
                }
                (None, Some(-1)) => "pass".to_owned(),
                (None, Some(index)) => {
                    let words = ep.step(t, 1).and_then(|step| step.obs.get("words"));
                    let guess = words.and_then(|words| words.get(usize::try_from(index).ok()?)?.as_str());
                    guess.unwrap_or("no such word").to_owned()
                }
                (None, None) => "no move".to_owned(),
            }),
            Kind::OpenSpiel { open: true } => {
                Move::public(word("actionString").map_or_else(|| "no move".to_owned(), |text| clip(text, 60)))
            }
            _ => Move { text: "has moved".into(), secret: Some(clip(&action.to_string(), 120)) },
        }
    }

    fn result(&self, ep: &Episode, finals: &[Final]) -> MatchResult {
        let reward = |agent: usize| finals[agent].reward.unwrap_or_default();
        let ahead = || winners(ep, |agent| reward(agent) > 0.0);
        let sum: f64 = (0..ep.agents()).map(reward).sum();
        match self.kind {
            // Rounds won minus rounds lost; 0 within the tie threshold.
            Kind::RockPaperScissors => MatchResult { reason: format!("by {} rounds", reward(0).abs()), ..ahead() },
            // 1 and −1, 0 and 0.
            Kind::PlanetWars => ahead(),
            // 1 for the winner's energy, half a point each for a tie.
            Kind::Crawl => winners(ep, |agent| reward(agent) >= 1.0),
            // Both of a team have the team's reward.
            Kind::WordAssociation => MatchResult { reason: words_reason(ep), ..ahead() },
            Kind::OpenSpiel { .. } if ep.agents() == 2 && sum == 0.0 => ahead(),
            // What a reward means here is not known.
            _ => {
                let failed = (0..ep.agents()).filter_map(|a| Some((a, finals[a].failure?)));
                let failed: Vec<String> =
                    failed.map(|(a, f)| format!("{} {}", name(ep, a), super::failed(f))).collect();
                let rewards = rewards(ep, finals);
                let reason = if failed.is_empty() { format!("final rewards: {rewards}") } else { list(&failed) };
                MatchResult { reason, ..MatchResult::default() }
            }
        }
    }
}

/// What the last turn says about the end, as far as guessers know it.
fn words_reason(ep: &Episode) -> String {
    let turn = ep.step(ep.last(), 1).and_then(|step| step.obs.get("current_game_turns")?.as_array()?.last());
    let invalid = turn.and_then(|turn| turn.get("invalid_pass")?.as_bool()).unwrap_or_default();
    match turn.and_then(|turn| turn.get("team")?.as_str()) {
        Some(team) if invalid => format!("{} passed without a guess", clip(team, 30)),
        _ => String::new(),
    }
}

/// `tic_tac_toe` as `Tic Tac Toe`.
fn capitals(name: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect::<String>())
    };
    name.split('_').map(capital).collect::<Vec<_>>().join(" ")
}
