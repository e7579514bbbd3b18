//! Where in an event something is: `data.zones.board.cells[3].x`.
//!
//! A [`Path`] is a list of borrowed steps on the stack: nothing is allocated until an error has to name its field.
//! [`read`] deserialises a JSON value and says at which path it failed.

use super::words::plain;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess};
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde_json::Value;
use std::fmt;

/// A step and where it was taken from.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The event itself; prints nothing.
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// Longest key and longest message that an error repeats from its input, characters.
const KEY_SHOWN: usize = 64;
const PROBLEM_SHOWN: usize = 240;

impl<'a> Path<'a> {
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Index(parent, i) => write!(f, "{parent}[{i}]"),
            Path::Key(parent, key) => {
                parent.fmt(f)?;
                let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
                let key = clip(key, KEY_SHOWN);
                match (plain, parent) {
                    (true, Path::Root) => f.write_str(&key),
                    (true, _) => write!(f, ".{key}"),
                    (false, _) => write!(f, "[{key:?}]"),
                }
            }
        }
    }
}

/// The first `max` characters of a text, with an ellipsis when something was left out.
pub(super) fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What is wrong with a JSON value, and where.
#[derive(Debug)]
pub(super) struct ReadError {
    /// None until the error leaves the value that it is about.
    path: Option<String>,
    problem: String,
}

impl ReadError {
    fn at(mut self, path: &Path) -> ReadError {
        self.path.get_or_insert_with(|| path.to_string());
        self
    }

    /// The path and the problem.
    pub fn into_parts(self) -> (String, String) {
        (self.path.unwrap_or_default(), self.problem)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> ReadError {
        ReadError { path: None, problem: clip(&plain(&message.to_string()), PROBLEM_SHOWN) }
    }
}

/// Deserialises `value`, which lies at `path`.
pub(super) fn read<T: DeserializeOwned>(value: &Value, path: &Path) -> Result<T, ReadError> {
    T::deserialize(At { value, path })
}

/// A JSON value that knows where it is.
#[derive(Clone, Copy)]
struct At<'de, 'p> {
    value: &'de Value,
    path: &'p Path<'p>,
}

impl<'de> At<'de, '_> {
    fn unexpected(&self) -> Unexpected<'de> {
        match self.value {
            Value::Null => Unexpected::Other("null"),
            Value::Bool(b) => Unexpected::Bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), _, _) => Unexpected::Unsigned(n),
                (_, Some(n), _) => Unexpected::Signed(n),
                (_, _, Some(n)) => Unexpected::Float(n),
                _ => Unexpected::Other("number"),
            },
            Value::String(s) => Unexpected::Str(s),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }

    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, Some(n)) => visitor.visit_f64(n),
                _ => Err(ReadError::invalid_type(self.unexpected(), &visitor)),
            },
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::Array(items) => {
                let mut access = Items { rest: items.iter(), next: 0, path: self.path };
                let out = visitor.visit_seq(&mut access)?;
                match access.rest.len() {
                    0 => Ok(out),
                    // A fixed-size array read what it wanted and left some.
                    more => Err(ReadError::invalid_length(
                        items.len(),
                        &format!("{} elements", items.len() - more).as_str(),
                    )),
                }
            }
            Value::Object(map) => visitor.visit_map(Fields { rest: map.iter(), value: None, path: self.path }),
        }
    }
}

impl<'de> Deserializer<'de> for At<'de, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor).map_err(|e| e.at(self.path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// Only enums without data are on the wire.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let read = match self.value {
            Value::String(s) => {
                let word: StrDeserializer<'_, ReadError> = s.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(ReadError::invalid_type(self.unexpected(), &"a word")),
        };
        read.map_err(|e| e.at(self.path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct Items<'de, 'p> {
    rest: std::slice::Iter<'de, Value>,
    next: usize,
    path: &'p Path<'p>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let path = self.path.index(self.next);
        self.next += 1;
        seed.deserialize(At { value, path: &path }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Fields<'de, 'p> {
    rest: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
    path: &'p Path<'p>,
}

impl<'de> MapAccess<'de> for Fields<'de, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, value));
        let key: serde::de::value::BorrowedStrDeserializer<'de, ReadError> =
            serde::de::value::BorrowedStrDeserializer::new(key);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let (key, value) = self.value.take().ok_or_else(|| ReadError::custom("a value was read before its key"))?;
        seed.deserialize(At { value, path: &self.path.key(key) })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_with_plain_and_odd_keys_prints_them_apart() {
        let root = Path::Root;
        let (data, odd) = (root.key("data"), "a.b c");
        let (zones, long) = (data.key("zones"), "x".repeat(100));
        assert_eq!(zones.key("board").index(3).key("x").to_string(), "data.zones.board[3].x");
        assert_eq!(zones.key(odd).to_string(), "data.zones[\"a.b c\"]");
        assert_eq!(zones.key("").to_string(), "data.zones[\"\"]");
        assert_eq!(zones.key(&long).to_string().chars().count(), "data.zones.".len() + KEY_SHOWN + 1);
    }

    #[test]
    fn fixed_array_of_wrong_length_names_the_array() {
        let path = Path::Root;
        let at = path.key("from");
        for (json, problem) in [("[1]", "expected a list of 2"), ("[1,2,3]", "expected 2 elements")] {
            let value: Value = serde_json::from_str(json).unwrap();
            let error = read::<[u16; 2]>(&value, &at).unwrap_err().into_parts();
            assert_eq!(error, ("from".to_owned(), problem.to_owned()));
        }
    }
}
