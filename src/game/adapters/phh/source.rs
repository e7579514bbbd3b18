//! The fields of a PHH file, and what is left of one that breaks off.

use super::super::RecordError;
use super::super::shared::{clip, malformed_at, position, unix_ms};
use super::chips::Chips;
use crate::game::limits::{NAME_CHARS, SIDES};
use toml::{Table, Value};

/// One hand as the file says.
#[derive(Debug)]
pub(super) struct Source {
    pub variant: &'static Variant,
    pub antes: Vec<Chips>,
    /// As posted, by player.
    pub blinds: Vec<Chips>,
    pub bring_in: Chips,
    /// None: the stack is not known (`inf`).
    pub stacks: Vec<Option<Chips>>,
    pub actions: Vec<String>,
    pub players: Vec<String>,
    pub finishing: Option<Vec<Chips>>,
    pub hand: u32,
    pub title: String,
    pub table: String,
    pub currency: String,
    pub site: String,
    pub date: Option<String>,
    /// Unix ms, 0 when not known.
    pub start: i64,
    pub truncated: Option<String>,
}

/// How a variant deals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deal {
    /// Community cards.
    Board,
    /// Third street has two down and one up; three more up; the seventh down.
    Stud,
    /// Five (badugi: four) down, with draws.
    Draw,
}

/// A variant of the format.
#[derive(Debug)]
pub(super) struct Variant {
    pub code: &'static str,
    pub name: &'static str,
    pub deal: Deal,
    pub streets: &'static [&'static str],
    /// The usual high hand wins.
    pub high: bool,
    /// Cards of the own hand that must be used.
    pub must_use: Option<usize>,
}

const BOARD: &[&str] = &["Preflop", "Flop", "Turn", "River", "Showdown"];
const STUD: &[&str] = &["3rd street", "4th street", "5th street", "6th street", "7th street", "Showdown"];
const SINGLE: &[&str] = &["Deal", "Draw", "Showdown"];
const TRIPLE: &[&str] = &["Deal", "Draw 1", "Draw 2", "Draw 3", "Showdown"];

const fn variant(
    code: &'static str,
    name: &'static str,
    deal: Deal,
    streets: &'static [&'static str],
    high: bool,
    must_use: Option<usize>,
) -> Variant {
    Variant { code, name, deal, streets, high, must_use }
}

/// All variants of the format.
const VARIANTS: [Variant; 11] = [
    variant("FT", "Fixed-limit Texas hold'em", Deal::Board, BOARD, true, None),
    variant("NT", "No-limit Texas hold'em", Deal::Board, BOARD, true, None),
    variant("NS", "No-limit short-deck hold'em", Deal::Board, BOARD, false, None),
    variant("PO", "Pot-limit Omaha", Deal::Board, BOARD, true, Some(2)),
    variant("FO/8", "Fixed-limit Omaha hi-lo", Deal::Board, BOARD, false, Some(2)),
    variant("F7S", "Seven-card stud", Deal::Stud, STUD, true, None),
    variant("F7S/8", "Seven-card stud hi-lo", Deal::Stud, STUD, false, None),
    variant("FR", "Razz", Deal::Stud, STUD, false, None),
    variant("N2L1D", "No-limit 2-7 single draw", Deal::Draw, SINGLE, false, None),
    variant("F2L3D", "Fixed-limit 2-7 triple draw", Deal::Draw, TRIPLE, false, None),
    variant("FB", "Badugi", Deal::Draw, TRIPLE, false, None),
];

/// Actions in one hand: far above any real hand.
const ACTIONS: usize = 2_000;

pub(super) fn parse(text: &str) -> Result<Source, RecordError> {
    let (table, truncated) = table(text)?;
    Reader { table: &table, text, truncated }.source()
}

/// The TOML, and where it breaks off if it does.
fn table(text: &str) -> Result<(Table, Option<String>), RecordError> {
    let error = match text.parse::<Table>() {
        Ok(table) => return Ok((table, None)),
        Err(error) => error,
    };
    // A cut leaves one unfinished item at the end: the file is whole without it.
    let end = text.trim_end().len();
    let last_line = text[..end].rfind('\n').map_or(0, |n| n + 1);
    let line = position(text, end).0;
    let in_array = |text: &str, what: &str| {
        Some(format!("the file ends inside {what} (line {line})")).filter(|_| !text.is_empty())
    };
    let name = |rest: &str| clip(rest.split('=').next().unwrap_or_default(), 32);
    // Inside an array: keep its whole items.
    let closed = |open: usize| open < last_line && text[..last_line].parse::<Table>().is_ok();
    let array = text[..end].rfind('[').filter(|&open| text[..open].trim_end().ends_with('=') && !closed(open));
    if let Some(open) = array {
        let key = text[..open].rfind('\n').map_or(0, |n| n + 1);
        let commas = text[open..end].match_indices(',').map(|(n, _)| open + n);
        // A string with its closing quote is whole, a number at the very end may not be.
        let whole = text[..end].ends_with(['\'', '"']).then_some(end);
        for cut in whole.into_iter().chain(commas.rev().take(4)).chain([open + 1]) {
            if let Ok(table) = format!("{}]", &text[..cut]).parse::<Table>() {
                return Ok((table, in_array(&text[..end], &name(&text[key..]))));
            }
        }
    }
    if last_line > 0
        && let Ok(table) = text[..last_line].parse::<Table>()
    {
        return Ok((table, in_array(&text[..end], &name(&text[last_line..end]))));
    }
    let at = error.span().map_or(0, |s| s.start);
    Err(malformed_at(text, at, clip(error.message(), 200)))
}

/// A value for an error message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", clip(text, 48)),
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        other => format!("a {}", other.type_str()),
    }
}

fn wrong(place: impl Into<String>, problem: impl Into<String>) -> RecordError {
    RecordError::Malformed { place: place.into(), problem: problem.into() }
}

struct Reader<'a> {
    table: &'a Table,
    text: &'a str,
    truncated: Option<String>,
}

impl Reader<'_> {
    fn source(mut self) -> Result<Source, RecordError> {
        let variant = match self.table.get("variant") {
            None => return Err(self.missing("variant")),
            Some(value) => VARIANTS.iter().find(|v| Some(v.code) == value.as_str()).ok_or_else(|| {
                let known: Vec<&str> = VARIANTS.iter().map(|v| v.code).collect();
                wrong("variant", format!("{} is not known; known are {}", shown(value), known.join(", ")))
            })?,
        };
        let stacks = self.list("starting_stacks", |v| match v {
            Value::Float(f) if *f == f64::INFINITY => Some(None),
            v => Chips::from_toml(v).map(Some),
        })?;
        let cut = self.truncated.as_ref().is_some_and(|t| t.contains("inside starting_stacks"));
        let stacks = stacks.filter(|_| !cut).ok_or_else(|| self.missing("starting_stacks"))?;
        let players = stacks.len();
        if !(2..=SIDES).contains(&players) {
            return Err(wrong("starting_stacks", format!("{players} players, the limits are 2 and {SIDES}")));
        }
        let antes = self.amounts("antes", players)?.unwrap_or_else(|| vec![Chips::ZERO; players]);
        let mut blinds = self
            .amounts_by("blinds_or_straddles", players, Chips::from_signed)?
            .unwrap_or_else(|| vec![Chips::ZERO; players]);
        let mut antes = antes;
        if players == 2 {
            antes.reverse();
            blinds.reverse();
        }
        let actions = self.list("actions", |v| v.as_str().map(str::to_owned))?;
        if actions.is_none() && self.truncated.is_none() {
            let line = position(self.text, self.text.len()).0;
            self.truncated = Some(format!("the file ends before actions (line {line})"));
        }
        let actions = actions.unwrap_or_default();
        if actions.len() > ACTIONS {
            return Err(wrong("actions", format!("{} actions, the limit is {ACTIONS}", actions.len())));
        }
        let names = self.list("players", |v| v.as_str().map(str::to_owned))?.unwrap_or_default();
        if names.len() > players {
            return Err(wrong("players", format!("{} names for {players} starting_stacks", names.len())));
        }
        let players = (0..players)
            .map(|i| {
                names
                    .get(i)
                    .map(|n| clip(n, NAME_CHARS))
                    .filter(|n| !n.is_empty())
                    .unwrap_or(format!("Player {}", i + 1))
            })
            .collect::<Vec<_>>();
        let date = self.number("year").zip(self.number("month")).zip(self.number("day"));
        let date = date.and_then(|((y, m), d)| Some((unix_ms(y, m, d)?, format!("{y:04}-{m:02}-{d:02}"))));
        let place: Vec<String> =
            ["venue", "city", "country"].iter().map(|k| self.text(k)).filter(|t| !t.is_empty()).collect();
        Ok(Source {
            variant,
            antes,
            blinds,
            bring_in: self.table.get("bring_in").and_then(Chips::from_toml).unwrap_or_default(),
            stacks,
            actions,
            finishing: self.amounts("finishing_stacks", players.len())?,
            players,
            hand: self.number("hand").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            title: self.text("event"),
            table: self.text("table"),
            currency: self.text("currency"),
            site: place.join(", "),
            start: date.as_ref().map_or(0, |d| d.0),
            date: date.map(|d| d.1),
            truncated: self.truncated,
        })
    }

    /// A field that must be there is not.
    fn missing(&self, field: &str) -> RecordError {
        let ends = if self.truncated.is_some() { "the file ends before its value is whole" } else { "missing" };
        wrong(field, ends)
    }

    /// A list in which `take` likes every item.
    fn list<T>(&self, field: &str, take: impl Fn(&Value) -> Option<T>) -> Result<Option<Vec<T>>, RecordError> {
        let Some(value) = self.table.get(field) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| wrong(field, "expected a list"))?;
        let take = |(i, v): (usize, &Value)| {
            take(v).ok_or_else(|| wrong(format!("{field}[{i}]"), format!("cannot use {}", shown(v))))
        };
        items.iter().enumerate().map(take).collect::<Result<_, _>>().map(Some)
    }

    /// A list of one amount a player. A shorter one at the end of a cut file is no list at all.
    fn amounts(&self, field: &str, players: usize) -> Result<Option<Vec<Chips>>, RecordError> {
        self.amounts_by(field, players, Chips::from_toml)
    }

    fn amounts_by(
        &self,
        field: &str,
        players: usize,
        take: impl Fn(&Value) -> Option<Chips>,
    ) -> Result<Option<Vec<Chips>>, RecordError> {
        match self.list(field, take)? {
            Some(list) if list.len() == players => Ok(Some(list)),
            Some(list) if list.len() < players && self.truncated.is_some() => Ok(None),
            Some(list) => Err(wrong(field, format!("{} amounts for {players} starting_stacks", list.len()))),
            None => Ok(None),
        }
    }

    fn number(&self, field: &str) -> Option<i64> {
        self.table.get(field)?.as_integer()
    }

    fn text(&self, field: &str) -> String {
        match self.table.get(field) {
            Some(Value::String(text)) => clip(text, NAME_CHARS),
            Some(Value::Integer(n)) => n.to_string(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "variant = 'NT'\nstarting_stacks = [100, inf]\nantes = [0, 1]\n";

    #[test]
    fn cut_actions_keep_the_whole_ones() {
        let source = parse(&format!("{HEAD}actions = ['d dh p1 ????', 'd dh p2 ????', 'p2 c")).expect("a source");
        assert_eq!(source.actions.len(), 2);
        assert_eq!(source.truncated.as_deref(), Some("the file ends inside actions (line 4)"));
        assert_eq!(source.stacks, [Chips::parse("100"), None]);
        assert_eq!(source.antes[0], Chips::parse("1").expect("one"), "heads-up antes are swapped");
        let source = parse(&format!("{HEAD}actions = [\n 'p1 f',\n 'p2")).expect("a source");
        assert_eq!(source.actions, ["p1 f"]);
        assert_eq!(parse(HEAD).expect("a source").truncated.as_deref(), Some("the file ends before actions (line 4)"));
    }

    #[test]
    fn wrong_fields_are_named() {
        let error = |text: &str| parse(text).expect_err("wrong").to_string();
        assert!(error("variant = 'XX'\n").starts_with("variant: \"XX\" is not known; known are FT, NT"));
        assert_eq!(error("variant = 'NT'\nstarting_stacks = [1, 'x']\n"), "starting_stacks[1]: cannot use \"x\"");
        assert_eq!(
            error("variant = 'NT'\nstarting_stacks = [1]\n"),
            "starting_stacks: 1 players, the limits are 2 and 8"
        );
        assert!(error("variant = = 'NT'\nstarting_stacks = [1, 2]\n").starts_with("line 1 column 11: "));
        assert_eq!(
            error(&format!("{HEAD}actions = []\nfinishing_stacks = [1]")),
            "finishing_stacks: 1 amounts for 2 starting_stacks"
        );
    }
}
