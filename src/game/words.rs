//! serde's errors in the words of callers: what was expected, not which Rust type reads it, and never the value that came.

/// An integer type and what its numbers are.
const WHOLE: [(&str, &str); 12] = [
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65,535"),
    ("u32", "a whole number from 0 to 4,294,967,295"),
    ("u64", "a whole number, 0 or more"),
    ("u128", "a whole number, 0 or more"),
    ("usize", "a whole number, 0 or more"),
    ("i8", "a whole number from -128 to 127"),
    ("i16", "a whole number from -32,768 to 32,767"),
    ("i32", "a whole number from -2,147,483,648 to 2,147,483,647"),
    ("i64", "a whole number"),
    ("i128", "a whole number"),
    ("isize", "a whole number"),
];

/// `said` by serde, without a place. What serde did not write itself stays as it is.
pub(crate) fn plain(said: &str) -> String {
    let kinds = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `"];
    if !kinds.iter().any(|kind| said.starts_with(kind)) {
        return said.to_owned();
    }
    // The last one: the value before it may say anything.
    match said.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {}", thing(expected)),
        None => "it cannot be read".to_owned(),
    }
}

fn thing(expected: &str) -> String {
    if let Some((_, words)) = WHOLE.iter().find(|(name, _)| *name == expected) {
        return (*words).to_owned();
    }
    match expected {
        "f32" | "f64" => "a number".into(),
        "a map" | "map" => "an object".into(),
        "a sequence" => "a list".into(),
        "string or map" | "a borrowed string" | "a character" => "a string".into(),
        "unit" | "unit value" => "null".into(),
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => "an object".into(),
        _ if expected.starts_with("enum ") || expected.starts_with("variant ") => "a string".into(),
        _ if expected.starts_with("tuple ") => "a list".into(),
        _ => match expected.strip_prefix("an array of length ") {
            Some(length) => format!("a list of {length}"),
            None => expected.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_program_and_values_of_the_caller_are_left_out() {
        for (said, words) in [
            ("invalid type: unit value, expected a string", "expected a string"),
            ("invalid value: integer `-1`, expected u64", "expected a whole number, 0 or more"),
            ("invalid value: integer `300`, expected u8", "expected a whole number from 0 to 255"),
            ("invalid type: string \"a, expected canary\", expected f64", "expected a number"),
            ("invalid type: sequence, expected struct OutputHeader with 4 elements", "expected an object"),
            ("invalid length 1, expected an array of length 2", "expected a list of 2"),
            ("invalid length 2, expected struct Envelope with 1 element", "expected an object"),
            ("unknown variant `canary`, expected one of `a`, `b`", "expected one of `a`, `b`"),
            ("unknown variant `canary`, there are no variants", "it cannot be read"),
            ("missing field `turn`", "missing field `turn`"),
        ] {
            assert_eq!(plain(said), words, "{said}");
        }
    }
}
