//! The pace at which a thought appears, so that people can read along.

use super::MediaMs;

/// Characters a second while the reader is up to date.
const PACE: f64 = 45.0;
/// Characters a second while catching up.
const CATCH_UP: f64 = 90.0;
/// Further behind than this many characters it catches up.
const BEHIND: f64 = 90.0;
/// Further behind than ten seconds of catching up, it skips to the newest sentence.
const LOST: f64 = 900.0;
/// A word without a space after it is taken as whole when nothing came for this long, ms.
const WORD_PAUSE: i64 = 700;
/// Text is repainted at most ten times a second.
const STEP: i64 = 100;

/// How far a side's thought has been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reader {
    pub(super) id: String,
    /// Byte from which on text is shown; over 0 after a skip.
    start: usize,
    /// Read up to here at `at`: a byte, and characters after it.
    byte: usize,
    chars: f64,
    at: MediaMs,
    /// Bytes of text at `at`.
    len: usize,
    /// Characters of text after `byte`.
    ahead: f64,
    changed: MediaMs,
    done: bool,
    /// What was shown stays: a word that paused and then went on is not taken back.
    shown: usize,
}

/// What is shown of a thought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of the thought's text.
    pub start: usize,
    pub end: usize,
    /// More is to come.
    pub streaming: bool,
}

impl Reader {
    /// A thought that begins at `at`; `read`: it had been there before anybody looked.
    pub(super) fn new(id: &str, text: &str, done: bool, at: MediaMs, read: bool) -> Reader {
        let mut reader = Reader {
            id: id.to_owned(),
            start: 0,
            byte: 0,
            chars: 0.0,
            at,
            len: 0,
            ahead: 0.0,
            changed: at,
            done,
            shown: 0,
        };
        reader.take(text, done, at);
        if read {
            reader.byte = text.len();
            (reader.chars, reader.ahead, reader.start) = (0.0, 0.0, 0);
            // What was there before is a whole word.
            reader.changed = at - WORD_PAUSE;
        }
        reader
    }

    /// The text as it is from `at` on: the old one with more behind it.
    pub(super) fn update(&mut self, text: &str, done: bool, at: MediaMs) {
        if text.len() == self.len && done == self.done {
            return;
        }
        if let Some(before) = text.get(..self.len) {
            self.shown = self.at(before, at).end;
        }
        self.take(text, done, at);
    }

    fn take(&mut self, text: &str, done: bool, at: MediaMs) {
        let read = self.chars + self.gone(at);
        // A rewritten, shorter text starts over.
        if text.len() < self.len || [self.byte, self.start, self.shown].iter().any(|i| !text.is_char_boundary(*i)) {
            (self.start, self.byte, self.chars, self.shown) = (0, 0, 0.0, 0);
        }
        let whole = read.floor();
        self.byte = nth(text, self.byte, whole as usize);
        self.chars = read - whole;
        self.at = at;
        if text.len() != self.len {
            self.changed = at;
        }
        (self.len, self.done) = (text.len(), done);
        self.ahead = text[self.byte..].chars().count() as f64;
        if self.ahead - self.chars > LOST {
            let newest = newest_sentence(text);
            if newest > self.byte {
                (self.start, self.byte, self.chars) = (newest, newest, 0.0);
                self.ahead = text[newest..].chars().count() as f64;
            }
        }
        self.chars = self.chars.min(self.ahead);
    }

    /// Characters read between `self.at` and `t`.
    fn gone(&self, t: MediaMs) -> f64 {
        let seconds = (t - self.at).max(0) as f64 / 1_000.0;
        let behind = (self.ahead - self.chars).max(0.0);
        let hurry = ((behind - BEHIND) / CATCH_UP).max(0.0);
        let gone = if seconds <= hurry { seconds * CATCH_UP } else { hurry * CATCH_UP + (seconds - hurry) * PACE };
        gone.min(behind)
    }

    /// What is shown of `text` at `t`: whole words only.
    pub(super) fn at(&self, text: &str, t: MediaMs) -> Reading {
        let t = self.at.max(t - t.rem_euclid(STEP));
        let read = (self.chars + self.gone(t)).floor() as usize;
        // Told about another text than `update` was.
        if text.len() < self.len || [self.byte, self.start, self.shown].iter().any(|i| !text.is_char_boundary(*i)) {
            return Reading::default();
        }
        let pos = nth(text, self.byte, read);
        let whole = pos == text.len() && (self.done || t - self.changed >= WORD_PAUSE);
        let end = if whole { pos } else { word_end(text, pos).max(self.start).max(self.shown) };
        Reading { start: self.start, end, streaming: !self.done || pos < text.len() }
    }

    /// When more appears next after `t`.
    pub(super) fn next_change(&self, t: MediaMs) -> Option<MediaMs> {
        let moving = self.chars + self.gone(t) < self.ahead || (!self.done && t - self.changed < WORD_PAUSE + STEP);
        moving.then(|| t - t.rem_euclid(STEP) + STEP)
    }
}

/// The byte `n` characters after byte `from`.
fn nth(text: &str, from: usize, n: usize) -> usize {
    text[from..].char_indices().nth(n).map_or(text.len(), |(i, _)| from + i)
}

/// The end of the last whole word at or before `pos`.
fn word_end(text: &str, pos: usize) -> usize {
    let after = text[pos..].chars().next();
    let mut next = after;
    let mut end = pos;
    // A "word" longer than this (a URL, a hash) is shown as it comes.
    for c in text[..pos].chars().rev().take(48) {
        let parts = next.is_some_and(char::is_whitespace) || c.is_whitespace() || stands_alone(c);
        if parts {
            return end;
        }
        end -= c.len_utf8();
        next = Some(c);
    }
    if end == 0 { 0 } else { pos }
}

/// Scripts that put no spaces between words.
fn stands_alone(c: char) -> bool {
    use unicode_script::{Script, UnicodeScript};
    matches!(
        c.script(),
        Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
    ) || ('\u{3000}'..='\u{303f}').contains(&c)
        || ('\u{ff00}'..='\u{ffef}').contains(&c)
}

/// The byte at which the last sentence of `text` begins.
pub fn newest_sentence(text: &str) -> usize {
    let mut starts = sentence_starts(text);
    starts.next_back().unwrap_or(0)
}

/// Bytes at which sentences begin, the first one's 0 included. A full stop between letters or digits (`10.Nd5`) ends none.
pub fn sentence_starts(text: &str) -> impl DoubleEndedIterator<Item = usize> {
    let mut starts = vec![0];
    let mut ended = false;
    let mut space = false;
    for (i, c) in text.char_indices() {
        if c.is_whitespace() {
            space = ended || c == '\n';
            ended |= c == '\n';
        } else {
            if space && ended && !c.is_lowercase() {
                starts.push(i);
            }
            let closes = matches!(c, ')' | '"' | '”' | '’' | '»' | '」' | '』');
            let cjk = matches!(c, '。' | '！' | '？' | '｡');
            ended = matches!(c, '.' | '!' | '?' | '…' | '؟' | '۔' | '।') || cjk || (ended && closes && !space);
            // CJK sentences follow each other without a space.
            space = cjk;
        }
    }
    starts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chess_notation_ends_no_sentence() {
        let text = "White to move after 9…a6. Quiet moves lose. 10.Nd5 attacks both. Then 10…Nxd5 11.Bxe7";
        let starts: Vec<_> = sentence_starts(text).map(|i| text[i..].split(' ').next().unwrap()).collect();
        assert_eq!(starts, ["White", "Quiet", "10.Nd5", "Then"]);
        assert_eq!(sentence_starts("先手。後手！次").count(), 3);
    }

    #[test]
    fn a_word_appears_whole_and_the_caret_stays_while_streaming() {
        let mut reader = Reader::new("t", "Knight to d", false, 0, false);
        let text = "Knight to d5 now";
        assert_eq!(&text_of(&reader, "Knight to d", 600), "Knight to");
        reader.update(text, false, 600);
        let shown = reader.at(text, 1_000);
        assert_eq!((text[..shown.end].trim_end(), shown.streaming), ("Knight to d5", true));
        reader.update(text, true, 1_000);
        assert_eq!(reader.at(text, 1_100), Reading { start: 0, end: text.len(), streaming: false });
    }

    fn text_of(reader: &Reader, text: &str, t: MediaMs) -> String {
        let shown = reader.at(text, t);
        text[shown.start..shown.end].trim_end().to_owned()
    }

    #[test]
    fn far_behind_skips_to_the_newest_sentence() {
        let text = "Long thoughts about nothing. ".repeat(60) + "Now it matters.";
        let reader = Reader::new("t", &text, true, 0, false);
        assert_eq!(&text[reader.at(&text, 0).start..], "Now it matters.");
        assert_eq!(reader.at(&text, 5_000).end, text.len());
    }

    proptest! {
        #[test]
        fn text_only_grows_at_a_pace_people_can_read(deltas in prop::collection::vec(("[a-z]{1,9}[ .]{0,2}", 1i64..900), 1..60)) {
            let (mut text, mut t) = (String::new(), 0);
            let mut reader = Reader::new("t", "", false, 0, false);
            let mut last = (0, 0usize, 0usize);
            for (delta, dt) in deltas {
                for step in (0..dt).step_by(33) {
                    let now = t + step;
                    let shown = reader.at(&text, now);
                    prop_assert!(shown.end <= text.len() && shown.start <= shown.end);
                    prop_assert!(shown.end >= last.1 || shown.start > last.2);
                    if shown.start == last.2 {
                        // A word may wait for its end and then appear at once: allow its length, and one repaint step.
                        let gained = text[..shown.end].chars().count() as f64 - text[..last.1.min(shown.end)].chars().count() as f64;
                        prop_assert!(gained <= CATCH_UP * ((now - last.0) as f64 + STEP as f64) / 1_000.0 + 48.0);
                    }
                    last = (now, shown.end, shown.start);
                }
                t += dt;
                text.push_str(&delta);
                reader.update(&text, false, t);
            }
            reader.update(&text, true, t);
            prop_assert_eq!(reader.at(&text, t + 60_000).end, text.len());
        }
    }
}
