use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory};

/// Cleans text from strangers for one line: NFC, no controls, bidi controls, tags, private use or unassigned characters, at
/// most two combining marks a base, white space (and letters that look like it) collapsed to single spaces and trimmed.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut marks, mut space, mut selector) = (0, true, false);
    // Dropping comes before composing: a control between a letter and its accent must not keep them apart.
    for c in text.chars().filter(|c| is_space(*c) || keeps(*c)).nfc() {
        if is_space(c) {
            if !space {
                out.push(' ');
            }
            (marks, space, selector) = (0, true, false);
            continue;
        }
        let keep = match c {
            '\u{FE00}'..='\u{FE0F}' => !std::mem::replace(&mut selector, true),
            _ if matches!(c.general_category(), G::NonspacingMark | G::EnclosingMark) => {
                marks += 1;
                marks <= 2
            }
            _ => {
                (marks, selector) = (0, false);
                true
            }
        };
        if keep {
            out.push(c);
            space = false;
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out
}

/// Like [`clean`], for text of several lines: line breaks stay, at most one empty line in a row.
pub fn clean_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 2;
    for line in text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).map(clean) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// `text` in a bidi isolate of its own (FSI … PDI): a name in a sentence that cannot reorder what stands round it.
pub fn isolate(text: &str) -> String {
    format!("\u{2068}{text}\u{2069}")
}

/// White space, and blanks that are letters by category (Hangul fillers, the empty Braille pattern): a name made of those
/// would be invisible.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}')
}

fn keeps(c: char) -> bool {
    match c.general_category() {
        G::Control | G::PrivateUse | G::Unassigned | G::Surrogate | G::LineSeparator | G::ParagraphSeparator => false,
        // Joiners are part of emoji and of Indic and Persian spelling. Bidi controls, tags, BOM and soft hyphens go.
        G::Format => matches!(c, '\u{200C}' | '\u{200D}'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_comes_out_plain() {
        assert_eq!(clean("  a\tb\r\n c\u{A0}\u{3000} "), "a b c");
        assert_eq!(clean("a\u{202E}b\u{2066}c\u{2069}\u{200F}"), "abc");
        assert_eq!(clean("x\u{0}\u{7}\u{9B}\u{FEFF}\u{AD}y"), "xy");
        assert_eq!(clean("\u{E000}\u{E0067}\u{378}z"), "z");
        assert_eq!(clean("\u{3164}\u{2800}\u{115F}"), "");
    }

    #[test]
    fn marks_beyond_two_are_dropped() {
        assert_eq!(clean("q\u{301}\u{302}\u{303}\u{304}x"), "q\u{301}\u{302}x");
        // Composed: the accent is part of the letter.
        assert_eq!(clean("e\u{301}"), "é");
        assert_eq!(clean("e\u{200B}\u{301}"), "é");
    }

    #[test]
    fn emoji_and_joined_scripts_stay_whole() {
        for s in ["👨‍👩‍👧", "❤️", "1️⃣", "🇺🇦", "می‌خواهم", "क्षत्रिय", "น้ำใจ"]
        {
            assert_eq!(clean(s), s.nfc().collect::<String>());
        }
        assert_eq!(clean("❤\u{FE0F}\u{FE0F}\u{FE0F}"), "❤\u{FE0F}");
    }

    #[test]
    fn line_breaks_stay_in_lines() {
        assert_eq!(clean_lines("\n\n a \r\n\n\n\nb\n c\n\n"), "a\n\nb\nc");
    }
}
