//! Time controls, and both clocks through a game.

use super::parse::Ply;
use cozy_chess::Color;

/// `TimeControl` of the common kinds, ms: `180+2`, `300`, `40/7200:3600` (its first period).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Control {
    base: i64,
    increment: i64,
    /// Moves of the period, 0 for the whole game.
    moves: u32,
}

impl Control {
    pub fn parse(text: &str) -> Option<Control> {
        let first = text.split(':').next()?;
        let (moves, rest) = match first.split_once('/') {
            Some((moves, rest)) => (moves.trim().parse().ok()?, rest),
            None => (0, first),
        };
        let (base, increment) = rest.split_once('+').unwrap_or((rest, "0"));
        let ms = |s: &str| {
            let seconds: f64 = s.trim().parse().ok()?;
            (0.0..31_536_000.0).contains(&seconds).then_some((seconds * 1000.0).round() as i64)
        };
        Some(Control { base: ms(base)?, increment: ms(increment)?, moves })
    }

    /// `3 min + 2 s`
    pub fn text(self) -> String {
        let span = |ms: i64| match ms / 1000 {
            s if s >= 60 && s % 60 == 0 => format!("{} min", s / 60),
            s => format!("{s} s"),
        };
        let mut text = span(self.base);
        if self.moves > 0 {
            text = format!("{} moves in {text}", self.moves);
        }
        if self.increment > 0 {
            text.push_str(&format!(" + {}", span(self.increment)));
        }
        text
    }
}

/// Follows both clocks through a game.
pub(super) struct Times {
    control: Option<Control>,
    /// The record has `%clk`.
    recorded: bool,
    left: [Option<i64>; 2],
}

impl Times {
    pub fn new(control: Option<Control>, plies: &[Ply]) -> Times {
        let recorded = plies.iter().any(|p| p.clock.is_some());
        let timed = recorded || plies.iter().any(|p| p.elapsed.is_some());
        let base = control.filter(|_| timed).map(|c| c.base);
        Times { control, recorded, left: [base; 2] }
    }

    /// Clock before the move, clock after it, think time.
    pub fn next(&mut self, color: Color, ply: &Ply) -> (Option<i64>, Option<i64>, Option<i64>) {
        let left = &mut self.left[color as usize];
        let before = *left;
        let increment = self.control.map_or(0, |c| c.increment);
        let spent = |after: i64| before.map(|b| b + increment - after).filter(|&e| e >= 0);
        let elapsed = ply.elapsed.or_else(|| ply.clock.and_then(spent));
        let after =
            if self.recorded { ply.clock } else { before.zip(elapsed).map(|(b, e)| (b - e).max(0) + increment) };
        // A move without a time breaks a clock that is only reckoned; a recorded one goes on later.
        if after.is_some() || !self.recorded {
            *left = after;
        }
        (before, after, elapsed)
    }
}
