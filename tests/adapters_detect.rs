//! Which format a file is in is said by what is in it.

use agentcast::game::adapters::{Format, RecordError, detect, read};
use std::path::Path;

/// Every file below `tests/records` with its name.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let named = |path: &std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    files.iter().map(named).collect()
}

fn expected(name: &str) -> Option<Format> {
    [
        (".output.jsonl", Format::BattlesnakeOutput),
        (".events.jsonl", Format::BattlesnakeEvents),
        (".pgn", Format::Pgn),
        (".phh", Format::Phh),
    ]
    .into_iter()
    .find(|(end, _)| name.ends_with(end))
    .map(|(_, format)| format)
    .or_else(|| {
        let companion = name.ends_with(".logs.json") || name.ends_with(".game.json");
        (name.ends_with(".json") && !companion).then_some(Format::Kaggle)
    })
}

#[test]
fn every_record_is_known_by_its_content_and_companions_are_none() {
    let mut known = 0;
    for (name, bytes) in ["battlesnake", "kaggle", "chess", "poker"].into_iter().flat_map(files) {
        assert_eq!(detect(&bytes), expected(&name), "{name}");
        if let Some(format) = expected(&name) {
            known += 1;
            assert_eq!(read(&bytes, None).map(|record| record.format), Ok(format), "{name}");
        } else {
            assert_eq!(read(&bytes, None).map(|_| ()), Err(RecordError::Unknown), "{name}");
        }
    }
    assert!(known > 30, "{known}");
}

#[test]
fn text_in_which_nothing_can_be_read_is_no_record_of_any_format() {
    for text in [
        "",
        "\n",
        "garbage",
        "garbage\n",
        "not a record at all\nof anything\n",
        "e",
        "[",
        "[x",
        "[x \"y",
        "1.",
        "*",
        "1-0\n",
    ] {
        for name in Format::NAMES {
            let record = read(text.as_bytes(), Format::from_name(name));
            assert!(matches!(record, Err(RecordError::Malformed { .. })), "{text:?} as {name}: {record:?}");
        }
        assert!(read(text.as_bytes(), None).is_err(), "{text:?}");
    }
    for json in ["{", "{}", "[]", "null", "1", "{\"a\":[1]}\n"] {
        for name in ["battlesnake", "battlesnake-events", "kaggle", "phh", "agentcast"] {
            assert!(read(json.as_bytes(), Format::from_name(name)).is_err(), "{json} as {name}");
        }
    }
}

#[test]
fn record_without_its_end_is_still_known() {
    for (name, bytes) in ["battlesnake", "kaggle", "chess"].into_iter().flat_map(files) {
        if expected(&name).is_some() {
            assert_eq!(detect(&bytes[..bytes.len() / 2]), expected(&name), "{name}");
        }
    }
}

#[test]
fn record_is_read_without_panic_whatever_format_it_is_taken_for() {
    let formats =
        [Format::BattlesnakeOutput, Format::BattlesnakeEvents, Format::Kaggle, Format::Pgn, Format::Phh, Format::Wire];
    for (name, bytes) in ["battlesnake", "kaggle", "chess", "poker"].into_iter().flat_map(files) {
        let head = &bytes[..bytes.len().min(20_000)];
        for format in formats.into_iter().filter(|format| Some(*format) != expected(&name)) {
            if let Ok(record) = read(head, Some(format)) {
                assert_eq!(record.format, format, "{name}");
            }
        }
    }
}
