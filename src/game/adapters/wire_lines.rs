//! Our own wire format in a file, one event a line: what a game server sent, to be played again.

use super::{Format, Record, RecordError, Timed, malformed};
use crate::game::limits::TIME_MS;
use crate::game::wire::Event;

/// Reads the events as they are: ids, numbers and visibility stay. Their `ts` says when they happen; a clock that
/// falls behind stands still.
pub(super) fn read(text: &str) -> Result<Record, RecordError> {
    let mut events: Vec<Timed> = Vec::new();
    let mut truncated = None;
    let mut start = None;
    for (index, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match Event::from_json(line.trim()) {
            Ok(event) => {
                if event.ts.unsigned_abs() > TIME_MS.unsigned_abs() {
                    let problem = format!("ts: {} ms is not within -{TIME_MS} to {TIME_MS}", event.ts);
                    return Err(malformed(format!("line {}", index + 1), problem));
                }
                let start = *start.get_or_insert(event.ts);
                let at = event.ts.saturating_sub(start).max(events.last().map_or(0, |last| last.at));
                events.push(Timed { at, event });
            }
            // Only the last line has no line end.
            Err(_) if breaks_off(line) && !events.is_empty() => {
                truncated = Some(format!("line {} breaks off", index + 1))
            }
            Err(error) => return Err(malformed(format!("line {}", index + 1), error.to_string())),
        }
    }
    if events.is_empty() {
        return Err(malformed("line 1", "no event"));
    }
    Ok(Record { format: Format::Wire, events, truncated })
}

fn breaks_off(line: &str) -> bool {
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(line);
    !line.ends_with('\n') && parsed.is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str =
        r#"{"v":1,"match":"m","epoch":1,"seq":1,"ts":5000,"type":"match.started","data":{"sides":{"a":{"seat":0}}}}"#;
    const MARKER: &str = r#"{"v":1,"match":"m","epoch":1,"seq":2,"ts":6200,"type":"marker","data":{"label":"x"}}"#;

    #[test]
    fn wire_lines_play_at_their_own_times() {
        let record = read(&format!("{STARTED}\n\n{MARKER}\n")).unwrap();
        assert_eq!(record.events.iter().map(|e| e.at).collect::<Vec<_>>(), [0, 1_200]);
        assert_eq!(record.truncated, None);
    }

    #[test]
    fn wire_line_cut_short_ends_the_record_and_says_so() {
        let record = read(&format!("{STARTED}\n{}", &MARKER[..30])).unwrap();
        assert_eq!((record.events.len(), record.truncated.as_deref()), (1, Some("line 2 breaks off")));
    }

    #[test]
    fn wire_line_of_an_impossible_time_is_refused_with_its_number() {
        let late = MARKER.replace("6200", &i64::MAX.to_string());
        let error = read(&format!("{STARTED}\n{late}\n")).unwrap_err();
        assert!(error.to_string().starts_with("line 2: ts: "), "{error}");
    }

    #[test]
    fn wire_line_with_nonsense_is_refused_with_its_number() {
        let error = read(&format!("{STARTED}\n{{\"v\":1}}\n{MARKER}\n")).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
