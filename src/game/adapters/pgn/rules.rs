//! Chess as PGN needs it, on top of `cozy-chess`: positions from FEN, moves from SAN, how a game ended.
//!
//! In `cozy-chess` castling is the king taking its own rook, in standard chess too.

use cozy_chess::{Board, Color, File, Move, Piece, Rank, Square};

/// Why a move as written cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SanError {
    Unreadable,
    Illegal,
    Ambiguous,
}

/// The legal move that `text` means. Takes SAN, long algebraic (`e2-e4`) and castling with letters or zeros; a check
/// or mate sign is not required to be right.
pub(super) fn find_move(board: &Board, text: &str) -> Result<Move, SanError> {
    let text = text.trim_end_matches(['+', '#', '!', '?']);
    let castling = text.replace(['0', 'o'], "O");
    let color = board.side_to_move();
    if castling == "O-O" || castling == "O-O-O" {
        let rights = board.castle_rights(color);
        let rook = if castling == "O-O" { rights.short } else { rights.long };
        let king = board.king(color);
        let rook = Square::new(rook.ok_or(SanError::Illegal)?, king.rank());
        let mv = Move { from: king, to: rook, promotion: None };
        return if board.is_legal(mv) { Ok(mv) } else { Err(SanError::Illegal) };
    }
    let wanted = Wanted::parse(text).ok_or(SanError::Unreadable)?;
    let mut found = Vec::new();
    board.generate_moves_for(board.colored_pieces(color, wanted.piece), |moves| {
        let castles = |to| wanted.piece == Piece::King && board.colors(color).has(to);
        found.extend(moves.into_iter().filter(|m| {
            m.to == wanted.to
                && m.promotion == wanted.promotion
                && wanted.file.is_none_or(|f| m.from.file() == f)
                && wanted.rank.is_none_or(|r| m.from.rank() == r)
                && !castles(m.to)
        }));
        false
    });
    match found.as_slice() {
        [mv] => Ok(*mv),
        [] => Err(SanError::Illegal),
        _ => Err(SanError::Ambiguous),
    }
}

/// What a move in letters says.
struct Wanted {
    piece: Piece,
    file: Option<File>,
    rank: Option<Rank>,
    to: Square,
    promotion: Option<Piece>,
}

impl Wanted {
    fn parse(text: &str) -> Option<Wanted> {
        let piece_of = |c: char| c.to_ascii_lowercase().try_into().ok();
        let mut rest = text;
        let piece = match rest.chars().next()? {
            c @ ('K' | 'Q' | 'R' | 'B' | 'N' | 'P') => {
                rest = &rest[1..];
                piece_of(c)?
            }
            _ => Piece::Pawn,
        };
        let mut promotion = None;
        if let Some(c) = rest.chars().last().filter(|c| "QRBNqrbn".contains(*c)) {
            // `b` behind a rank is a bishop: squares end in digits.
            promotion = piece_of(c);
            rest = rest[..rest.len() - 1].trim_end_matches('=');
        }
        let split = rest.len().checked_sub(2).filter(|&n| rest.is_char_boundary(n))?;
        let to: Square = rest[split..].parse().ok()?;
        let from = rest[..split].trim_end_matches(['x', '-', ':']);
        let mut chars = from.chars().peekable();
        let file = chars.next_if(|c| ('a'..='h').contains(c)).and_then(|c| c.try_into().ok());
        let rank = chars.next_if(|c| ('1'..='8').contains(c)).and_then(|c| c.try_into().ok());
        (chars.next().is_none()).then_some(Wanted { piece, file, rank, to, promotion })
    }
}

/// A position from FEN, X-FEN or Shredder-FEN. The two counters may be missing; an en passant square that nothing can
/// follow from is dropped, as some programs write one after every double step.
pub(super) fn position(fen: &str) -> Option<Board> {
    let fields: Vec<&str> = fen.split_whitespace().collect();
    let &[placement, turn, castling, passant, ref counters @ ..] = fields.as_slice() else { return None };
    if counters.len() > 2 {
        return None;
    }
    let halfmoves = counters.first().map_or(Some(0), |n| n.parse::<u32>().ok())?.min(100);
    let number = counters.get(1).map_or(Some(1), |n| n.parse::<u16>().ok())?.max(1);
    let castling = shredder(placement, castling)?;
    [passant, "-"]
        .iter()
        .find_map(|p| Board::from_fen(&format!("{placement} {turn} {castling} {p} {halfmoves} {number}"), true).ok())
}

/// Castling rights by rook file. `K` and `Q` mean the outermost rook (X-FEN), which in standard chess is the same.
fn shredder(placement: &str, castling: &str) -> Option<String> {
    if castling == "-" {
        return Some(castling.to_owned());
    }
    let back_rank = |row: Option<&str>| -> Vec<char> {
        let spread = |c: char| match c.to_digit(10) {
            Some(n) => vec![' '; n as usize],
            None => vec![c],
        };
        row.unwrap_or_default().chars().flat_map(spread).take(8).collect()
    };
    let white = back_rank(placement.split('/').next_back());
    let black = back_rank(placement.split('/').next());
    let rook_file = |c: char| {
        let (row, king, rook) = if c.is_ascii_uppercase() { (&white, 'K', 'R') } else { (&black, 'k', 'r') };
        let king = row.iter().position(|&p| p == king)?;
        let index = match c.to_ascii_lowercase() {
            'k' => row.iter().rposition(|&p| p == rook).filter(|&r| r > king)?,
            _ => row.iter().position(|&p| p == rook).filter(|&r| r < king)?,
        };
        let file = char::from(b'a' + u8::try_from(index).ok()?);
        Some(if c.is_ascii_uppercase() { file.to_ascii_uppercase() } else { file })
    };
    castling.chars().map(|c| if "KQkq".contains(c) { rook_file(c) } else { Some(c) }).collect()
}

/// What ends a game on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Checkmate,
    Stalemate,
    Material,
    Repetition,
    FiftyMoves,
}

/// How the last of `history` ends the game, if it does. Repetition and fifty moves count when a player could claim
/// them, with a move that leads there too (FIDE laws 9.2 and 9.3).
pub(super) fn ending(history: &[Board]) -> Option<Ending> {
    let board = history.last()?;
    let mut moves = Vec::new();
    board.generate_moves(|m| {
        moves.extend(m);
        false
    });
    let seen = |position: &Board| history.iter().filter(|b| b.same_position(position)).count();
    if moves.is_empty() {
        return Some(if board.checkers().is_empty() { Ending::Stalemate } else { Ending::Checkmate });
    }
    if bare(board) {
        return Some(Ending::Material);
    }
    let leads_to = |test: &dyn Fn(&Board) -> bool| {
        moves.iter().any(|&m| {
            let mut next = board.clone();
            next.play_unchecked(m);
            test(&next)
        })
    };
    if seen(board) >= 3 || leads_to(&|next| seen(next) >= 2) {
        return Some(Ending::Repetition);
    }
    (leads_to(&|next| next.halfmove_clock() >= 100)).then_some(Ending::FiftyMoves)
}

/// Neither side can ever mate: kings with at most one minor piece, or bishops all on one colour.
fn bare(board: &Board) -> bool {
    let minor = board.pieces(Piece::Knight) | board.pieces(Piece::Bishop);
    let others = board.occupied() ^ board.pieces(Piece::King) ^ minor;
    let dark = |s: Square| (s.file() as usize + s.rank() as usize).is_multiple_of(2);
    let bishops = board.pieces(Piece::Bishop);
    let dark_bishops = bishops.into_iter().filter(|&s| dark(s)).count();
    others.is_empty()
        && (minor.len() <= 1
            || board.pieces(Piece::Knight).is_empty()
                && (dark_bishops == 0 || dark_bishops == bishops.into_iter().count()))
}

/// Squares between which a move goes, as played on a real board: castling ends where the king ends.
pub(super) struct Steps {
    pub from: Square,
    pub to: Square,
    /// The rook's squares when castling.
    pub rook: Option<(Square, Square)>,
    /// Where a man is taken off.
    pub captured: Option<Square>,
}

/// `mv` must be legal on `board`.
pub(super) fn steps(board: &Board, mv: Move) -> Steps {
    let color = board.side_to_move();
    if board.colors(color).has(mv.to) {
        let rank = Rank::First.relative_to(color);
        let (king, rook) = if mv.from.file() < mv.to.file() { (File::G, File::F) } else { (File::C, File::D) };
        let rook = Some((mv.to, Square::new(rook, rank)));
        return Steps { from: mv.from, to: Square::new(king, rank), rook, captured: None };
    }
    let passant = board.piece_on(mv.from) == Some(Piece::Pawn)
        && mv.from.file() != mv.to.file()
        && board.piece_on(mv.to).is_none();
    let captured =
        if passant { Some(Square::new(mv.to.file(), mv.from.rank())) } else { board.piece_on(mv.to).map(|_| mv.to) };
    Steps { from: mv.from, to: mv.to, rook: None, captured }
}

/// `white` and `black`: the ids of the sides.
pub(super) fn side(color: Color) -> &'static str {
    match color {
        Color::White => "white",
        Color::Black => "black",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(fen: &str) -> Board {
        position(fen).expect("a position")
    }

    #[test]
    fn san_needs_just_enough_disambiguation() {
        let b = board("3k2n1/7P/Q3p3/4BPp1/Q1Q4q/8/5B2/R3K2R w KQ g6 0 1");
        let play = |san: &str| find_move(&b, san).map(|m| m.to_string());
        assert_eq!(play("Qa4c6"), Ok("a4c6".into()));
        assert_eq!(play("Q6c6"), Ok("a6c6".into()));
        assert_eq!(play("Qc6"), Err(SanError::Ambiguous));
        assert_eq!(play("hxg8=R+"), Ok("h7g8r".into()));
        assert_eq!(play("hxg8Q"), Ok("h7g8q".into()));
        assert_eq!(play("h8"), Err(SanError::Illegal), "a promotion must say what to");
        assert_eq!(play("fxg6"), Ok("f5g6".into()));
        assert_eq!(play("O-O-O+"), Ok("e1a1".into()));
        assert_eq!(play("0-0"), Ok("e1h1".into()));
        assert_eq!(play("Kh1"), Err(SanError::Illegal), "castling is not a capture");
        assert_eq!(play("Ké9"), Err(SanError::Unreadable));
        assert_eq!(play("é"), Err(SanError::Unreadable));
    }

    #[test]
    fn fen_takes_both_notations_of_castling() {
        let x = board("bbqrkrnn/pppppppp/8/8/8/8/PPPPPPPP/BBQRKRNN w KQkq - 0 1");
        assert_eq!(x, board("bbqrkrnn/pppppppp/8/8/8/8/PPPPPPPP/BBQRKRNN w FDfd -"));
        assert!(position("8/8/8/8/8/8/8/8 w - - 0 1").is_none(), "no kings");
        assert!(position("9k/K w KQ é 1 1").is_none());
        assert!(position("4k3/8/5N2/8/2pP4/8/8/4K3 b - d3 0 1").is_some(), "a needless en passant square");
    }

    #[test]
    fn endings_are_seen_on_the_board() {
        let end = |fen: &str| ending(&[board(fen)]);
        assert_eq!(end("7k/5QQ1/8/8/8/8/8/K7 b - - 0 1"), Some(Ending::Checkmate));
        assert_eq!(end("7k/5Q2/8/8/8/8/8/K7 b - - 0 1"), Some(Ending::Stalemate));
        assert_eq!(end("7k/8/8/8/8/8/5N2/K7 b - - 0 1"), Some(Ending::Material));
        assert_eq!(end("7k/8/8/8/8/8/R7/K7 b - - 99 80"), Some(Ending::FiftyMoves));
        assert_eq!(end("7k/8/8/8/8/8/R7/K7 b - - 0 80"), None);
    }
}
