//! Rows to records, pages, and errors that hold no values.

use super::model::Millis;
use super::{Page, PageRequest, Result, StoreError};
use sqlx::any::{Any, AnyRow};
use sqlx::{Decode, Row, Type};
use std::str::FromStr;

/// The SQL of a read or write that a tenant may do to its own records and an admin (no tenant) to all; `$1` is the tenant.
macro_rules! scoped {
    ($tenant:expr, $before:literal, $after:literal) => {
        if $tenant.is_some() {
            concat!($before, " tenant_id = $1 ", $after)
        } else {
            concat!($before, " $1 IS NULL ", $after)
        }
    };
}
pub(super) use scoped;

/// Comes after every id in both databases, which compare ids byte by byte.
const AFTER_ALL: &str = "\u{10ffff}";

/// When a record was changed, by the system's clock.
pub(super) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn get<'r, T>(row: &'r AnyRow, column: &'static str) -> Result<T>
where
    T: Decode<'r, Any> + Type<Any>,
{
    // The library's words would repeat the value.
    row.try_get(column).map_err(|_| unreadable(column))
}

pub(super) fn flag(row: &AnyRow, column: &'static str) -> Result<bool> {
    Ok(get::<i64>(row, column)? != 0)
}

/// A column that holds one of a type's words.
pub(super) fn word<T: FromStr>(row: &AnyRow, column: &'static str) -> Result<T> {
    get::<&str>(row, column)?.parse().map_err(|_| unreadable(column))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &'static str) -> Result<T> {
    serde_json::from_str(get::<&str>(row, column)?).map_err(|_| unreadable(column))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| StoreError::Backend(format!("a record has no JSON form: {e}")))
}

fn unreadable(column: &'static str) -> StoreError {
    StoreError::Backend(format!("the column {column} holds something that this version cannot read"))
}

impl PageRequest {
    /// One more than is given out: whether it exists says whether there is a next page.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit.clamp(1, 200)) + 1
    }

    /// Every id of a list that rises is greater than this.
    pub(super) fn greater_than(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// Every id of a list that falls is less than this.
    pub(super) fn less_than(&self) -> &str {
        self.after.as_deref().unwrap_or(AFTER_ALL)
    }

    pub(super) fn page<T>(
        &self,
        rows: &[AnyRow],
        record: impl Fn(&AnyRow) -> Result<T>,
        id: impl Fn(&T) -> String,
    ) -> Result<Page<T>> {
        let limit = self.limit.clamp(1, 200) as usize;
        let items = rows.iter().take(limit).map(record).collect::<Result<Vec<T>>>()?;
        let next = if rows.len() > limit { items.last().map(id) } else { None };
        Ok(Page { items, next })
    }
}

/// Says what went wrong in the words of the database where these hold no values of records.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let words = match &error {
            sqlx::Error::Database(e) => {
                let code = e.code().unwrap_or_default();
                // Class 22 is PostgreSQL's "data exception": its messages repeat the data.
                if code.len() == 5 && code.starts_with("22") {
                    format!("a value does not fit (code {code})")
                } else {
                    format!("{} (code {code})", e.message())
                }
            }
            sqlx::Error::PoolTimedOut => {
                "no connection became free in time; is the database reachable and not locked?".into()
            }
            sqlx::Error::PoolClosed => "it is closed".into(),
            sqlx::Error::Io(e) => e.to_string(),
            sqlx::Error::Tls(e) => format!("TLS: {e}"),
            sqlx::Error::Configuration(_) => "the address of the database cannot be read".into(),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
                "a value has another type than expected".into()
            }
            sqlx::Error::RowNotFound => "a row is missing".into(),
            other => crate::output::log::scrub(&other.to_string()),
        };
        StoreError::Backend(words)
    }
}

/// A new record: `what` exists already, or the `parent` that it belongs to does not.
pub(super) fn refused(what: &'static str, parent: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match error.as_database_error() {
        Some(e) if e.is_unique_violation() => StoreError::Taken(what),
        Some(e) if e.is_foreign_key_violation() => StoreError::NotFound(parent),
        _ => error.into(),
    }
}
