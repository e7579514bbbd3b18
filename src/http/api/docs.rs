//! `/openapi.json` and `/docs`: what the routes say of themselves, for programs and for people.
//!
//! The page is put together here, once, from the same document: one file without scripts, fonts or pictures from anywhere.

mod page;

use super::Api;
use super::feed::{PaceWord, RecordFormat};
use super::problem::{Kind, Problem};
use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// What is true of the whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "agentcast",
        description = "Matches between AI agents in, live streams out. Times are Unix milliseconds; unknown fields are refused; \
            every error is `application/problem+json` (RFC 9457).",
    ),
    // Parameters do not bring their schemas along.
    components(schemas(Problem, PaceWord, RecordFormat)),
    tags(
        (name = "agents", description = "Who plays and is streamed"),
        (name = "destinations", description = "Where an agent's stream goes, and the stream keys for it"),
        (name = "matches", description = "Matches, each fed by a game server"),
        (name = "sessions", description = "The right to feed or to watch one match, and the feeding and watching itself"),
        (name = "streams", description = "What is on air"),
        (name = "flags", description = "The feature flag and kill switch"),
        (name = "keys", description = "Tenants and API keys"),
        (name = "office", description = "Audit, usage and cost"),
    )
)]
struct Head;

pub(super) fn head() -> Document {
    Head::openapi()
}

/// The document with what all operations have in common: security, and the problems that they may answer with.
pub(super) fn finish(document: &Document) -> Value {
    // It is made of plain data.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    if let Some(info) = document["info"].as_object_mut() {
        info.remove("license");
        info.remove("contact");
    }
    let bearer = |words: &str| json!({ "type": "http", "scheme": "bearer", "description": words });
    document["components"]["securitySchemes"] = json!({
        "apiKey": bearer("An API key, `key_….…`."),
        "sessionToken": bearer("The token of the session in the path."),
        "cookie": { "type": "apiKey", "in": "cookie", "name": super::auth::COOKIE,
            "description": "An operator's page, signed in by a one-time code." },
    });
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                complete(path, method, operation);
            }
        }
    }
    document
}

fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let guarded = path.starts_with("/v1/");
    if guarded {
        operation.entry("security").or_insert(json!([{ "apiKey": [] }, { "cookie": [] }]));
    }
    // What is left out of a header or a query is not null: it is not there.
    for param in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let schema = &mut param["schema"];
        if let Some([kind, Value::String(null)]) = schema["type"].as_array().map(Vec::as_slice)
            && null == "null"
        {
            schema["type"] = kind.clone();
        }
        if let Some([Value::Object(null), of]) = schema["oneOf"].as_array().map(Vec::as_slice)
            && null.get("type").is_some_and(|kind| kind == "null")
        {
            *schema = of.clone();
        }
    }
    let header = |name: &str| {
        let params = operation.get("parameters").and_then(Value::as_array);
        params.is_some_and(|params| params.iter().any(|param| param["name"] == name))
    };
    let mut kinds = vec![Kind::INTERNAL, Kind::TIMEOUT];
    if guarded || path.starts_with("/stream/") {
        kinds.extend([
            Kind::MALFORMED,
            Kind::UNAUTHORIZED,
            Kind::FORBIDDEN,
            Kind::NOT_FOUND,
            Kind::INVALID,
            Kind::TOO_FAST,
            Kind::UNAVAILABLE,
        ]);
        // A session's match may be closed.
        if method != "get" || path.starts_with("/v1/sessions/{id}/") {
            kinds.push(Kind::CONFLICT);
        }
    }
    if header("If-Match") {
        kinds.push(Kind::STALE);
    }
    if operation.contains_key("requestBody") {
        kinds.extend([Kind::TOO_LARGE, Kind::MEDIA_TYPE]);
    }
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(responses) = responses.as_object_mut() else { return };
    for Kind(name, status, title) in kinds {
        responses.entry(status.as_str()).or_insert_with(|| {
            let mut response = json!({
                "description": format!("{title} (`/docs#{name}`)"),
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
            if status == Kind::TOO_FAST.1 {
                let wait = json!({ "description": "Seconds to wait", "schema": { "type": "integer" } });
                response["headers"] = json!({ "Retry-After": wait });
            }
            response
        });
    }
    responses.sort_keys();
}

/// Both, made once.
pub(super) fn router(document: &Value) -> Router<Api> {
    let json = Bytes::from(document.to_string());
    let html = page::render(document);
    let json_type = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    let page_fields = [(header::CONTENT_SECURITY_POLICY, page::POLICY), (header::CACHE_CONTROL, "public, max-age=300")];
    Router::new()
        .route("/openapi.json", get(async move || (json_type, json)))
        .route("/docs", get(async move || (page_fields, Html(html))))
}
