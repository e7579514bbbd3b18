//! Which format a file is in, by its content.

use super::Format;
use serde_json::Value;

/// How much of a file decides, bytes.
const HEAD: usize = 64 * 1024;

/// The format of a record, whole or broken off, or `None`.
pub fn detect(bytes: &[u8]) -> Option<Format> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    if head.starts_with('{') { detect_json(head) } else { detect_text(head) }
}

fn detect_json(head: &str) -> Option<Format> {
    let line = head.lines().next()?;
    let first: Option<Value> = serde_json::from_str(line).ok();
    // A first line that is no JSON by itself is pretty-printed or broken off: then the keys' names must do.
    let has = |key: &str| match &first {
        Some(object) => object.get(key).is_some(),
        None => head.contains(&format!("\"{key}\"")),
    };
    if has("Type") && has("Data") {
        return Some(Format::BattlesnakeEvents);
    }
    if has("specification") && (first.is_none() || has("steps") && has("statuses")) {
        return Some(Format::Kaggle);
    }
    if has("ruleset") && (has("source") || first.is_none()) {
        return Some(Format::BattlesnakeOutput);
    }
    if has("match") && has("seq") && has("type") {
        return Some(Format::Wire);
    }
    // The specification is the size of a small file; one that breaks off before it still has these.
    (has("module_version") && has("configuration")).then_some(Format::Kaggle)
}

fn detect_text(head: &str) -> Option<Format> {
    let key = |line: &str, names: &[&str]| {
        line.split_once('=').is_some_and(|(name, _)| names.contains(&name.trim().trim_matches(['"', '\''])))
    };
    if head.lines().any(|line| key(line, &["variant"]))
        && head.lines().any(|line| key(line, &["actions", "antes", "blinds_or_straddles", "starting_stacks"]))
    {
        return Some(Format::Phh);
    }
    head.lines().any(is_pgn_tag).then_some(Format::Pgn)
}

/// `[Event "Casual game"]`
fn is_pgn_tag(line: &str) -> bool {
    let Some((name, rest)) = line.trim().strip_prefix('[').and_then(|tag| tag.split_once(char::is_whitespace)) else {
        return false;
    };
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && rest.trim_start().starts_with('"')
        && rest.trim_end().ends_with("\"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detect_by_first_bytes_names_the_format() {
        let cases: [(&str, Option<Format>); 16] = [
            (
                r#"{"id":"x","ruleset":{"name":"standard"},"map":"","timeout":1,"source":""}"#,
                Some(Format::BattlesnakeOutput),
            ),
            (r#"{"id":"x","ruleset":{"na"#, Some(Format::BattlesnakeOutput)),
            (r#"{"Type":"frame","Data":{"Turn":0}}"#, Some(Format::BattlesnakeEvents)),
            (r#"{"Type":"frame","Data":{"Tu"#, Some(Format::BattlesnakeEvents)),
            (r#"{"id":"x","steps":[],"statuses":[],"specification":{}}"#, Some(Format::Kaggle)),
            ("{\n \"module_version\": \"1\",\n \"configuration\": {", Some(Format::Kaggle)),
            ("[Event \"Casual\"]\n[Site \"?\"]\n\n1. e4", Some(Format::Pgn)),
            ("% comment\n\n[Event \"Casual\"]\n", Some(Format::Pgn)),
            ("variant = \"NT\"\nantes = [0, 0]\nactions = []\n", Some(Format::Phh)),
            (r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":0,"type":"marker","data":{}}"#, Some(Format::Wire)),
            (r#"{"Game":{"ID":"x","Width":11}}"#, None),
            (r#"[[],[],[{"duration":0.1}]]"#, None),
            ("[1, 2, 3]", None),
            ("[Event] \"quoted\"", None),
            ("name = \"agentcast\"\nversion = \"0.1\"", None),
            ("", None),
        ];
        for (text, format) in cases {
            assert_eq!(detect(text.as_bytes()), format, "{text}");
        }
        assert_eq!(detect(b"\xEF\xBB\xBF[Event \"BOM\"]"), Some(Format::Pgn));
        assert_eq!(detect(&[0xff, 0xfe, 0, 0, 1]), None);
    }
}
