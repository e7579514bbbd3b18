//! Agents, destinations, keys, the flag, audit, usage: what is kept, for whom.

use crate::world::{World, config};
use agentcast::store::model::{ApiRole, UsageDay};
use image::ImageFormat;
use serde_json::{Value, json};
use std::io::Cursor;

#[tokio::test]
async fn what_another_tenant_owns_does_not_exist() {
    let world = World::new(config()).await;
    let (mine, theirs) = (world.operator("Mine").await, world.operator("Theirs").await);
    let agent = world.agent(&theirs, "Ada").await;
    let destination = world.destination(&theirs, &agent).await;
    let key = theirs.split('.').next().unwrap();
    let calls = [
        ("GET", format!("/v1/agents/{agent}"), json!(null)),
        ("PATCH", format!("/v1/agents/{agent}"), json!({"name": "Mallory"})),
        ("DELETE", format!("/v1/agents/{agent}"), json!(null)),
        ("GET", format!("/v1/agents/{agent}/avatar"), json!(null)),
        ("PUT", format!("/v1/agents/{agent}/streaming"), json!({"enabled": true})),
        ("GET", format!("/v1/agents/{agent}/destinations"), json!(null)),
        ("POST", format!("/v1/agents/{agent}/destinations"), json!({"kind": "twitch"})),
        ("GET", format!("/v1/destinations/{destination}"), json!(null)),
        ("PATCH", format!("/v1/destinations/{destination}"), json!({"enabled": false})),
        ("DELETE", format!("/v1/destinations/{destination}"), json!(null)),
        ("PUT", format!("/v1/destinations/{destination}/key"), json!({"key": "live_1"})),
        ("DELETE", format!("/v1/destinations/{destination}/key"), json!(null)),
        ("POST", format!("/v1/destinations/{destination}/check"), json!(null)),
        ("DELETE", format!("/v1/api-keys/{key}"), json!(null)),
    ];
    for (method, path, body) in calls {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = world.call(&mine, &format!("{method} {path}"), &[], body.as_bytes()).await;
        answer.problem(404, "not-found");
    }
    let avatar = world.call(&mine, &format!("PUT /v1/agents/{agent}/avatar"), &["content-type: image/png"], b"x").await;
    avatar.problem(404, "not-found");
    for list in ["/v1/agents", "/v1/audit", "/v1/usage"] {
        assert_eq!(world.get(&mine, list).await.expect(200)["items"], json!([]), "{list}");
    }
    assert_eq!(world.get(&mine, "/v1/api-keys").await.expect(200)["items"].as_array().unwrap().len(), 1, "its own");
    assert_eq!(world.get(&theirs, &format!("/v1/agents/{agent}")).await.expect(200)["name"], "Ada", "untouched");
}

#[tokio::test]
async fn each_role_may_do_what_its_row_says_and_no_more() {
    let world = World::new(config()).await;
    let tenant = world.tenant("Arena").await;
    let operator = world.key(Some(&tenant), ApiRole::Operator).await;
    let agent = world.agent(&operator, "Ada").await;
    let table = [
        ("GET /v1/whoami".to_owned(), json!(null), ApiRole::Viewer),
        ("GET /v1/agents".to_owned(), json!(null), ApiRole::Viewer),
        ("GET /v1/flags/streaming".to_owned(), json!(null), ApiRole::Viewer),
        ("POST /v1/agents".to_owned(), json!({"name": "B", "tenantId": tenant}), ApiRole::Operator),
        (format!("PATCH /v1/agents/{agent}"), json!({"author": "A"}), ApiRole::Operator),
        (format!("PUT /v1/agents/{agent}/streaming"), json!({"enabled": true}), ApiRole::Operator),
        (format!("GET /v1/agents/{agent}/destinations"), json!(null), ApiRole::Operator),
        (format!("POST /v1/agents/{agent}/destinations"), json!({"kind": "youtube"}), ApiRole::Operator),
        ("GET /v1/audit".to_owned(), json!(null), ApiRole::Operator),
        ("GET /v1/usage".to_owned(), json!(null), ApiRole::Operator),
        ("GET /v1/api-keys".to_owned(), json!(null), ApiRole::Operator),
        ("GET /v1/tenants".to_owned(), json!(null), ApiRole::Admin),
        ("POST /v1/tenants".to_owned(), json!({"name": "T"}), ApiRole::Admin),
        ("PUT /v1/flags/streaming".to_owned(), json!({"enabled": false}), ApiRole::Admin),
    ];
    for role in [ApiRole::Viewer, ApiRole::Game, ApiRole::Operator, ApiRole::Admin] {
        let key = world.key((role != ApiRole::Admin).then_some(&*tenant), role).await;
        for (line, body, least) in &table {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = world.call(&key, line, &[], body.as_bytes()).await;
            if role >= *least {
                assert!(answer.status.is_success(), "{role} {line}: {}", answer.text());
            } else {
                answer.problem(403, "forbidden");
                assert!(answer.text().contains(least.word()), "{role} {line} names the role: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn an_agent_is_made_read_changed_and_deleted() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let body = json!({"name": " Ada ", "author": "Lab", "model": "m-1", "defaults": {"fps": 60, "size": "1280x720"},
        "limits": {"minutesPerDay": 90}});
    let made = world.json(&key, "POST /v1/agents", body).await;
    let agent = made.expect(201);
    let path = format!("/v1/agents/{}", agent["id"].as_str().unwrap());
    assert_eq!((made.header("location"), made.header("etag")), (Some(&*path), Some("\"1\"")));
    assert_eq!(
        (&agent["name"], &agent["defaults"]["fps"], &agent["enabled"]),
        (&json!("Ada"), &json!(60), &json!(false))
    );

    let change = json!({"defaults": {"kbps": 3000, "size": null}, "limits": {"concurrent": 2}});
    let changed = world.json(&key, &format!("PATCH {path}"), change).await.expect(200);
    assert_eq!((&changed["defaults"]["kbps"], &changed["defaults"]["size"]), (&json!(3000), &json!(null)));
    assert_eq!((&changed["defaults"]["fps"], &changed["limits"]["minutesPerDay"]), (&json!(60), &json!(90)), "stay");
    assert_eq!(world.get(&key, &path).await.expect(200), changed);

    let on = world.json(&key, &format!("PUT {path}/streaming"), json!({"enabled": true})).await.expect(200);
    assert_eq!(on["enabled"], true);
    assert_eq!(world.call(&key, &format!("DELETE {path}"), &[], b"").await.expect(204), Value::Null);
    world.get(&key, &path).await.problem(404, "not-found");

    let log = world.get(&key, "/v1/audit").await.expect(200);
    let first = world.get(&key, "/v1/audit?limit=3").await.expect(200);
    let rest = world.get(&key, &format!("/v1/audit?after={}", first["next"].as_str().unwrap())).await.expect(200);
    assert_eq!((&rest["items"][0], &rest["next"]), (&log["items"][3], &Value::Null), "{rest}");
    assert_eq!(world.get(&key, "/v1/audit?after=7").await.problem(422, "invalid").as_deref(), Some("after"));
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["agent.delete", "agent.streaming.on", "agent.change", "agent.create"]);
    assert_eq!(
        (&log["items"][0]["from"], &log["items"][0]["actor"]),
        (&json!("192.0.2.7"), &json!(key.split('.').next()))
    );
}

#[tokio::test]
async fn a_field_that_cannot_be_is_refused_by_its_name() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let destinations = format!("POST /v1/agents/{agent}/destinations");
    let patch = format!("PATCH /v1/agents/{agent}");
    for (line, body, field) in [
        ("POST /v1/agents", json!({"name": " "}), "name"),
        ("POST /v1/agents", json!({"name": "a".repeat(201)}), "name"),
        ("POST /v1/agents", json!({"name": "a\u{7}b"}), "name"),
        ("POST /v1/agents", json!({"name": 7}), "name"),
        ("POST /v1/agents", json!({}), "name"),
        ("POST /v1/agents", json!({"name": "a", "colour": "red"}), "colour"),
        ("POST /v1/agents", json!({"name": "a", "defaults": {"fps": 31}}), "defaults.fps"),
        ("POST /v1/agents", json!({"name": "a", "defaults": {"theme": "neon"}}), "defaults.theme"),
        ("POST /v1/agents", json!({"name": "a", "limits": {"concurrent": 0}}), "limits.concurrent"),
        (&*patch, json!({"limits": {"budgetPerMonth": -1}}), "limits.budgetPerMonth"),
        (&*patch, json!({"limits": {"minutesPerDay": 1_441}}), "limits.minutesPerDay"),
        (&*destinations, json!({"kind": "rtmp"}), "ingest"),
        (&*destinations, json!({"kind": "mixer"}), "kind"),
        (&*destinations, json!({"kind": 5}), "kind"),
        ("POST /v1/agents", json!({"name": "a", "defaults": {"view": 5}}), "defaults.view"),
        (&*destinations, json!({"kind": "rtmp", "ingest": "http://live.example.com/app"}), "ingest"),
        (&*destinations, json!({"kind": "rtmp", "ingest": "rtmps://elsewhere.example.org/app"}), "ingest"),
        (&*destinations, json!({"kind": "twitch", "room": "r"}), "room"),
        (&*destinations, json!({"kind": "livekit-room"}), "room"),
        (&*destinations, json!({"kind": "livekit-room", "room": "r", "via": "livekit-egress"}), "via"),
        (
            &*destinations,
            json!({"kind": "livekit-room", "room": "r", "ingest": "rtmps://live.example.com/app"}),
            "ingest",
        ),
    ] {
        let answer = world.json(&key, line, body.clone()).await;
        assert_eq!(answer.problem(422, "invalid").as_deref(), Some(field), "{body}");
    }
    for (query, field) in [("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("sort=up", "sort")] {
        let answer = world.get(&key, &format!("/v1/agents?{query}")).await;
        assert_eq!(answer.problem(422, "invalid").as_deref(), Some(field), "{query}");
    }
    for (query, field) in [("from=2026-02-30", "from"), ("to=now", "to"), ("from=2024-01-01&to=2026-01-01", "from")] {
        let answer = world.get(&key, &format!("/v1/usage?{query}")).await;
        assert_eq!(answer.problem(422, "invalid").as_deref(), Some(field), "{query}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_answered_with_what_does_and_no_type_of_the_program() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let session = |rest: &str| format!(r#"{{"match":{{"reference":"m"}},"scope":{rest}}}"#);
    for (line, body, detail) in [
        ("agents", r#"{"name":"a","defaults":{"fps":1e12}}"#, "defaults.fps: expected 24, 25, 30, 50 or 60"),
        ("agents", r#"{"name":"a","defaults":{"fps":-1}}"#, "defaults.fps: expected 24, 25, 30, 50 or 60"),
        ("agents", r#"{"name":"a","defaults":{"fps":"30"}}"#, "defaults.fps: expected a whole number"),
        ("agents", r#"{"name":"a","defaults":{"fps":29.97}}"#, "defaults.fps: expected a whole number"),
        ("agents", r#"{"name":"a","defaults":{"delayMs":1e12}}"#, "defaults.delayMs: expected 0 to 600000 ms"),
        (
            "agents",
            r#"{"name":"a","defaults":{"kbps":99999999999999999999}}"#,
            "defaults.kbps: expected 300 to 20000 kbit/s",
        ),
        ("agents", r#"{"name":"a","limits":{"minutesPerDay":5000000000}}"#, "limits.minutesPerDay: expected 1 to 1440"),
        ("agents", r#"{"name":"a","limits":{"concurrent":-7}}"#, "limits.concurrent: expected 1 to 64"),
        ("agents", r#"{"name":"a","limits":{"budgetPerMonth":"x"}}"#, "limits.budgetPerMonth: expected a number"),
        (
            "agents",
            r#"{"name":"a","limits":{"budgetPerMonth":1e999}}"#,
            "limits.budgetPerMonth: the number is too large",
        ),
        ("agents", r#"{"name":5}"#, "name: expected a string"),
        ("api-keys", r#"{"name":"a","role":5}"#, "role: expected one of `viewer`, `game`, `operator`, `admin`"),
        ("sessions", &session("5"), "scope: expected `feed` or `watch`"),
        ("sessions", &session(r#""feed","ttlSeconds":1e12"#), "ttlSeconds: expected 60 to 2592000 seconds"),
    ] {
        let answer = world.call(&key, &format!("POST /v1/{line}"), &[], body.as_bytes()).await;
        answer.problem(422, "invalid");
        assert_eq!(answer.value()["detail"], detail, "{body}");
    }
    let whole = world.call(&key, "POST /v1/agents", &[], br#"{"name":"a","defaults":{"fps":6e1,"kbps":null}}"#).await;
    assert_eq!(whole.expect(201)["defaults"]["fps"], 60);
}

#[tokio::test]
async fn a_stream_key_goes_in_and_never_comes_out() {
    const CANARY: &str = "live_canary_7f3a9c";
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let destination = world.destination(&key, &agent).await;
    let path = format!("/v1/destinations/{destination}");
    let mut said = String::new();
    let mut hear = |answer: crate::world::Answer| {
        said += &format!("{:?} {}\n", answer.headers, answer.text());
        answer
    };
    let set = hear(world.json(&key, &format!("PUT {path}/key"), json!({"key": CANARY})).await).expect(200);
    assert_eq!(set["fingerprint"].as_str().unwrap().len(), 6);
    let shown = hear(world.get(&key, &path).await).expect(200);
    assert_eq!(shown["key"], set);
    // Every way to send it that is wrong.
    for body in [
        json!({"key": format!("{CANARY} x")}),
        json!({"key": [CANARY]}),
        json!({"key": {CANARY: 1}}),
        json!({"kye": CANARY}),
        json!([CANARY]),
        json!(CANARY),
        json!({"key": CANARY.repeat(40)}),
    ] {
        hear(world.json(&key, &format!("PUT {path}/key"), body).await).problem(422, "invalid");
    }
    hear(world.call(&key, &format!("PUT {path}/key"), &[], format!("{{\"key\":\"{CANARY}").as_bytes()).await);
    hear(world.json(&key, &format!("POST {path}/check"), json!({})).await);
    hear(world.get(&key, "/v1/audit").await);
    hear(world.get(&key, &format!("/v1/agents/{agent}/destinations")).await);
    hear(world.json(&key, &format!("PATCH {path}"), json!({"enabled": false})).await);
    assert!(!said.contains("canary"), "{said}");

    // Another host: the key was not set for it.
    let moved = world.json(&key, &format!("PATCH {path}"), json!({"ingest": "rtmps://live.example.com/app"})).await;
    assert_eq!(moved.expect(200)["key"], json!(null));
    world.json(&key, &format!("PUT {path}/key"), json!({"key": CANARY})).await.expect(200);
    let id = path.rsplit_once('/').unwrap().1;
    let before = world.store().sealed_key(id).await.unwrap().unwrap().record_version;
    world.call(&key, &format!("DELETE {path}/key"), &[], b"").await.expect(204);
    assert_eq!(world.get(&key, &path).await.expect(200)["key"], json!(null));
    world.json(&key, &format!("PUT {path}/key"), json!({"key": CANARY})).await.expect(200);
    let after = world.store().sealed_key(id).await.unwrap().unwrap().record_version;
    assert!(after > before, "{before} {after}: an old blob would open in its place");
}

#[tokio::test]
async fn an_agent_has_sixteen_destinations_and_not_one_more() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    for _ in 0..16 {
        world.destination(&key, &agent).await;
    }
    let more = world.json(&key, &format!("POST /v1/agents/{agent}/destinations"), json!({"kind": "twitch"})).await;
    more.problem(409, "conflict");
    assert_eq!(more.value()["limit"], 16);
}

fn png(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::RgbaImage::new(side, side).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

#[tokio::test]
async fn a_picture_is_kept_when_it_decodes_and_refused_when_not() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let agent = world.agent(&key, "Ada").await;
    let path = format!("/v1/agents/{agent}/avatar");
    let put = async |kind: &str, bytes: &[u8]| {
        world.call(&key, &format!("PUT {path}"), &[&*format!("content-type: {kind}")], bytes).await
    };
    world.get(&key, &path).await.problem(404, "not-found");
    let picture = png(64);
    assert_eq!(put("image/png", &picture).await.expect(200)["avatar"].as_str().unwrap().len(), 64);
    let got = world.get(&key, &path).await;
    assert_eq!((got.body == picture, got.header("content-type")), (true, Some("image/png")));
    let tag = format!("if-none-match: {}", got.header("etag").unwrap());
    assert_eq!(world.call(&key, &format!("GET {path}"), &[&*tag], b"").await.status, 304);
    assert_eq!(put("image/png", &picture[..picture.len() / 2]).await.problem(422, "invalid").as_deref(), Some("body"));
    assert_eq!(put("image/png", b"GIF89a").await.problem(422, "invalid").as_deref(), Some("body"));
    put("image/png", &png(4_097)).await.problem(422, "invalid");
    put("image/gif", b"GIF89a").await.problem(415, "media-type");
    let large = put("image/png", &vec![0; (2 << 20) + 1]).await;
    large.problem(413, "too-large");
    assert_eq!(large.value()["limit"], 2 << 20);
    assert_eq!(world.get(&key, &path).await.body, picture, "the good one stays");
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_works_until_it_is_revoked() {
    let world = World::new(config()).await;
    let tenant = world.tenant("Arena").await;
    let operator = world.key(Some(&tenant), ApiRole::Operator).await;
    let made = world.json(&operator, "POST /v1/api-keys", json!({"name": "game", "role": "game"})).await.expect(201);
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["tenantId"], json!(tenant));
    let who = world.get(key, "/v1/whoami").await.expect(200);
    assert_eq!((&who["actor"], &who["role"], &who["from"]), (&json!(id), &json!("game"), &json!("192.0.2.7")));
    let list = world.get(&operator, "/v1/api-keys").await;
    assert!(!list.text().contains(key.split('.').nth(1).unwrap()));
    let above = world.json(&operator, "POST /v1/api-keys", json!({"name": "a", "role": "admin"})).await;
    above.problem(403, "forbidden");
    let other =
        world.json(&operator, "POST /v1/api-keys", json!({"name": "a", "role": "game", "tenantId": "ten_x"})).await;
    other.problem(403, "forbidden");
    let none = world.json(&world.admin, "POST /v1/api-keys", json!({"name": "a", "role": "game"})).await;
    assert_eq!(none.problem(422, "invalid").as_deref(), Some("tenantId"));
    world.call(&operator, &format!("DELETE /v1/api-keys/{id}"), &[], b"").await.expect(204);
    world.get(key, "/v1/whoami").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn the_flag_is_as_the_settings_say_until_somebody_sets_it() {
    let world = World::new(config()).await;
    let read = async || world.get(&world.admin, "/v1/flags/streaming").await.expect(200);
    assert_eq!(read().await, json!({"enabled": false, "byDefault": true}));
    world.json(&world.admin, "PUT /v1/flags/streaming", json!({"enabled": true})).await.expect(200);
    assert_eq!(read().await, json!({"enabled": true, "byDefault": false}));
    world.json(&world.admin, "PUT /v1/flags/streaming", json!({"enabled": false, "hard": true})).await.expect(200);
    assert_eq!(read().await["enabled"], false);
    let log = world.get(&world.admin, "/v1/audit").await.expect(200);
    assert_eq!(
        (&log["items"][0]["action"], &log["items"][0]["details"]["hard"]),
        (&json!("flag.streaming.off"), &json!(true))
    );
}

#[tokio::test]
async fn usage_adds_up_and_costs_what_an_output_hour_costs() {
    let mut config = config();
    config.streaming.price_per_output_hour = 0.5;
    config.streaming.currency = "EUR".into();
    let world = World::new(config).await;
    let tenant = world.tenant("Arena").await;
    let key = world.key(Some(&tenant), ApiRole::Operator).await;
    let agent = world.agent(&key, "Ada").await;
    for day in ["2026-11-01", "2026-11-02"] {
        world.store().add_usage(&tenant, &agent, day, 3_600, 7_200).await.unwrap();
    }
    let usage = world.get(&key, "/v1/usage?from=2026-11-01&to=2026-11-30").await.expect(200);
    assert_eq!(usage["total"], json!({"streamSeconds": 7_200, "outputSeconds": 14_400, "cost": 2.0}));
    assert_eq!((&usage["currency"], &usage["items"][0]["cost"]), (&json!("EUR"), &json!(1.0)));
    let day: UsageDay = serde_json::from_value(usage["items"][1].clone()).unwrap();
    assert_eq!((&*day.day, &*day.agent_id), ("2026-11-02", &*agent));
    let one = world.get(&key, &format!("/v1/usage?from=2026-11-02&to=2026-11-02&agentId={agent}")).await.expect(200);
    assert_eq!(one["total"]["cost"], 1.0);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let world = World::new(config()).await;
    let key = world.operator("Arena").await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(world.agent(&key, &format!("A{n}")).await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get(&key, &format!("/v1/agents?limit=2{after}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn tenants_come_in_pages_and_each_has_an_address() {
    let world = World::new(config()).await;
    let mut made = Vec::new();
    for name in ["A", "B", "C"] {
        let answer = world.json(&world.admin, "POST /v1/tenants", json!({ "name": name })).await;
        let tenant = answer.expect(201);
        let path = answer.header("location").unwrap().to_owned();
        assert_eq!(world.get(&world.admin, &path).await.expect(200), tenant);
        made.push(tenant["id"].as_str().unwrap().to_owned());
    }
    made.sort();
    let first = world.get(&world.admin, "/v1/tenants?limit=2").await.expect(200);
    let next = first["next"].as_str().expect("there is more");
    let second = world.get(&world.admin, &format!("/v1/tenants?limit=2&after={next}")).await.expect(200);
    assert_eq!(second["next"], json!(null));
    let items = [&first, &second].map(|page| page["items"].as_array().unwrap().clone()).concat();
    assert_eq!(items.iter().map(|t| t["id"].as_str().unwrap()).collect::<Vec<_>>(), made);
    let operator = world.operator("D").await;
    world.get(&operator, &format!("/v1/tenants/{}", made[0])).await.problem(403, "forbidden");
    world.get(&world.admin, "/v1/tenants/ten_0").await.problem(404, "not-found");
}
