//! Chess games in Portable Game Notation, with the comment commands that chess sites and engines write.
//!
//! The first game of a file is played; what follows its result is left alone. Standard chess, Chess960 and any start
//! position (`FEN`); variants with rules of their own are refused.
//!
//! # What becomes what
//!
//! | in the record | in the match |
//! |---|---|
//! | `%clk`, `%emt`, `TimeControl` | clocks, and the time between moves |
//! | `%eval` | the evaluation bar, see [`win_chance`]; a thought in words where the move has no other |
//! | a comment in words | a thought of the side that moved, before it moves |
//! | a variation | added to that thought after the move, as `Engine prefers: 1. e4 e6` |
//! | `%cal` | an arrow: of the move itself before it is made, any other until that side's next move |
//! | `Termination`, the last comment, the position | the reason of the result |
//!
//! # Pace
//!
//! A move takes the time the record gives it, held between [`MOVE_MIN_MS`] ([`READ_MIN_MS`] with a thought) and
//! [`MOVE_MAX_MS`]; without a time it takes [`MOVE_MS`]. Clocks always show recorded values when a move is made: a clock
//! whose wait is cut short or drawn out starts so much lower or higher that it runs into the recorded value.

mod clock;
mod over;
mod parse;
mod play;
mod rules;

use super::{Record, RecordError};

/// Pause before the first move, for the starting scene. Milliseconds, as all below.
pub const START_MS: i64 = 4_000;
/// Shortest wait for a move: the eye must be able to follow.
pub const MOVE_MIN_MS: i64 = 600;
/// Shortest wait for a move with a thought to read.
pub const READ_MIN_MS: i64 = 2_400;
/// Longest wait for a move.
pub const MOVE_MAX_MS: i64 = 12_000;
/// Wait for a move of which the record gives no time.
pub const MOVE_MS: i64 = 2_000;
/// From the last move to the end of the match.
pub const END_MS: i64 = 1_500;

/// Reads the first game of a PGN file.
///
/// A file that breaks off plays as far as it goes: [`Record::truncated`] says where, and the match ends aborted unless
/// the position itself decides it.
///
/// # Errors
/// [`RecordError::Malformed`] with line and column: neither a tag nor a move in the whole text, broken tags or comments' commands, a move that cannot be read, is
/// illegal or ambiguous, an impossible `FEN`, a `Variant` with other rules.
pub fn read(text: &str) -> Result<Record, RecordError> {
    play::record(text, parse::parse(text)?)
}

/// White's chance to win, 0 to 1, at `pawns` of advantage.
///
/// `1 / (1 + exp(−0.368208 · pawns))`: the fit to rated games that Lichess publishes on its page about accuracy
/// (`50 + 50 · (2 / (1 + exp(−0.00368208 · centipawns)) − 1)` per cent).
pub fn win_chance(pawns: f64) -> f64 {
    1.0 / (1.0 + (-0.368_208 * pawns).exp())
}
