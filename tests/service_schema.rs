//! Schemathesis reads `/openapi.json` and calls every operation in ways nobody thought of: no server error, and no answer that the
//! document does not know.

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::service::{Service, Setup};

fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"));
    let python = cache.join("agentcast/schemathesis/bin/python");
    assert!(python.exists(), "schemathesis is not installed; `make test` (or .ci/schemathesis) installs it");
    python
}

#[test]
fn no_call_that_the_document_allows_or_forbids_finds_a_server_error_or_an_undocumented_answer() {
    let limits = "[limits]\nrequests_per_second = 100000\nrequests_burst = 100000\nsessions_per_minute = 100000\n\
                  auth_failures_per_minute = 100000\n";
    let service = Service::start(Setup { toml: limits.into(), ..Setup::default() });
    // Something to find.
    let (tenant, operator) = service.tenant("Arena", "operator");
    let agent = operator.post("/v1/agents", &json!({ "name": "Ada" })).expect(201);
    operator.feed_session("final", json!({ "x": agent["id"] }));
    let admin = service.key(&tenant, "operator");

    let output = Command::new(python())
        .args(["-m", "schemathesis.cli", "run", &format!("http://{}/openapi.json", service.address)])
        .args(["--header", &format!("Authorization: Bearer {}", admin.token)])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "5"])
        // They never end by themselves.
        .args(["--exclude-path", "/v1/events", "--exclude-path-regex", "/(watch|feed)$"])
        // It would revoke the key that it calls with.
        .args(["--exclude-path", "/v1/api-keys/{id}"])
        // One worker: Python 3.11's own parser fails now and then in several threads.
        .args(["--request-timeout", "20", "--continue-on-failure", "--no-color"])
        .current_dir(service.dir.path())
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), service.said());
}
