//! Errors as RFC 9457 problems. The words are for callers: never internal text, never a secret.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Stable: an address that explains it, for example `/docs#not-found`.
    #[serde(rename = "type", serialize_with = "as_address")]
    pub kind: &'static str,
    /// The same words for every problem of this type.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// This problem, in plain words, with what to do.
    pub detail: String,
    /// The field that is wrong, for example `defaults.fps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What the field may be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Which event of a batch, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Seconds to wait.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after: Option<u32>,
}

fn as_address<S: serde::Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("/docs#{name}"))
}

/// The types of problem: name, status, title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub &'static str, pub StatusCode, pub &'static str);

impl Kind {
    pub const INVALID: Kind = Kind("invalid", StatusCode::UNPROCESSABLE_ENTITY, "A field is not valid");
    pub const MALFORMED: Kind = Kind("malformed", StatusCode::BAD_REQUEST, "The request cannot be read");
    pub const UNAUTHORIZED: Kind = Kind("unauthorized", StatusCode::UNAUTHORIZED, "Who are you?");
    pub const FORBIDDEN: Kind = Kind("forbidden", StatusCode::FORBIDDEN, "Not with this key");
    pub const NOT_FOUND: Kind = Kind("not-found", StatusCode::NOT_FOUND, "No such thing");
    pub const METHOD: Kind = Kind("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Not with this method");
    pub const CONFLICT: Kind = Kind("conflict", StatusCode::CONFLICT, "It does not fit what is there");
    pub const STALE: Kind = Kind("stale", StatusCode::PRECONDITION_FAILED, "It was changed meanwhile");
    pub const TOO_LARGE: Kind = Kind("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
    pub const MEDIA_TYPE: Kind = Kind("media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not this media type");
    pub const TOO_FAST: Kind = Kind("too-fast", StatusCode::TOO_MANY_REQUESTS, "Too many requests");
    pub const NEED_SNAPSHOT: Kind = Kind("need-snapshot", StatusCode::CONFLICT, "Send a state.snapshot");
    pub const TIMEOUT: Kind = Kind("timeout", StatusCode::REQUEST_TIMEOUT, "The request took too long");
    pub const INTERNAL: Kind = Kind("internal", StatusCode::INTERNAL_SERVER_ERROR, "Our fault");
    pub const UNAVAILABLE: Kind = Kind("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Not now");

    /// All, for the documentation.
    pub const ALL: [Kind; 15] = [
        Kind::INVALID,
        Kind::MALFORMED,
        Kind::UNAUTHORIZED,
        Kind::FORBIDDEN,
        Kind::NOT_FOUND,
        Kind::METHOD,
        Kind::CONFLICT,
        Kind::STALE,
        Kind::TOO_LARGE,
        Kind::MEDIA_TYPE,
        Kind::TOO_FAST,
        Kind::NEED_SNAPSHOT,
        Kind::TIMEOUT,
        Kind::INTERNAL,
        Kind::UNAVAILABLE,
    ];
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let Kind(name, status, title) = kind;
        Problem {
            kind: name,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            limit: None,
            index: None,
            retry_after: None,
        }
    }

    /// A field that is wrong.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Problem {
        let field = field.into();
        let detail = format!("{field}: {}", detail.into());
        Problem { field: Some(field), ..Problem::new(Kind::INVALID, detail) }
    }

    pub fn not_found(what: &str) -> Problem {
        Problem::new(Kind::NOT_FOUND, format!("{what} does not exist, or belongs to somebody else"))
    }

    /// Our fault: the words go to the log, not to the caller.
    pub fn internal(words: impl std::fmt::Display) -> Problem {
        tracing::error!("a request failed: {words}");
        Problem::new(Kind::INTERNAL, "the service could not do it; its log says why")
    }

    #[must_use]
    pub fn limit(mut self, limit: u64) -> Problem {
        self.limit = Some(limit);
        self
    }

    #[must_use]
    pub fn index(mut self, index: usize) -> Problem {
        self.index = u32::try_from(index).ok();
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<crate::store::StoreError> for Problem {
    fn from(error: crate::store::StoreError) -> Problem {
        use crate::store::StoreError as E;
        match error {
            E::NotFound(what) => Problem::not_found(what),
            E::Stale { .. } => Problem::new(Kind::STALE, format!("{error}; read it again and repeat the change")),
            E::Taken(_) => Problem::new(Kind::CONFLICT, error.to_string()),
            E::TooMany { limit, .. } => Problem::new(Kind::CONFLICT, error.to_string()).limit(limit as u64),
            E::Backend(words) | E::Copy(words) => Problem::internal(words),
        }
    }
}

impl From<crate::server::roster::RosterError> for Problem {
    fn from(error: crate::server::roster::RosterError) -> Problem {
        use crate::server::roster::RosterError as E;
        match error {
            E::Field { field, words, limit } => Problem { limit, ..Problem::field(field, words) },
            E::Forbidden(words) => Problem::new(Kind::FORBIDDEN, words),
            E::Conflict(words) => Problem::new(Kind::CONFLICT, words),
            E::Unkept(words) => Problem::new(Kind::UNAVAILABLE, words),
            E::Busy(words) => Problem::new(Kind::TOO_FAST, words).retry_after(2),
            E::Store(error) => error.into(),
        }
    }
}
