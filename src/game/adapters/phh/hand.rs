//! A hand as it is played: cards, bets, the pot, who gets it.

use super::chips::Chips;
use super::rank::{self, Known};
use super::source::{Deal, Source};
use super::{ACTION_MS, BOARD_MS, DEAL_MS};
use crate::game::Suit;

#[derive(Clone, Debug)]
pub(super) struct HandCard {
    /// Unique in the match and kept while the card is in the hand.
    pub id: String,
    /// None: the record does not say.
    pub face: Option<Known>,
    pub up: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Player {
    /// Chips not bet yet. None: not known.
    pub stack: Option<Chips>,
    /// Bet on this street.
    pub bet: Chips,
    /// Bet in all, antes included.
    pub put: Chips,
    pub folded: bool,
    /// Has shown or mucked.
    pub done: bool,
    pub mucked: bool,
    pub cards: Vec<HandCard>,
    /// Cards dealt so far: numbers the ids.
    dealt: usize,
    /// How often it has drawn.
    draws: usize,
}

impl Player {
    /// Still in with nothing left to bet.
    pub fn all_in(&self) -> bool {
        !self.folded && !self.put.is_zero() && self.stack == Some(Chips::ZERO)
    }

    /// Bets up to `amount` more; gives what it was.
    fn pay(&mut self, amount: Chips, in_street: bool) -> Chips {
        let paid = self.stack.map_or(amount, |s| s.min(amount));
        self.stack = self.stack.map(|s| s - paid);
        self.put += paid;
        if in_street {
            self.bet += paid;
        }
        paid
    }

    fn in_play(&self) -> bool {
        !self.folded && !self.mucked
    }
}

/// What an action did, in words.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub actor: Option<usize>,
    /// `raises to 400`; empty when nobody decided anything.
    pub decided: String,
    /// Feed lines: text, whose, importance.
    pub feed: Vec<(String, Option<usize>, u8)>,
    /// How long it takes, ms.
    pub wait: i64,
    /// Behind `#`.
    pub comment: String,
}

/// Who got what.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Final stack less starting stack, as a number of chips with its sign.
    pub net: Vec<f64>,
    /// Taken from the pot.
    pub won: Vec<Chips>,
    pub showdown: bool,
}

pub(super) struct Hand<'a> {
    pub source: &'a Source,
    pub players: Vec<Player>,
    pub board: Vec<Option<Known>>,
    /// Bets of earlier streets.
    pot: Chips,
    /// Index into the variant's streets.
    pub street: usize,
    /// Players are showing.
    pub showdown: bool,
    /// Cards were dealt to the board after the showdown began.
    run_out: bool,
    /// A bet was made on this street (in stud, the bring-in was completed).
    opened: bool,
}

/// Cards in one hand and on the board at most: no variant comes near.
const HAND: usize = 16;

impl<'a> Hand<'a> {
    pub fn new(source: &'a Source) -> Hand<'a> {
        let player = |&stack: &Option<Chips>| Player {
            stack,
            bet: Chips::ZERO,
            put: Chips::ZERO,
            folded: false,
            done: false,
            mucked: false,
            cards: Vec::new(),
            dealt: 0,
            draws: 0,
        };
        Hand {
            source,
            players: source.stacks.iter().map(player).collect(),
            board: Vec::new(),
            pot: Chips::ZERO,
            street: 0,
            showdown: false,
            run_out: false,
            opened: source.blinds.iter().any(|b| !b.is_zero()),
        }
    }

    /// Everything bet so far.
    pub fn total(&self) -> Chips {
        self.pot + self.players.iter().map(|p| p.bet).sum()
    }

    pub fn street_name(&self) -> &'static str {
        let streets = self.source.variant.streets;
        // When all are in before the river, the cards are shown first and the streets go on.
        let early = self.source.variant.deal == Deal::Board && (self.board.len() < 5 || self.run_out);
        let index = if self.showdown && !early { streets.len() - 1 } else { self.street.min(streets.len() - 2) };
        streets[index]
    }

    /// Posts antes and blinds.
    pub fn post(&mut self) -> Step {
        let mut step = Step::default();
        for index in 0..self.players.len() {
            self.pot += self.players[index].pay(self.source.antes[index], false);
            let blind = self.players[index].pay(self.source.blinds[index], true);
            if !blind.is_zero() {
                step.feed.push((format!("{} posts {blind}", self.name(index)), Some(index), 20));
            }
        }
        if !self.pot.is_zero() {
            step.feed.insert(0, (format!("Antes: {}", self.pot), None, 20));
        }
        step
    }

    fn name(&self, index: usize) -> String {
        super::super::shared::clip(&self.source.players[index], 24)
    }

    /// Applies one entry of `actions`.
    pub fn apply(&mut self, action: &str) -> Result<Step, String> {
        let (action, comment) = action.split_once('#').unwrap_or((action, ""));
        let words: Vec<&str> = action.split_whitespace().collect();
        let mut step = match *words.as_slice() {
            [] => Step { wait: ACTION_MS, ..Step::default() },
            ["d", "db", cards] => self.deal_board(cards)?,
            ["d", "dh", player, cards] => self.deal_hole(self.player(player)?, cards)?,
            [player, verb, ref rest @ ..] if player.starts_with('p') => {
                let index = self.player(player)?;
                let step = self.player_acts(index, verb, rest)?;
                Step { actor: Some(index), wait: ACTION_MS, ..step }
            }
            _ => return Err("not an action: expected d dh, d db, or a player and f, cc, cbr, pb, sd or sm".into()),
        };
        step.comment = comment.trim().to_owned();
        Ok(step)
    }

    fn player(&self, label: &str) -> Result<usize, String> {
        let number = label.strip_prefix('p').and_then(|n| n.parse::<usize>().ok());
        number
            .and_then(|n| n.checked_sub(1))
            .filter(|&n| n < self.players.len())
            .ok_or_else(|| format!("{label} is no player; there are p1 to p{}", self.players.len()))
    }

    fn deal_board(&mut self, cards: &str) -> Result<Step, String> {
        let cards = parse_cards(cards)?;
        if self.board.len() + cards.len() > HAND {
            return Err(format!("more than {HAND} cards on the board"));
        }
        let mut step = self.collect();
        self.board.extend(cards);
        self.run_out = self.showdown;
        if self.source.variant.deal == Deal::Board {
            self.street = match self.board.len() {
                0..=2 => 0,
                3 => 1,
                4 => 2,
                _ => 3,
            };
        }
        let streets = self.source.variant.streets;
        let street = streets[self.street.min(streets.len() - 2)];
        step.feed.push((format!("{street}: {}", faces(&self.board)), None, 50));
        step.wait = BOARD_MS;
        Ok(step)
    }

    fn deal_hole(&mut self, index: usize, cards: &str) -> Result<Step, String> {
        let faces = parse_cards(cards)?;
        if self.players[index].folded {
            return Err(format!("p{} is dealt cards after folding", index + 1));
        }
        if self.players[index].cards.len() + faces.len() > HAND {
            return Err(format!("more than {HAND} cards in a hand"));
        }
        let mut step = Step::default();
        let stud = self.source.variant.deal == Deal::Stud;
        // The fourth card begins fourth street, and so on.
        let street = (self.players[index].dealt + faces.len()).saturating_sub(3);
        if stud && street > self.street {
            step = self.collect();
            self.street = street;
        }
        let player = &mut self.players[index];
        for face in faces {
            // Stud deals two down, four up, one down.
            let up = stud && (2..6).contains(&player.dealt);
            let id = format!("p{}-{}", index + 1, player.dealt);
            player.cards.push(HandCard { id, face, up });
            player.dealt += 1;
        }
        step.wait = DEAL_MS;
        Ok(step)
    }

    fn player_acts(&mut self, index: usize, verb: &str, rest: &[&str]) -> Result<Step, String> {
        let label = format!("p{}", index + 1);
        let most = self.players.iter().map(|p| p.bet).max().unwrap_or_default();
        let player = &self.players[index];
        if player.folded {
            return Err(format!("{label} acts after folding"));
        }
        let betting = matches!(verb, "f" | "cc" | "cbr" | "pb");
        if betting && self.players.iter().filter(|p| !p.folded).count() == 1 {
            return Err(format!("{label} acts although everybody else has folded"));
        }
        if betting && self.showdown {
            return Err(format!("{label} bets or folds after the showdown began"));
        }
        if betting && player.all_in() {
            return Err(format!("{label} acts with nothing left"));
        }
        let mut step = Step::default();
        let mut importance = 30;
        step.decided = match (verb, rest) {
            ("f", []) => {
                let player = &mut self.players[index];
                player.folded = true;
                player.cards.clear();
                "folds".into()
            }
            ("cc", []) => {
                let player = &mut self.players[index];
                let paid = player.pay(most.less(player.bet), true);
                match (paid.is_zero(), player.all_in()) {
                    (true, _) => "checks".into(),
                    (_, true) => {
                        importance = 70;
                        format!("calls {paid}, all in")
                    }
                    _ => format!("calls {paid}"),
                }
            }
            ("pb", []) => {
                let paid = self.players[index].pay(self.source.bring_in, true);
                format!("brings in {paid}")
            }
            ("cbr", [amount]) => {
                let to = Chips::parse(amount).ok_or_else(|| format!("{amount:?} is not an amount"))?;
                if to <= most {
                    return Err(format!("{label} bets {to}, but the bet is {most} already"));
                }
                let player = &mut self.players[index];
                let more = to - player.bet;
                if let Some(stack) = player.stack.filter(|&s| s < more) {
                    return Err(format!("{label} bets {more} more with {stack} left"));
                }
                player.pay(more, true);
                importance = if player.all_in() { 70 } else { 40 };
                match (player.all_in(), self.opened, most.is_zero()) {
                    (true, ..) => format!("all in {to}"),
                    (_, true, _) => format!("raises to {to}"),
                    (_, false, false) => format!("completes to {to}"),
                    (_, false, true) => format!("bets {to}"),
                }
            }
            ("sd", discards) => {
                step = self.draw_street(index);
                self.discard(index, discards)?
            }
            ("sm", cards) => {
                step = self.collect();
                self.showdown = true;
                importance = 60;
                self.show(index, cards)?
            }
            _ => return Err(format!("{verb:?} is no action of a player")),
        };
        if betting {
            self.opened |= verb == "cbr";
        }
        step.feed.push((format!("{} {}", self.name(index), step.decided), Some(index), importance));
        Ok(step)
    }

    /// The first player to draw again begins a street.
    fn draw_street(&mut self, index: usize) -> Step {
        let draws = &mut self.players[index].draws;
        *draws += 1;
        if *draws <= self.street {
            return Step::default();
        }
        self.street = *draws;
        self.collect()
    }

    fn discard(&mut self, index: usize, cards: &[&str]) -> Result<String, String> {
        let [cards] = cards else {
            return if cards.is_empty() {
                Ok("stands pat".into())
            } else {
                Err("expected the cards as one word".into())
            };
        };
        let cards = parse_cards(cards)?;
        let hand = &mut self.players[index].cards;
        for face in &cards {
            // A known card may have been dealt unseen.
            let at = hand
                .iter()
                .position(|c| c.face == *face)
                .or_else(|| hand.iter().position(|c| c.face.is_none() || face.is_none()))
                .ok_or_else(|| format!("p{} discards {}, which it does not hold", index + 1, faces(&[*face])))?;
            hand.remove(at);
        }
        Ok(format!("draws {}", cards.len()))
    }

    fn show(&mut self, index: usize, cards: &[&str]) -> Result<String, String> {
        let player = &mut self.players[index];
        player.done = true;
        let shown = match cards {
            [] => {
                player.mucked = true;
                player.cards.clear();
                return Ok("mucks".into());
            }
            ["-"] => player.cards.iter().map(|c| c.face).collect(),
            [cards] => parse_cards(cards)?,
            _ => return Err("expected the cards as one word".into()),
        };
        if !player.cards.is_empty() && shown.len() > player.cards.len() {
            return Err(format!("p{} shows {} cards and holds {}", index + 1, shown.len(), player.cards.len()));
        }
        for (at, &face) in shown.iter().enumerate() {
            match player.cards.get_mut(at) {
                Some(card) => (card.face, card.up) = (face, face.is_some()),
                None => {
                    let id = format!("p{}-{at}", index + 1);
                    player.cards.push(HandCard { id, face, up: face.is_some() });
                }
            }
        }
        let faces = faces(&shown);
        Ok(if faces.is_empty() { "shows".into() } else { format!("shows {faces}") })
    }

    /// Ends a round of bets: what nobody called goes back, the rest into the pot.
    fn collect(&mut self) -> Step {
        let mut step = Step::default();
        let mut bets: Vec<(Chips, usize)> = self.players.iter().enumerate().map(|(i, p)| (p.bet, i)).collect();
        bets.sort_unstable_by(|a, b| b.cmp(a));
        if let [(most, index), (second, _), ..] = bets[..]
            && most > second
        {
            let back = most - second;
            let player = &mut self.players[index];
            player.bet -= back;
            player.put -= back;
            player.stack = player.stack.map(|s| s + back);
            step.feed.push((format!("{back} uncalled, back to {}", self.name(index)), Some(index), 20));
        }
        for player in &mut self.players {
            self.pot += player.bet;
            player.bet = Chips::ZERO;
        }
        self.opened = false;
        step
    }

    /// Ends the hand and pays the pot out. None: the record does not say who won, or ends before.
    pub fn finish(&mut self) -> Option<Outcome> {
        let left: Vec<usize> = (0..self.players.len()).filter(|&i| !self.players[i].folded).collect();
        let claims: Vec<usize> = left.iter().copied().filter(|&i| self.players[i].in_play()).collect();
        let shown = self.showdown && left.iter().all(|&i| self.players[i].done);
        if self.source.finishing.is_none() && left.len() > 1 && claims.len() != 1 && !shown {
            return None;
        }
        self.collect();
        let stakes: Vec<Chips> = self.players.iter().map(|p| p.put).collect();
        let won = match (&self.source.finishing, claims.as_slice()) {
            (Some(finishing), _) => {
                (self.players.iter().zip(finishing)).map(|(p, &f)| p.stack.map_or(Chips::ZERO, |s| f.less(s))).collect()
            }
            (None, &[only]) => {
                let pot = self.total();
                (0..self.players.len()).map(|i| if i == only { pot } else { Chips::ZERO }).collect()
            }
            (None, _) => self.divide(&stakes, &claims)?,
        };
        let net = match &self.source.finishing {
            Some(finishing) => (self.source.stacks.iter().zip(finishing).enumerate())
                .map(|(i, (s, f))| s.map_or(won[i].value() - stakes[i].value(), |s| (*f - s).value()))
                .collect(),
            None => won.iter().zip(&stakes).map(|(&w, &s)| (w - s).value()).collect(),
        };
        for (index, player) in self.players.iter_mut().enumerate() {
            let paid = player.stack.map(|s| s + won[index]);
            player.stack = self.source.finishing.as_ref().map(|f| f[index]).or(paid);
        }
        self.pot = Chips::ZERO;
        Some(Outcome { net, won, showdown: left.len() > 1 })
    }

    /// Main pot and side pots to the best hands. None: cards are missing or the variant ranks hands in another way.
    fn divide(&self, stakes: &[Chips], claims: &[usize]) -> Option<Vec<Chips>> {
        let variant = self.source.variant;
        if !variant.high || variant.deal == Deal::Board && self.board.len() != 5 {
            return None;
        }
        let board: Vec<Known> = self.board.iter().copied().collect::<Option<_>>()?;
        let mut strength = vec![0; stakes.len()];
        for &index in claims {
            let own: Vec<Known> = self.players[index].cards.iter().map(|c| c.face).collect::<Option<_>>()?;
            strength[index] = rank::best(&own, &board, variant.must_use)?;
        }
        let mut won = vec![Chips::ZERO; stakes.len()];
        let mut levels: Vec<Chips> = claims.iter().map(|&i| stakes[i]).collect();
        levels.sort_unstable();
        // What folded players bet above every claim goes into the last pot.
        if let (Some(last), Some(&most)) = (levels.last_mut(), stakes.iter().max()) {
            *last = most.max(*last);
        }
        let mut below = Chips::ZERO;
        let top = levels.last().copied().unwrap_or_default();
        for level in levels {
            if level == below {
                continue;
            }
            let slice: Chips = stakes.iter().map(|&s| s.min(level).less(below)).sum();
            let entitled = |i: usize| stakes[i] >= level || level == top && stakes[i] > below;
            let best = claims.iter().filter(|&&i| entitled(i)).map(|&i| strength[i]).max()?;
            let winners: Vec<usize> = claims.iter().copied().filter(|&i| entitled(i) && strength[i] == best).collect();
            let (share, rest) = slice.split(winners.len());
            winners.iter().for_each(|&i| won[i] += share);
            // Odd chips go to the first seat after the button.
            won[winners[0]] += rest;
            below = level;
        }
        Some(won)
    }
}

/// Cards such as `AdKs`; `?` for what is not known.
fn parse_cards(text: &str) -> Result<Vec<Option<Known>>, String> {
    let chars: Vec<char> = text.chars().collect();
    let card = |pair: &[char]| {
        let &[rank, suit] = pair else { return Err(format!("{text:?} is not cards: expected pairs such as AdKs")) };
        let rank = match rank {
            '2'..='9' => Some(rank as u8 - b'0'),
            'T' => Some(10),
            'J' => Some(11),
            'Q' => Some(12),
            'K' => Some(13),
            'A' => Some(14),
            '?' => None,
            _ => return Err(format!("{rank:?} in {text:?} is no rank")),
        };
        let suit = match suit {
            'c' => Some(Suit::Clubs),
            'd' => Some(Suit::Diamonds),
            'h' => Some(Suit::Hearts),
            's' => Some(Suit::Spades),
            '?' => None,
            _ => return Err(format!("{suit:?} in {text:?} is no suit")),
        };
        Ok(rank.zip(suit))
    };
    chars.chunks(2).map(card).collect()
}

pub(super) fn rank_name(rank: u8) -> String {
    match rank {
        11 => "J".into(),
        12 => "Q".into(),
        13 => "K".into(),
        14 => "A".into(),
        n => n.to_string(),
    }
}

/// The known ones as `A♦ K♠`.
fn faces(cards: &[Option<Known>]) -> String {
    let face = |(rank, suit): Known| {
        let suit = match suit {
            Suit::Clubs => '♣',
            Suit::Diamonds => '♦',
            Suit::Hearts => '♥',
            Suit::Spades => '♠',
        };
        format!("{}{suit}", rank_name(rank))
    };
    cards.iter().flatten().map(|&c| face(c)).collect::<Vec<_>>().join(" ")
}
