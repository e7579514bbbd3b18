//! Bodies, queries and paths, with problems that name the field.

use super::Api;
use super::guard::Once;
use super::problem::{Kind, Problem};
use crate::secure::is_id;
use crate::server::roster::object;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of a body unless the call says otherwise.
pub const BODY_BYTES: usize = 64 * 1024;
/// Bytes of a picture.
pub const PICTURE_BYTES: usize = crate::raster::MAX_PICTURE_BYTES;
/// Bytes of a native record or of a batch of events.
pub const RECORD_BYTES: usize = 8 * 1024 * 1024;
/// A body comes within this time: nobody holds a request open by sending slowly.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How many bytes the body of a route may have: [`super::body_limit`].
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// The body as it came, within the limit of the call.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl FromRequest<Api> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Body, Problem> {
        let limit = request.extensions().get::<BodyLimit>().map_or(BODY_BYTES, |limit| limit.0);
        let said =
            request.headers().get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
        if said.is_some_and(|said| said > limit as u64) {
            return Err(too_large(limit));
        }
        match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(request.into_body(), limit)).await {
            Ok(Ok(bytes)) => Ok(Body(bytes)),
            Ok(Err(error)) if std::error::Error::source(&error).is_some_and(|e| e.is::<LengthLimitError>()) => {
                Err(too_large(limit))
            }
            Ok(Err(_)) => Err(Problem::new(Kind::MALFORMED, "the body broke off")),
            Err(_) => {
                let words = format!("the body did not come within {} s", BODY_TIME.as_secs());
                Err(Problem::new(Kind::TIMEOUT, words))
            }
        }
    }
}

/// 413 that names the limit.
pub fn too_large(limit: usize) -> Problem {
    let words = format!("the body has more than {limit} bytes, which is the limit of this call");
    Problem::new(Kind::TOO_LARGE, words).limit(limit as u64)
}

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Json<T>, Problem> {
        expect_json(request.headers())?;
        let Body(bytes) = Body::from_request(request, api).await?;
        json(&bytes).map(Json)
    }
}

/// The JSON body of a call that makes something, with its Idempotency-Key.
#[derive(Debug)]
pub struct Create<T> {
    pub body: T,
    pub once: Once,
}

impl<T: DeserializeOwned> FromRequest<Api> for Create<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Create<T>, Problem> {
        expect_json(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let headers = request.headers().clone();
        let Body(bytes) = Body::from_request(request, api).await?;
        let once = Once::new(&headers, method.as_str(), &path, &bytes)?;
        Ok(Create { body: json(&bytes)?, once })
    }
}

/// The media type of a body, without parameters, in small letters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_deref() {
        Some("application/json") => Ok(()),
        _ => Err(Problem::new(Kind::MEDIA_TYPE, "send the body as `Content-Type: application/json`")),
    }
}

/// Reads JSON. What does not parse is 400; what parses and does not fit is 422 and names the field. No word of the body
/// itself is repeated: it may hold a key.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let read = object(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    let value = read.map_err(|error| {
        let path = track.path();
        if error.is_data() {
            return refused(&path, &error.to_string());
        }
        // serde_json calls it a syntax error too when what stands there is JSON and nothing that the field can be.
        if is_json(bytes) { refused(&path, &misfit::<T>(bytes, &path, &error)) } else { no_json(&error) }
    })?;
    reader.end().map_err(|error| no_json(&error))?;
    Ok(value)
}

fn no_json(error: &serde_json::Error) -> Problem {
    let words = format!("the body is no JSON: line {}, column {}", error.line(), error.column());
    Problem::new(Kind::MALFORMED, words)
}

fn refused(path: &serde_path_to_error::Path, said: &str) -> Problem {
    let path = path.to_string();
    let (field, words) = plain(if path == "." { "" } else { &path }, said);
    Problem::field(field, words)
}

fn is_json(bytes: &[u8]) -> bool {
    // Texts that are passed over are not looked into.
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Why the value at `path` of a body that is JSON cannot be read, in serde's words.
fn misfit<T: DeserializeOwned>(bytes: &[u8], path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    let said = error.to_string();
    if said.starts_with("number out of range") {
        return "the number is too large".into();
    }
    if said.starts_with("recursion limit") {
        return "it is nested too deeply".into();
    }
    if said.contains("surrogate") || said.contains("hex escape") {
        return "it has half of a surrogate pair, which is no character".into();
    }
    // Something else than the word that was expected: asked with an empty one, serde tells which there are.
    with_empty_word::<T>(bytes, path).unwrap_or_else(|| "invalid type: value, expected a string".into())
}

fn with_empty_word<T: DeserializeOwned>(bytes: &[u8], path: &serde_path_to_error::Path) -> Option<String> {
    use serde_path_to_error::Segment;
    let mut value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let mut at = &mut value;
    for segment in path {
        at = match segment {
            Segment::Seq { index } => at.get_mut(*index)?,
            Segment::Map { key } => at.get_mut(&**key)?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    *at = serde_json::Value::String(String::new());
    let said = T::deserialize(value).err()?.to_string();
    said.starts_with("unknown variant `").then_some(said)
}

/// serde's words without the value that was given, and the field that they are about.
fn plain(path: &str, said: &str) -> (String, String) {
    let said = said.split(" at line ").next().unwrap_or(said);
    let cut = |text: &str| text.chars().take(100).collect::<String>();
    let whole = || if path.is_empty() { "body".to_owned() } else { cut(path) };
    if let Some(rest) = said.strip_prefix("missing field `") {
        let name = rest.trim_end_matches('`');
        let field = if path.is_empty() { name.to_owned() } else { format!("{}.{name}", cut(path)) };
        return (field, "it is missing".into());
    }
    if let Some(rest) = said.strip_prefix("duplicate field `") {
        return (cut(rest.trim_end_matches('`')), "it is given twice".into());
    }
    if said.starts_with("unknown field `") {
        let known = said.split_once(", expected ").map_or("none", |(_, known)| known);
        return (whole(), format!("no such field; there are {}", known.trim_start_matches("one of ")));
    }
    let words = crate::game::words::plain(said);
    let known = ["expected ", "the number is too large", "it is nested too deeply", "it has half of a surrogate pair"];
    // Those of the readers of numbers, for queries.
    let words = match said {
        "number too large to fit in target type" => "the number is too large".to_owned(),
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number, 0 or more".into()
        }
        "invalid float literal" | "cannot parse float from empty string" => "expected a number".into(),
        _ if known.iter().any(|known| words.starts_with(known)) => words,
        _ => "it cannot be read".into(),
    };
    (whole(), words)
}

/// The query of a call. Fields that nobody knows are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Query<T>, Problem> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        read.map(|axum::extract::Query(query)| Query(query)).map_err(|rejection| {
            // The rejection's own words begin with what axum did; its cause is serde's.
            let mut cause: &dyn std::error::Error = &rejection;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let said = cause.to_string();
            let (path, said) = said.split_once(": ").unwrap_or(("", &said));
            let (field, words) = plain(path, said);
            Problem::field(if field == "body" { "query".to_owned() } else { field }, words)
        })
    }
}

/// `id` in the path.
#[derive(Debug)]
pub struct Id(pub String);

impl FromRequestParts<Api> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Id, Problem> {
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| Problem::new(Kind::MALFORMED, "the path cannot be read"))?;
        let id = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
        id.filter(|id| is_id(id)).map(|id| Id(id.to_owned())).ok_or_else(|| Problem::not_found("it"))
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// `next` of the page before.
    #[param(max_length = 128, pattern = "^[!-~]*$")]
    pub after: Option<String>,
    /// Records on a page, 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

impl Paging {
    /// # Errors
    /// 422 when the limit or the cursor cannot be.
    pub fn request(self) -> Result<crate::store::PageRequest, Problem> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Problem::field("limit", "expected 1 to 200").limit(200));
        }
        let after = self.after.filter(|after| !after.is_empty());
        if after.as_ref().is_some_and(|after| after.len() > 128 || !after.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Problem::field("after", "expected `next` of the page before").limit(128));
        }
        Ok(crate::store::PageRequest { after, limit })
    }
}

/// A page of a list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// For `after` of the next page; null on the last one.
    pub next: Option<String>,
}

impl<T> From<crate::store::Page<T>> for List<T> {
    fn from(page: crate::store::Page<T>) -> List<T> {
        List { items: page.items, next: page.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::AgentDefaults;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code, reason = "only read into")]
        key: String,
        #[serde(default, deserialize_with = "object")]
        #[allow(dead_code, reason = "only read into")]
        defaults: AgentDefaults,
    }

    fn refusal(text: &str) -> Problem {
        json::<Outer>(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_field_that_does_not_fit_is_named_and_its_value_not_repeated() {
        for (text, field) in [
            (r#"{"key":"k","defaults":{"fps":"canary"}}"#, "defaults.fps"),
            (r#"{"key":"k","defaults":{"view":"canary"}}"#, "defaults.view"),
            (r#"{"key":"k","defaults":{"view":5,"theme":"canary"}}"#, "defaults.view"),
            (r#"{"key":"k","defaults":{"view":null}}"#, "defaults.view"),
            (r#"{"key":"k","defaults":{"view":{}}}"#, "defaults.view"),
            (r#"{"key":"k","defaults":{"theme":"\ud800"}}"#, "defaults.theme"),
            (r#"{"key":"k","defaults":{"fps":1e999}}"#, "defaults.fps"),
            (r#"{"key":["canary"]}"#, "key"),
            (r#"{}"#, "key"),
            (r#"["canary"]"#, "body"),
            (r#"{"key":"k","defaults":["canary"]}"#, "defaults"),
            (r#""canary""#, "body"),
        ] {
            let problem = refusal(text);
            assert_eq!(problem.status, 422, "{text}: {problem:?}");
            assert!(!problem.detail.contains("canary"), "{text}: {}", problem.detail);
            assert!(!problem.detail.contains("cannot be read"), "{text}: {}", problem.detail);
            assert!(field == "key" || problem.field.as_deref() == Some(field), "{text}: {problem:?}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_known_ones() {
        let problem = refusal(r#"{"key":"k","defaults":{"fsp":30}}"#);
        assert!(problem.field.as_deref().is_some_and(|field| field.starts_with("defaults")), "{problem:?}");
        assert!(problem.detail.contains("`fps`"), "{problem:?}");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for text in ["", "{", "nonsense", r#"{"key":"a"} x"#, r#"{"key":"k","defaults":{"view":nul}}"#] {
            assert_eq!(refusal(text).status, 400, "{text}");
        }
        assert_eq!(json::<Outer>(b"{\"key\":\"\xff\"}").unwrap_err().status, 400, "no UTF-8");
    }
}
