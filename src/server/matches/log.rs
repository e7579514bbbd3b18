//! A match's log: wire JSON, one event a line, with `first` where an event stands for several numbers.

use crate::game::{Event, Reducer};
use crate::store::{LoggedEvent, SavedMatch};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(flatten)]
    event: &'a Event,
}

/// An event as it is logged. `first`: of the numbers that it stands for.
pub(super) fn line(first: u64, event: &Event) -> LoggedEvent {
    let line = Line { first: (first != event.seq).then_some(first), event };
    let json = serde_json::to_string(&line).expect("an event has only string keys and writes to memory");
    LoggedEvent { epoch: event.epoch, seq: event.seq, json }
}

/// The reducer as it was, and what could not be read of it, in words.
pub(super) fn replay(saved: &SavedMatch) -> (Reducer, Vec<String>) {
    let mut damage = Vec::new();
    let mut reducer = match saved.snapshot.as_deref().map(Reducer::restore) {
        None => Reducer::default(),
        Some(Ok(reducer)) => reducer,
        Some(Err(error)) => {
            damage.push(format!("its snapshot is gone: {error}"));
            Reducer::default()
        }
    };
    for logged in &saved.events {
        match read(logged) {
            // A refusal was one the first time too, and lets the next one by.
            Ok((first, event)) => {
                let _ = reducer.apply_joined(first, event);
            }
            Err(error) => {
                damage.push(format!("event {}/{}: {error}", logged.epoch, logged.seq));
                reducer.lose();
            }
        }
    }
    (reducer, damage)
}

fn read(logged: &LoggedEvent) -> Result<(u64, Event), String> {
    let value: Value = serde_json::from_str(&logged.json).map_err(|e| e.to_string())?;
    let event = Event::from_value(&value).map_err(|e| e.to_string())?;
    if (event.epoch, event.seq) != (logged.epoch, logged.seq) {
        return Err("it bears another number".to_owned());
    }
    let first = value.get("first").and_then(Value::as_u64).unwrap_or(event.seq);
    Ok((first, event))
}
