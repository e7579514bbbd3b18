//! How a game ended, and why, from the result, the position and the words of the record.

use super::parse::{Game, Score};
use super::play::{Played, tag};
use super::rules::{self, Ending, side};
use crate::game::{MatchResult, SideResult};
use cozy_chess::{Board, Color};

/// How a game ended.
pub(super) struct Over {
    pub result: MatchResult,
    pub score: Option<&'static str>,
    /// Number of the last move.
    pub number: u16,
    /// Lost on time.
    pub loser_on_time: Option<Color>,
    /// Lost on time while to move, so that the clock can be seen to run out.
    pub flagged: Option<Color>,
    /// The last comment says how it ended.
    pub told_by_comment: bool,
}

pub(super) fn over(game: &Game, plies: &[Played], history: &[Board]) -> Over {
    let ending = rules::ending(history);
    let board = &history[history.len() - 1];
    let number = plies.last().map_or(board.fullmove_number(), |p| p.number);
    let told = plies.last().and_then(|p| told(&p.ply.words));
    let termination = tag(game, "Termination").unwrap_or_default();
    // A record without a result still says who won when the board does.
    let result = game.result.filter(|_| game.truncated.is_none()).unwrap_or(match ending {
        Some(Ending::Checkmate) if board.side_to_move() == Color::Black => Score::White,
        Some(Ending::Checkmate) => Score::Black,
        Some(Ending::Stalemate) => Score::Draw,
        _ => Score::Open,
    });
    let on_board = match ending {
        Some(Ending::Checkmate) if result != Score::Draw => Some("by checkmate"),
        Some(Ending::Stalemate) if result == Score::Draw => Some("by stalemate"),
        _ => None,
    };
    let claimed = match ending {
        Some(Ending::Material) => Some("by insufficient material"),
        Some(Ending::Repetition) => Some("by repetition"),
        Some(Ending::FiftyMoves) => Some("by the fifty-move rule"),
        _ => None,
    };
    let why = match result {
        Score::Open => match &game.truncated {
            Some(_) if plies.is_empty() => "the record ends before the first move".to_owned(),
            Some(_) => format!("the record ends after move {number}"),
            None => told.or_else(|| self::told(termination)).map_or("unfinished".to_owned(), str::to_owned),
        },
        Score::Draw => {
            on_board.or(told).or_else(|| self::told(termination)).or(claimed).unwrap_or("by agreement").into()
        }
        _ => on_board.or(told).or_else(|| self::told(termination)).unwrap_or("by resignation").into(),
    };
    let reason = match result {
        Score::Open if game.truncated.is_some() => why.clone(),
        _ if plies.is_empty() => why.clone(),
        _ => format!("{why}, move {number}"),
    };
    let (winner, score) = match result {
        Score::White => (Some(Color::White), Some("1-0")),
        Score::Black => (Some(Color::Black), Some("0-1")),
        Score::Draw => (None, Some("½-½")),
        Score::Open => (None, None),
    };
    let side_result = |color: Color| SideResult {
        score: match (result, winner) {
            (Score::Open, _) => None,
            (_, Some(w)) => Some(if w == color { 1.0 } else { 0.0 }),
            (_, None) => Some(0.5),
        },
        reason: why.clone(),
    };
    let loser_on_time = winner.map(|w| !w).filter(|_| why == "on time");
    Over {
        result: MatchResult {
            winners: winner.map(|w| side(w).to_owned()).into_iter().collect(),
            draw: result == Score::Draw,
            aborted: result == Score::Open,
            reason,
            sides: Color::ALL.map(|c| (side(c).to_owned(), side_result(c))).into(),
        },
        score,
        number,
        loser_on_time,
        flagged: loser_on_time.filter(|&c| c == board.side_to_move()),
        told_by_comment: told.is_some(),
    }
}

/// What a closing comment or a `Termination` says about the end, if it says anything. Covers the words of the PGN
/// standard and of the large sites (`Player won by resignation`).
fn told(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let words = text.split_whitespace().count();
    let has = |any: &[&str]| any.iter().any(|w| text.contains(w));
    // Longer comments talk about the game, they do not announce its end.
    if words > 12 {
        return None;
    }
    let table: [(&[&str], &str); 11] = [
        (&["time forfeit", "on time", "time out", "timeout", "lost by time"], "on time"),
        (&["resigns", "resigned", "resignation"], "by resignation"),
        (&["draw agreed", "by agreement", "agreed to a draw", "drawn by agreement"], "by agreement"),
        (&["by repetition", "threefold", "fivefold"], "by repetition"),
        (&["stalemate"], "by stalemate"),
        (&["insufficient material"], "by insufficient material"),
        (&["50-move", "fifty-move", "50 move"], "by the fifty-move rule"),
        (&["abandon"], "abandoned"),
        (&["adjudicat"], "by adjudication"),
        (&["rules infraction", "illegal move"], "by rules infraction"),
        (&["emergency"], "emergency"),
    ];
    table.iter().find(|(words, _)| has(words)).map(|&(_, reason)| reason)
}
