//! Boards as compact JSON, and the merge patch that leads from one to another.

use crate::game::Snapshot;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// JSON without the fields that say nothing: their defaults hold where they are missing.
pub(super) fn compact(part: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(part).expect("string keys and finite numbers, written to memory");
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            strip(value);
            match value {
                Value::Null | Value::Bool(false) => false,
                Value::Array(list) => !list.is_empty() || name == "vis",
                // A picture without a name is not the same as none.
                Value::String(text) => !text.is_empty() || matches!(&**name, "avatar" | "icon" | "picture" | "art"),
                _ => true,
            }
        }),
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The merge patch (RFC 7396) from one board to another; None: they are equal.
pub(super) fn patch(from: &Snapshot, to: &Snapshot) -> Option<Value> {
    if from == to {
        return None;
    }
    let (before, after) = (compact(&without_zones(from)), compact(&without_zones(to)));
    let mut patch = match difference(&before, &after) {
        Some(Value::Object(patch)) => patch,
        _ => Map::new(),
    };
    // A page (as every reader of the wire format) takes a clock or an eval without a time to be of the event's.
    timed(patch.get_mut("eval"), &after["eval"]);
    if let Some(Value::Object(sides)) = patch.get_mut("sides") {
        for (side, part) in sides {
            timed(part.get_mut("clock"), &after["sides"][side.as_str()]["clock"]);
        }
    }
    let mut zones = Map::new();
    for id in from.zones.keys().filter(|id| !to.zones.contains_key(*id)) {
        zones.insert(id.clone(), Value::Null);
    }
    for (id, zone) in &to.zones {
        let change = match from.zones.get(id) {
            Some(old) if old == zone => None,
            Some(old) => difference(&compact(old), &compact(zone)),
            None => Some(compact(zone)),
        };
        zones.extend(change.map(|change| (id.clone(), change)));
    }
    if !zones.is_empty() {
        patch.insert("zones".to_owned(), zones.into());
    }
    Some(patch.into())
}

/// Every field is named, so that a new one cannot be forgotten here.
fn without_zones(board: &Snapshot) -> Snapshot {
    let Snapshot { title, round, game, phase, sides, zones: _, eval, series, result, facts, starts_at } = board;
    Snapshot {
        title: title.clone(),
        round: round.clone(),
        game: game.clone(),
        phase: phase.clone(),
        sides: sides.clone(),
        zones: BTreeMap::new(),
        eval: eval.clone(),
        series: series.clone(),
        result: result.clone(),
        facts: facts.clone(),
        starts_at: *starts_at,
    }
}

fn timed(patch: Option<&mut Value>, whole: &Value) {
    if let (Some(Value::Object(patch)), Some(at)) = (patch, whole.get("asOf")) {
        patch.insert("asOf".to_owned(), at.clone());
    }
}

/// The merge patch between two values without nulls in their objects.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        let change = match before.get(name) {
            Some(old) => difference(old, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    (!patch.is_empty()).then(|| patch.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::{Clock, Eval, Side};
    use serde_json::json;

    #[test]
    fn patch_names_only_what_changed() {
        let mut from = Snapshot::default();
        let clock = Clock { ms: 5_000, as_of: 7, running: true, ..Clock::default() };
        from.sides.insert("a".into(), Side { name: "A".into(), clock: Some(clock), ..Side::default() });
        from.eval = Some(Eval { text: "+1".into(), as_of: 9, ..Eval::default() });
        from.zones.insert(
            "board".into(),
            serde_json::from_value(json!({"kind":"grid","cols":3,"rows":3,"label":"Table"})).unwrap(),
        );
        assert_eq!(patch(&from, &from), None);
        let mut to = from.clone();
        if let Some(clock) = to.sides.get_mut("a").and_then(|side| side.clock.as_mut()) {
            clock.running = false;
        }
        to.eval = None;
        to.phase.turn = 3;
        if let Some(zone) = to.zones.get_mut("board") {
            zone.label.clear();
        }
        let expected = json!({
            "eval": null, "phase": {"turn": 3}, "zones": {"board": {"label": null}},
            // With its time, or it would count as of the event's.
            "sides": {"a": {"clock": {"running": null, "asOf": 7}}},
        });
        assert_eq!(patch(&from, &to), Some(expected));
        to.zones.clear();
        assert_eq!(patch(&from, &to).map(|p| p["zones"].clone()), Some(json!({"board": null})));
    }

    #[test]
    fn compact_json_keeps_what_means_something() {
        let text =
            json!({"a": null, "b": "", "c": [], "d": false, "e": {}, "f": 0, "vis": [], "art": "", "g": [null, ""]});
        assert_eq!(compact(&text), json!({"e": {}, "f": 0, "vis": [], "art": "", "g": [null, ""]}));
    }
}
