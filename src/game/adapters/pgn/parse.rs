//! The text of a PGN file: tags, move text, comments, variations. Knows no chess.
//!
//! Follows the PGN standard of 1994 (Edwards) and is forgiving where real files differ from it: quotes inside tag
//! values need not be escaped, move numbers are not checked, `!?` may stick to a move.

use super::super::RecordError;
use super::super::shared::{malformed_at, position};

/// The first game of a file.
#[derive(Debug, Default)]
pub(super) struct Game {
    pub tags: Vec<Tag>,
    /// Comments in words before the first move.
    pub intro: String,
    pub moves: Vec<Ply>,
    pub result: Option<Score>,
    /// Where the text breaks off, if it does.
    pub truncated: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tag {
    pub name: String,
    pub value: String,
    /// Byte offset in the text.
    pub at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Score {
    White,
    Black,
    Draw,
    /// `*`
    Open,
}

impl Score {
    pub fn parse(token: &str) -> Option<Score> {
        match token {
            "1-0" => Some(Score::White),
            "0-1" => Some(Score::Black),
            "1/2-1/2" | "1/2" | "½-½" => Some(Score::Draw),
            "*" => Some(Score::Open),
            _ => None,
        }
    }
}

/// One move as written and what is written about it.
#[derive(Debug, Default)]
pub(super) struct Ply {
    /// Without suffixes such as `!?`.
    pub san: String,
    /// Byte offset in the text.
    pub at: usize,
    /// The text ends right behind it, so it may be cut off.
    pub at_end: bool,
    /// `!`, `?`, `!!`, `??`, `!?` or `?!`; empty otherwise.
    pub glyph: &'static str,
    /// Comments in words.
    pub words: String,
    /// `%clk` in ms.
    pub clock: Option<i64>,
    /// `%emt` in ms.
    pub elapsed: Option<i64>,
    pub eval: Option<Value>,
    /// `%cal`: from and to as `[file, rank]`, both 0 to 7.
    pub arrows: Vec<[[u16; 2]; 2]>,
    /// Variations instead of this move, `words: moves`.
    pub variations: Vec<String>,
}

/// `%eval`, from White's view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// In pawns.
    Pawns(f64),
    /// Moves to mate; negative when Black mates.
    Mate(i32),
}

/// Nested variations deeper than this are an error; real files stay below ten.
const DEPTH: usize = 64;
/// Characters kept of one variation.
const LINE_CHARS: usize = 400;
/// The longest possible game has under 6,000 moves a side (seventy-five-move rule).
const PLIES: usize = 12_000;

/// Reads the first game of `text`.
pub(super) fn parse(text: &str) -> Result<Game, RecordError> {
    let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut parser =
        Parser { text, at, game: Game::default(), depth: 0, opened: 0, words: String::new(), line: String::new() };
    if !parser.tags()? {
        return Ok(parser.game);
    }
    parser.moves()?;
    Ok(parser.game)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    game: Game,
    /// Open variations.
    depth: usize,
    /// Where the outermost one was opened.
    opened: usize,
    /// Words and moves of the outermost open variation.
    words: String,
    line: String,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, at: usize, problem: impl Into<String>) -> RecordError {
        malformed_at(self.text, at, problem.into())
    }

    /// The text ends: `inside a comment`.
    fn cut(&mut self, at: usize, place: &str) {
        let line = position(self.text, at).0;
        self.at = self.text.len();
        self.game.truncated = Some(format!("the file ends {place} (line {line})"));
    }

    fn line_start(&self) -> bool {
        self.at == 0 || self.text[..self.at].ends_with(['\n', '\u{feff}'])
    }

    fn skip_line(&mut self) {
        self.at = self.rest().find('\n').map_or(self.text.len(), |n| self.at + n + 1);
    }

    /// Skips spaces and escape lines (`%` in the first column).
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            if self.peek() == Some('%') && self.line_start() {
                self.skip_line();
            } else {
                return;
            }
        }
    }

    /// Reads tags up to the move text. False: the text ended inside one.
    fn tags(&mut self) -> Result<bool, RecordError> {
        loop {
            self.skip_space();
            match self.peek() {
                Some(';') if self.game.tags.is_empty() => self.skip_line(),
                Some('[') => {
                    let line_end = self.rest().find('\n').map(|n| self.at + n);
                    let line = &self.text[self.at..line_end.unwrap_or(self.text.len())];
                    match tag(line) {
                        Some((name, value, length)) => {
                            self.game.tags.push(Tag { name, value, at: self.at });
                            self.at += length;
                        }
                        None if line_end.is_none() => {
                            self.cut(self.at, "inside a tag");
                            return Ok(false);
                        }
                        None => return Err(self.error(self.at, "expected a tag: [Name \"value\"]")),
                    }
                }
                _ => return Ok(true),
            }
        }
    }

    fn moves(&mut self) -> Result<(), RecordError> {
        loop {
            self.skip_space();
            let start = self.at;
            let Some(c) = self.peek() else {
                if self.depth > 0 {
                    self.cut(self.opened, "inside a variation");
                } else {
                    self.cut(start, "without a result");
                }
                return Ok(());
            };
            match c {
                '{' => {
                    let Some(length) = self.rest().find('}') else {
                        self.cut(start, "inside a comment");
                        return Ok(());
                    };
                    self.comment(start + 1, start + length)?;
                    self.at = start + length + 1;
                }
                ';' => {
                    self.skip_line();
                    self.comment(start + 1, self.at)?;
                }
                '(' => {
                    self.at += 1;
                    self.depth += 1;
                    if self.depth == 1 {
                        self.opened = start;
                    }
                    if self.depth > DEPTH {
                        return Err(self.error(start, format!("variations nest deeper than {DEPTH}")));
                    }
                }
                ')' => {
                    self.at += 1;
                    if self.depth == 0 {
                        return Err(self.error(start, "`)` closes no variation"));
                    }
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.close_variation();
                    }
                }
                '$' => {
                    self.at += 1;
                    let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                    let nag = &self.rest()[..digits];
                    if digits == 0 && !self.rest().is_empty() || digits > 3 {
                        return Err(self.error(start, "expected a number from 0 to 255 behind `$`"));
                    }
                    let glyph = nag_glyph(nag);
                    self.at += digits;
                    self.set_glyph(glyph);
                }
                '[' if self.depth == 0 && self.line_start() => {
                    // The next game begins.
                    let line = position(self.text, start).0;
                    self.game.truncated = Some(format!("the game has no result before the next one (line {line})"));
                    return Ok(());
                }
                '.' => self.at += 1,
                '}' | '[' | ']' | '"' => return Err(self.error(start, format!("unexpected `{c}` in the move text"))),
                _ => {
                    let length = self.rest().find(ends_symbol).unwrap_or(self.rest().len());
                    if self.symbol(start, start + length)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes a move, a number, a result or a glyph. True: the game is over.
    fn symbol(&mut self, start: usize, end: usize) -> Result<bool, RecordError> {
        let at_end = end == self.text.len();
        let token = &self.text[start..end];
        self.at = end;
        if token.bytes().all(|b| b.is_ascii_digit()) {
            let dots = self.rest().bytes().take_while(|&b| b == b'.').count();
            if self.depth == 1 {
                push_word(&mut self.line, &self.text[start..end + dots]);
            }
            self.at += dots;
            return Ok(false);
        }
        if let Some(score) = Score::parse(token) {
            if at_end && token == "1/2" {
                self.cut(start, "inside the result");
                return Ok(true);
            }
            if self.depth == 0 {
                self.game.result = Some(score);
            }
            return Ok(self.depth == 0);
        }
        if at_end && token.len() > 1 && ["1-0", "0-1", "1/2-1/2"].iter().any(|r| r.starts_with(token)) {
            self.cut(start, "inside the result");
            return Ok(true);
        }
        if token == "e" && self.rest().starts_with(".p.") {
            self.at += 3;
            return Ok(false);
        }
        let san = token.trim_end_matches(['!', '?']);
        let glyph = match &token[san.len()..] {
            "!" => "!",
            "?" => "?",
            "!!" => "!!",
            "??" => "??",
            "!?" => "!?",
            "?!" => "?!",
            _ => "",
        };
        // Symbols such as `+-` and `=` are opinions on the position, not moves.
        if !san.chars().any(char::is_alphanumeric) && san != "--" {
            self.set_glyph(glyph);
            return Ok(false);
        }
        if self.depth == 1 {
            push_word(&mut self.line, token);
        }
        if self.depth == 0 {
            if self.game.moves.len() >= PLIES {
                return Err(self.error(start, format!("more than {PLIES} half-moves")));
            }
            self.game.moves.push(Ply { san: san.to_owned(), at: start, at_end, glyph, ..Ply::default() });
        }
        Ok(false)
    }

    fn set_glyph(&mut self, glyph: &'static str) {
        if self.depth == 0
            && !glyph.is_empty()
            && let Some(ply) = self.game.moves.last_mut()
        {
            ply.glyph = glyph;
        }
    }

    fn close_variation(&mut self) {
        let words = std::mem::take(&mut self.words);
        let line: String = std::mem::take(&mut self.line).chars().take(LINE_CHARS).collect();
        let text = match (words.trim_end_matches(':'), line.is_empty()) {
            ("", false) => format!("Alternative: {line}"),
            (words, true) => words.to_owned(),
            (words, false) => format!("{words}: {line}"),
        };
        if let Some(ply) = self.game.moves.last_mut()
            && !text.is_empty()
        {
            ply.variations.push(text);
        }
    }

    /// A comment's text, between its braces.
    fn comment(&mut self, start: usize, end: usize) -> Result<(), RecordError> {
        let body = &self.text[start..end];
        let mut words = String::new();
        let mut at = 0;
        while let Some(open) = body[at..].find("[%") {
            let Some(close) = body[at + open..].find(']') else { break };
            push_words(&mut words, &body[at..at + open]);
            let command = &body[at + open + 2..at + open + close];
            if self.depth == 0 {
                self.command(command, start + at + open)?;
            }
            at += open + close + 1;
        }
        push_words(&mut words, &body[at..]);
        match (self.depth, self.game.moves.last_mut()) {
            (0, Some(ply)) => push_words(&mut ply.words, &words),
            (0, None) => push_words(&mut self.game.intro, &words),
            (1, _) => push_words(&mut self.words, &words),
            _ => {}
        }
        Ok(())
    }

    /// `clk 0:05:01.728` and its like. Others are ignored.
    fn command(&mut self, command: &str, at: usize) -> Result<(), RecordError> {
        let (name, value) = command.trim().split_once(char::is_whitespace).unwrap_or((command.trim(), ""));
        let value = value.trim();
        let bad = |wanted: &str| malformed_at(self.text, at, format!("[%{command}]: expected {wanted}"));
        let Some(ply) = self.game.moves.last_mut() else { return Ok(()) };
        match name {
            "clk" => ply.clock = Some(time(value).ok_or_else(|| bad("a time h:mm:ss"))?),
            "emt" => ply.elapsed = Some(time(value).ok_or_else(|| bad("a time h:mm:ss"))?),
            "eval" => ply.eval = Some(eval(value).ok_or_else(|| bad("pawns such as 0.28, or #-3"))?),
            "cal" => {
                for part in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                    ply.arrows.push(arrow(part).ok_or_else(|| bad("arrows such as Gg1f3"))?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Name, value and length of a tag at the start of `line`.
fn tag(line: &str) -> Option<(String, String, usize)> {
    let inner = line.strip_prefix('[')?.trim_start();
    let name: String = inner.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = inner[name.len()..].trim_start().strip_prefix('"')?;
    if name.is_empty() {
        return None;
    }
    let start = line.len() - rest.len();
    // A value may end in a backslash that escapes nothing.
    let (value, length) = value(rest, true).or_else(|| value(rest, false))?;
    Some((name, value, start + length))
}

/// A tag's value up to its `"]`; a quote without a bracket belongs to the value. Also the bytes used.
fn value(rest: &str, escapes: bool) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => match chars.next_if(|&(_, next)| next == '"' || next == '\\') {
                Some((_, next)) => value.push(next),
                None => value.push(c),
            },
            '"' => {
                let after = &rest[at + 1..];
                if let Some(tail) = after.trim_start().strip_prefix(']') {
                    return Some((value, rest.len() - tail.len()));
                }
                value.push(c);
            }
            c => value.push(c),
        }
    }
    None
}

fn ends_symbol(c: char) -> bool {
    c.is_whitespace() || "{}()[];$.\"".contains(c)
}

fn nag_glyph(number: &str) -> &'static str {
    match number {
        "1" => "!",
        "2" => "?",
        "3" => "!!",
        "4" => "??",
        "5" => "!?",
        "6" => "?!",
        _ => "",
    }
}

fn push_word(line: &mut String, word: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(word);
}

fn push_words(to: &mut String, words: &str) {
    words.split_whitespace().for_each(|w| push_word(to, w));
}

/// `h:mm:ss.f`, `m:ss` or seconds, in ms.
fn time(text: &str) -> Option<i64> {
    let mut seconds = 0.0;
    if text.split(':').count() > 3 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b':') {
        return None;
    }
    for part in text.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    // A year is more than any clock holds.
    (seconds < 31_536_000.0).then(|| (seconds * 1000.0).round() as i64)
}

/// `0.28`, `-1.3`, `#-3`, each with an optional `,depth`.
fn eval(text: &str) -> Option<Value> {
    let text = text.split([',', '/']).next()?.trim();
    if let Some(mate) = text.strip_prefix(['#', 'M']) {
        return Some(Value::Mate(mate.parse().ok()?));
    }
    let pawns: f64 = text.parse().ok()?;
    pawns.is_finite().then_some(Value::Pawns(pawns.clamp(-999.0, 999.0)))
}

/// `Gg1f3`: a colour letter and two squares.
fn arrow(text: &str) -> Option<[[u16; 2]; 2]> {
    let square = |file: u8, rank: u8| {
        let square = [u16::from(file.checked_sub(b'a')?), u16::from(rank.checked_sub(b'1')?)];
        (square[0] < 8 && square[1] < 8).then_some(square)
    };
    match *text.as_bytes() {
        [colour, a, b, c, d] if colour.is_ascii_alphabetic() => Some([square(a, b)?, square(c, d)?]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescaped_quotes_in_a_tag_stay_in_its_value() {
        let (name, value, _) = tag(r#"[White "v2 "Deep \ Thought" – x\"y"]"#).expect("a tag");
        assert_eq!((name.as_str(), value.as_str()), ("White", r#"v2 "Deep \ Thought" – x"y"#));
        assert_eq!(tag(r#"[A "x"] [B "y"]"#).expect("a tag").2, 7);
        assert_eq!(tag(r#"[A "C:\"]"#).expect("a tag").1, "C:\\");
    }

    #[test]
    fn annotations_leave_the_moves_alone() {
        let text = "%escape { x\n1.e4!? {a [%clk 0:01:02.5] b} ; line (\n(1. d4 (1. c4) d5 {deep}) $2 e5 $5 += 2. exd6 e.p. 1/2-1/2";
        let game = parse(text).expect("a game");
        let sans: Vec<_> = game.moves.iter().map(|m| m.san.as_str()).collect();
        assert_eq!(sans, ["e4", "e5", "exd6"]);
        assert_eq!(game.moves[0].words, "a b line (");
        assert_eq!(game.moves[0].clock, Some(62_500));
        assert_eq!(game.moves[0].glyph, "?");
        assert_eq!(game.moves[0].variations, ["deep: 1. d4 d5"]);
        assert_eq!(game.moves[1].glyph, "!?");
        assert_eq!(game.result, Some(Score::Draw));
        assert_eq!(game.truncated, None);
    }

    #[test]
    fn bad_annotation_names_its_place() {
        let error = parse("1. e4 *\n").and(parse("1. e4\n{ [%clk soon] } *")).expect_err("no time");
        assert_eq!(error.to_string(), "line 2 column 3: [%clk soon]: expected a time h:mm:ss");
        assert_eq!(parse("1. e4 ) *").expect_err("stray").to_string(), "line 1 column 7: `)` closes no variation");
    }

    #[test]
    fn evals_and_times_have_several_spellings() {
        assert_eq!(eval("#-3"), Some(Value::Mate(-3)));
        assert_eq!(eval("+0.25,15"), Some(Value::Pawns(0.25)));
        assert_eq!(eval("inf"), None);
        assert_eq!(time("1:02:03"), Some(3_723_000));
        assert_eq!(time("59.3"), Some(59_300));
        assert_eq!(time("0:-1"), None);
    }
}
