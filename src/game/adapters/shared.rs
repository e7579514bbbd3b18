//! What several adapters need: ids, dates, places in a text, texts within the limits.

use super::RecordError;

/// An id that differs between records and stays the same for one: `chess-1f0c…`, by FNV-1a of the whole text.
pub(super) fn match_id(game: &str, text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{game}-{hash:016x}")
}

/// At most `limit` characters on one line; what is cut off becomes `…`. Control characters become spaces.
pub(super) fn clip(text: &str, limit: usize) -> String {
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    super::clip(&clean, limit)
}

/// Midnight UTC of a date as Unix ms. None: no such date, or outside the years 1000 to 9999.
pub(super) fn unix_ms(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1000..=9999).contains(&year) || !(1..=days).contains(&day) {
        return None;
    }
    // Days since 1970-01-01 with years that begin in March, so that the leap day is the last one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    Some(days * 86_400_000)
}

/// Line and column of a byte offset, both from 1; columns count characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// An error at a byte offset of the text: `line 3 column 7: …`.
pub(super) fn malformed_at(text: &str, offset: usize, problem: String) -> RecordError {
    let (line, column) = position(text, offset);
    super::malformed(format!("line {line} column {column}"), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_unix_time() {
        assert_eq!(unix_ms(1970, 1, 1), Some(0));
        assert_eq!(unix_ms(2000, 2, 29), Some(951_782_400_000));
        assert_eq!(unix_ms(2026, 11, 20), Some(1_795_132_800_000));
        assert_eq!(unix_ms(2025, 2, 29), None);
        assert_eq!(unix_ms(i64::MAX, 1, 1), None);
    }

    #[test]
    fn long_texts_are_clipped_by_characters() {
        assert_eq!(clip(" 国际象棋 ", 4), "国际象棋");
        assert_eq!(clip("国际象棋", 3), "国际…");
        assert_eq!(clip("a\nb", 9), "a b");
    }

    #[test]
    fn places_count_characters_from_one() {
        assert_eq!(position("ab\nçd", 6), (2, 3));
        assert_eq!(position("", 9), (1, 1));
    }
}
