//! The page for people.

use super::super::problem::Kind;
use serde_json::Value;
use std::fmt::Write;

/// Its style stands in it; it has no script.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("style.css");
const START: &str = include_str!("start.html");

/// The page of an OpenAPI document.
pub(super) fn render(document: &Value) -> String {
    let mut out = String::with_capacity(128 * 1024);
    let version = text(&document["info"]["version"]);
    let _ = write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>agentcast API</title><style>{STYLE}</style><body><header><h1>agentcast <small>API {version}</small></h1>\
         <p>{}</p><nav><a href=#start>Ten lines</a>",
        words(&document["info"]["description"])
    );
    let tags = list(&document["tags"]);
    for tag in tags {
        let name = text(&tag["name"]);
        let _ = write!(out, "<a href=#{name}>{name}</a>");
    }
    out.push_str("<a href=#schemas>schemas</a><a href=#problems>problems</a><a href=/openapi.json>openapi.json</a></nav></header><main>");
    out.push_str(START);
    for tag in tags {
        let _ = write!(out, "<section id={0}><h2>{0}</h2><p>{1}</p>", text(&tag["name"]), words(&tag["description"]));
        operations(&mut out, document, |operation| list(&operation["tags"]).iter().any(|t| *t == tag["name"]));
        out.push_str("</section>");
    }
    out.push_str("<section id=other><h2>other</h2>");
    let known = |name: &Value| tags.iter().any(|tag| tag["name"] == *name);
    operations(&mut out, document, |operation| !list(&operation["tags"]).iter().any(known));
    out.push_str("</section><section id=schemas><h2>schemas</h2>");
    for (name, schema) in map(&document["components"]["schemas"]) {
        let _ = write!(
            out,
            "<article id=\"schema-{0}\"><h3>{0}</h3><p>{1}</p>",
            escape(name),
            words(&schema["description"])
        );
        fields(&mut out, document, schema);
        out.push_str("</article>");
    }
    out.push_str(
        "</section><section id=problems><h2>problems</h2><p>Every error is <code>application/problem+json</code>: \
         <code>type</code> is one of these, <code>detail</code> says what to do, <code>field</code> and <code>limit</code> \
         what was wrong. Give the answer's <code>X-Request-Id</code> when you ask for help.</p>",
    );
    for Kind(name, status, title) in Kind::ALL {
        let _ = write!(
            out,
            "<article id={name}><h3><b class=status>{}</b> {}</h3><p><code>/docs#{name}</code>. {}</p></article>",
            status.as_u16(),
            escape(title),
            advice(name)
        );
    }
    out.push_str("</section></main></body></html>");
    out
}

fn operations(out: &mut String, document: &Value, wanted: impl Fn(&Value) -> bool) {
    for (path, item) in map(&document["paths"]) {
        for (method, operation) in map(item) {
            if !wanted(operation) {
                continue;
            }
            let id = text(&operation["operationId"]);
            let _ = write!(
                out,
                "<article id=\"op-{}\"><h3><b class={method}>{}</b> <code>{}</code></h3><p>{}</p>",
                escape(&id),
                method.to_uppercase(),
                escape(path),
                words(summary(operation))
            );
            if let Some(more) = operation["description"].as_str() {
                let _ = write!(out, "<p>{}</p>", inline(more));
            }
            let params = list(&operation["parameters"]);
            if !params.is_empty() {
                out.push_str("<table>");
                for param in params {
                    let place = format!("in the {}", text(&param["in"]));
                    let must = param["required"] == true && param["in"] != "path";
                    row(
                        out,
                        &text(&param["name"]),
                        &format!("{} · {place}", kind(&param["schema"])),
                        must,
                        &param["description"],
                    );
                }
                out.push_str("</table>");
            }
            for (media, content) in map(&operation["requestBody"]["content"]) {
                let _ = write!(out, "<h4>Body <code>{}</code> {}</h4>", escape(media), kind(&content["schema"]));
            }
            for (status, response) in map(&operation["responses"]) {
                if !status.starts_with('2') && !status.starts_with('3') && status != "101" {
                    continue;
                }
                let kinds: Vec<_> = map(&response["content"])
                    .map(|(media, content)| format!("<code>{}</code> {}", escape(media), kind(&content["schema"])))
                    .collect();
                let _ = write!(
                    out,
                    "<h4><b class=status>{}</b> {} {}</h4>",
                    escape(status),
                    words(&response["description"]),
                    kinds.join(", ")
                );
            }
            let errors: Vec<_> = map(&operation["responses"])
                .filter(|(status, _)| status.starts_with(['4', '5']))
                .map(|(status, _)| format!("<a href=#{}>{}</a>", anchor(status), escape(status)))
                .collect();
            let _ = write!(out, "<p class=errors>Problems: {}</p></article>", errors.join(" "));
        }
    }
}

/// The first problem of this status.
fn anchor(status: &str) -> &'static str {
    Kind::ALL.iter().find(|kind| kind.1.as_str() == status).map_or("problems", |kind| kind.0)
}

fn summary(operation: &Value) -> &Value {
    &operation["summary"]
}

fn row(out: &mut String, name: &str, kind: &str, must: bool, description: &Value) {
    let must = if must { " <em>needed</em>" } else { "" };
    let _ = write!(out, "<tr><td><code>{}</code>{must}<td>{kind}<td>{}", escape(name), words(description));
}

/// The fields of an object, those of what it is put together of included.
fn fields(out: &mut String, document: &Value, schema: &Value) {
    let whole = list(&schema["allOf"]);
    if let Some(values) = schema["enum"].as_array() {
        let _ = write!(out, "<p>{}</p>", choices(values));
        return;
    }
    if map(&schema["properties"]).next().is_none() && whole.is_empty() {
        let _ = write!(out, "<p>{}</p>", kind(schema));
        return;
    }
    out.push_str("<table>");
    rows(out, document, schema);
    out.push_str("</table>");
}

fn rows(out: &mut String, document: &Value, schema: &Value) {
    for part in list(&schema["allOf"]) {
        match part["$ref"].as_str() {
            Some(path) => rows(out, document, &document["components"]["schemas"][last(path)]),
            None => rows(out, document, part),
        }
    }
    let needed = list(&schema["required"]);
    for (name, field) in map(&schema["properties"]) {
        row(out, name, &kind(field), needed.iter().any(|needed| needed == name), &field["description"]);
    }
}

/// A type in a few words, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        let name = last(path);
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for of in ["oneOf", "anyOf", "allOf"] {
        let parts = list(&schema[of]);
        if !parts.is_empty() {
            let parts: Vec<_> = parts.iter().map(kind).collect();
            return parts.join(if of == "allOf" { " and " } else { " or " });
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return choices(values);
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        name => text(name),
    };
    let mut kind = escape(&names);
    if !schema["items"].is_null() {
        let _ = write!(kind, " of {}", self::kind(&schema["items"]));
    }
    if schema["additionalProperties"].is_object() {
        let _ = write!(kind, " of {}", self::kind(&schema["additionalProperties"]));
    }
    let bound = |name: &str| schema[name].as_number().map(ToString::to_string);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => _ = write!(kind, " {least}–{most}"),
        (Some(least), None) if least != "0" => _ = write!(kind, " from {least}"),
        (None, Some(most)) => _ = write!(kind, " up to {most}"),
        _ => {}
    }
    match (bound("minLength"), bound("maxLength")) {
        (Some(least), Some(most)) => _ = write!(kind, ", {least}–{most} characters"),
        (None, Some(most)) => _ = write!(kind, ", up to {most} characters"),
        _ => {}
    }
    kind
}

fn choices(values: &[Value]) -> String {
    let values: Vec<_> = values
        .iter()
        .map(|value| {
            format!("<code>{}</code>", escape(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        })
        .collect();
    values.join(" ")
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn words(value: &Value) -> String {
    inline(value.as_str().unwrap_or_default())
}

/// Escaped, with `code` between backticks.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, part) in text.split('`').enumerate() {
        if n % 2 == 1 {
            let _ = write!(out, "<code>{}</code>", escape(part));
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What to do about a type of problem.
fn advice(name: &str) -> &'static str {
    match name {
        "invalid" => {
            "A field has a value that it cannot have; <code>field</code> names it and <code>limit</code>, where there is one, how much it may be. Correct it; the same request fails again."
        }
        "malformed" => "The request is no JSON, or a header or the path cannot be read.",
        "unauthorized" => {
            "No credential, an unknown one, or one that was revoked or has expired. Session tokens live for 15 minutes: <code>POST /v1/sessions/{id}/token</code>."
        }
        "forbidden" => "The key's role is too low, or the request names what only an admin may name.",
        "not-found" => "It does not exist, or belongs to another tenant: the two cannot be told apart.",
        "method-not-allowed" => "<code>Allow</code> says which methods the address takes.",
        "conflict" => "The request is fine and does not fit what is there now; <code>detail</code> says why.",
        "stale" => "<code>If-Match</code> named an older version. Read it again and repeat the change.",
        "too-large" => "64 KiB for a body, 2 MiB for a picture, 8 MiB for events and native records.",
        "media-type" => "The body's <code>Content-Type</code> is none that this call takes.",
        "too-fast" => {
            "Wait for <code>Retry-After</code> seconds. <code>RateLimit</code> says what is left, <code>RateLimit-Policy</code> what there is."
        }
        "need-snapshot" => {
            "Too many events are missing before these. Send a <code>state.snapshot</code> and go on from there."
        }
        "timeout" => {
            "It took too long. What it was to change may have been changed: look, or repeat it with the same <code>Idempotency-Key</code>."
        }
        "internal" => "A mistake of the service; its log says more under the request's id. Trying again may help.",
        "unavailable" => "The service starts, ends or has no room. Try again in a while.",
        _ => "",
    }
}
