//! French cards as OpenSpiel names them: `Td`, `TD`.

use crate::game::{Card, Face, Suit, Visibility};

/// Rank and suit of a card, for example `T` and `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub rank: char,
    pub suit: Suit,
}

impl Name {
    pub fn new(rank: char, suit: char) -> Option<Name> {
        let suit = match suit.to_ascii_lowercase() {
            'c' => Suit::Clubs,
            'd' => Suit::Diamonds,
            'h' => Suit::Hearts,
            's' => Suit::Spades,
            _ => return None,
        };
        "23456789TJQKA".contains(rank).then_some(Name { rank, suit })
    }

    /// All cards of a word such as `6s5d`.
    pub fn all(word: &str) -> Option<Vec<Name>> {
        let chars: Vec<char> = word.chars().collect();
        chars.chunks(2).map(|card| Name::new(*card.first()?, *card.get(1)?)).collect()
    }

    /// 0 for a deuce to 12 for an ace.
    pub fn height(self) -> usize {
        "23456789TJQKA".find(self.rank).unwrap_or_default()
    }

    /// `10♦`
    pub fn text(self) -> String {
        let suit = match self.suit {
            Suit::Clubs => '♣',
            Suit::Diamonds => '♦',
            Suit::Hearts => '♥',
            Suit::Spades => '♠',
        };
        format!("{}{suit}", self.printed_rank())
    }

    fn printed_rank(self) -> String {
        if self.rank == 'T' { "10".into() } else { self.rank.to_string() }
    }

    /// The card for those in `vis`; `up` when it lies open. `id` must not tell its face.
    pub fn card(self, id: String, up: bool, vis: Visibility) -> Card {
        let face = Face { rank: self.printed_rank(), suit: Some(self.suit), ..Face::default() };
        Card { id, up, face: Some(face), vis: Some(vis), ..Card::default() }
    }
}
