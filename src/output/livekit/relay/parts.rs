//! Messages that are too long for one data packet.

use serde_json::json;

/// Longest payload of a reliable packet. LiveKit's limit is 16 KiB with its own fields.
pub const PACKET_BYTES: usize = 15_000;
/// Parts of one message at most, about 200 kB of match state.
pub const PARTS: usize = 16;
/// What surrounds the text of a part: `{"id":18446744073709551615,"part":16,"parts":16,"text":""}`.
const AROUND: usize = 64;

/// The packets of a message: itself, or parts that are numbered from 1 and bear `id`. None: there would be more than
/// [`PARTS`].
pub(super) fn split(text: &str, id: u64) -> Option<Vec<Vec<u8>>> {
    if text.len() <= PACKET_BYTES {
        return Some(vec![text.as_bytes().to_vec()]);
    }
    let mut pieces = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, c) in text.char_indices() {
        bytes += escaped(c);
        if bytes > PACKET_BYTES - AROUND {
            pieces.push(&text[from..at]);
            (from, bytes) = (at, escaped(c));
            if pieces.len() == PARTS {
                return None;
            }
        }
    }
    pieces.push(&text[from..]);
    let parts = pieces.len();
    let part = |(n, text)| json!({ "id": id, "part": n + 1, "parts": parts, "text": text }).to_string().into_bytes();
    Some(pieces.into_iter().enumerate().map(part).collect())
}

/// Bytes of a character within a JSON string.
pub(super) fn escaped(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn long_message_comes_in_parts_that_fit_and_make_it_again() {
        let text: String = "{\"🏆\\\u{1}é".chars().cycle().take(60_000).collect();
        let packets = split(&text, u64::MAX).expect("not too long");
        assert!(packets.len() > 3 && packets.iter().all(|p| p.len() <= PACKET_BYTES), "{}", packets.len());
        let parts: Vec<Value> = packets.iter().map(|p| serde_json::from_slice(p).expect("JSON")).collect();
        for (n, part) in parts.iter().enumerate() {
            assert_eq!(part["part"], n + 1);
            assert_eq!(part["parts"], parts.len());
        }
        assert_eq!(parts.iter().map(|p| p["text"].as_str().expect("text")).collect::<String>(), text);
    }

    #[test]
    fn message_of_too_many_parts_is_none() {
        assert_eq!(split(&"x".repeat(PACKET_BYTES), 1).map(|p| p.len()), Some(1));
        assert_eq!(split(&"x".repeat(PARTS * (PACKET_BYTES - AROUND)), 1).map(|p| p.len()), Some(PARTS));
        assert_eq!(split(&"x".repeat(PARTS * PACKET_BYTES), 1), None);
    }
}
