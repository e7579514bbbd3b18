//! Our own wire format in a file, one event a line: what a game server sent, to be played again.

use super::{Format, Record, RecordError, Timed, malformed};
use crate::game::limits::TIME_MS;
use crate::game::wire::Event;

/// Longest pause between two events of a record, ms: five minutes. Beyond it the server's clock was changed, or nobody
/// would watch the wait; a `ts` that jumps from 0 to Unix time would be decades of video.
const PAUSE_MS: i64 = 5 * 60 * 1000;

/// Reads the events as they are: ids, numbers, visibility and `ts` stay. Their `ts` says when they happen: a pause lasts
/// [`PAUSE_MS`] at most, a clock that falls behind stands still until it has caught up, and one that falls further
/// behind than that was set back and goes on from there.
pub(super) fn read(text: &str) -> Result<Record, RecordError> {
    let mut events: Vec<Timed> = Vec::new();
    let mut truncated = None;
    let (mut at, mut clock) = (0_i64, None);
    for (index, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match Event::from_json(line.trim()) {
            Ok(event) => {
                if event.ts.unsigned_abs() > TIME_MS.unsigned_abs() {
                    let problem = format!("ts: {} ms is not within -{TIME_MS} to {TIME_MS}", event.ts);
                    return Err(malformed(format!("line {}", index + 1), problem));
                }
                let passed = event.ts.saturating_sub(*clock.get_or_insert(event.ts));
                if !(-PAUSE_MS..=0).contains(&passed) {
                    at = at.saturating_add(passed.clamp(0, PAUSE_MS));
                    clock = Some(event.ts);
                }
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

    fn times(ts: &[i64]) -> Vec<i64> {
        let lines: Vec<String> = ts
            .iter()
            .zip(1..)
            .map(|(ts, seq)| {
                let line = if seq == 1 { STARTED.replace("5000", "TS") } else { MARKER.replace("6200", "TS") };
                line.replace("TS", &ts.to_string()).replace("\"seq\":2", &format!("\"seq\":{seq}"))
            })
            .collect();
        let record = read(&(lines.join("\n") + "\n")).unwrap();
        assert_eq!(record.events.iter().map(|e| e.event.ts).collect::<Vec<_>>(), ts, "the events keep their own");
        record.events.iter().map(|e| e.at).collect()
    }

    #[test]
    fn wire_lines_whose_clock_jumps_pause_five_minutes_at_most() {
        const UNIX: i64 = 1_790_000_000_000;
        assert_eq!(times(&[0, UNIX, UNIX + 900]), [0, PAUSE_MS, PAUSE_MS + 900]);
        assert_eq!(times(&[0, PAUSE_MS, 2 * PAUSE_MS + 1]), [0, PAUSE_MS, 2 * PAUSE_MS]);
        assert_eq!(times(&[-TIME_MS, TIME_MS]), [0, PAUSE_MS]);
    }

    #[test]
    fn wire_lines_whose_clock_falls_behind_stand_still_and_go_on() {
        assert_eq!(times(&[0, 1_000, 400, 900, 1_500]), [0, 1_000, 1_000, 1_000, 1_500]);
        assert_eq!(times(&[9_000_000, 9_001_000, 0, 700]), [0, 1_000, 1_000, 1_700], "set back by hours");
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
