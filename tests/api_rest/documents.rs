//! `/openapi.json` and `/docs`.

use crate::world::{World, config};
use agentcast::http::api::document;
use agentcast::http::api::problem::Kind;
use serde_json::Value;

fn each_ref(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| match field.as_str() {
            Some(path) if name == "$ref" => see(path),
            _ => each_ref(field, see),
        }),
        Value::Array(items) => items.iter().for_each(|item| each_ref(item, see)),
        _ => {}
    }
}

#[test]
fn every_operation_has_a_name_words_a_success_and_its_problems() {
    let document = document();
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}: its name is taken");
            assert!(operation["summary"].is_string(), "{what}: {operation}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['1', '2', '3'])), "{what}");
            for (status, response) in responses.iter().filter(|(status, _)| status.starts_with(['4', '5'])) {
                if path.starts_with("/v1/") {
                    assert!(response["content"]["application/problem+json"].is_object(), "{what} {status}");
                }
            }
            if path.starts_with("/v1/") {
                assert!(["401", "403", "404", "429", "500"].iter().all(|s| responses.contains_key(*s)), "{what}");
                assert!(operation["security"].as_array().is_some_and(|ways| !ways.is_empty()), "{what}");
            }
        }
    }
    each_ref(&document, &mut |path| {
        let pointer = path.strip_prefix('#').unwrap_or_else(|| panic!("{path} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{path} leads nowhere");
    });
}

#[tokio::test]
async fn the_page_has_everything_in_it_and_a_place_for_each_problem() {
    let world = World::new(config()).await;
    let page = world.get("", "/docs").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let html = page.text();
    for kind in Kind::ALL {
        assert!(html.contains(&format!("<article id={}>", kind.0)), "{}", kind.0);
    }
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("@import"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let document = world.get("", "/openapi.json").await.expect(200);
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
    }
    // Every place that is linked to is there.
    for link in html.split("href=").skip(1) {
        let link = link.trim_start_matches('"').split(['"', '>', ' ']).next().unwrap();
        if let Some(anchor) = link.strip_prefix('#') {
            let there = html.contains(&format!("id={anchor}>")) || html.contains(&format!("id=\"{anchor}\""));
            assert!(there, "#{anchor} leads nowhere");
        }
    }
}
