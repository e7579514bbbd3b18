//! Poker hands in the Poker Hand History format (PHH, a TOML file a hand), for instance written by PokerKit.
//!
//! All eleven variants of the format are played. What the file does not say is not made up: unknown cards (`??`) stay
//! backs, and without `finishing_stacks` a showdown is decided only where cards are known and the high hand wins by the
//! usual ranking (`FT`, `NT`, `PO`, `F7S`).
//!
//! Cards in a hand belong to their owner alone until they are dealt face up (stud) or shown (`sm`); a folded or mucked
//! hand leaves the table. Comments behind `#` in an action are thoughts of that player, seen by that player alone,
//! for they may tell its cards; comments of the dealer are feed lines.
//!
//! Amounts are chips with up to four decimals. Heads-up, antes and blinds are listed the other way round, as in
//! PokerKit: the second player has the button and the small blind.
//!
//! # Pace
//!
//! The format has no times: [`ACTION_MS`], [`DEAL_MS`], [`BOARD_MS`], and [`START_MS`] and [`END_MS`] around the hand.

mod chips;
mod hand;
mod rank;
mod show;
mod source;

use super::{Record, RecordError};

/// Pause before the first card, for the starting scene. Milliseconds, as all below.
pub const START_MS: i64 = 4_000;
/// An action of a player.
pub const ACTION_MS: i64 = 1_500;
/// Hole cards to one player.
pub const DEAL_MS: i64 = 400;
/// Cards to the board.
pub const BOARD_MS: i64 = 2_000;
/// From the last action to the result.
pub const END_MS: i64 = 2_500;

/// Reads one hand.
///
/// A file that breaks off plays as far as it goes: [`Record::truncated`] says where, and the match ends aborted unless
/// only one player is left.
///
/// # Errors
/// [`RecordError::Malformed`] with line and column (TOML), the field (`starting_stacks[2]`) or the action
/// (`actions[12]`, counted from 0): fields missing or of a wrong type, an unknown variant, more players than a match can show,
/// an action that cannot be read or that the player cannot take.
pub fn read(text: &str) -> Result<Record, RecordError> {
    show::record(text, source::parse(text)?)
}
