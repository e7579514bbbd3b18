//! A service in memory, without a stage, and callers of every role.

use agentcast::config::Config;
use agentcast::http::api::{Api, router};
use agentcast::livekit::Server;
use agentcast::secure::{Keyring, TokenSigner, api_key, new_id};
use agentcast::server::bus::Bus;
use agentcast::server::stage::{OnStage, Stage};
use agentcast::server::{Context, Service, now_ms};
use agentcast::store::model::{ApiKey, ApiRole, Tenant};
use agentcast::store::{Place, Store};
use agentcast::stream::Meters;
use agentcast::studio::StreamSettings;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use tower::ServiceExt;

/// No stream ever begins here.
struct NoStage(Arc<Meters>);

impl Stage for NoStage {
    fn open(&self, _: &StreamSettings) -> Result<Box<dyn OnStage>, String> {
        Err("there is no stage here".into())
    }

    fn meters(&self) -> Arc<Meters> {
        self.0.clone()
    }
}

pub struct World {
    pub api: Api,
    pub router: Router,
    pub admin: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Destinations may be on this host.
pub fn config() -> Config {
    let mut config = Config::default();
    config.limits.requests_per_second = 10_000;
    config.limits.requests_burst = 10_000;
    config.hosts.allowed = vec!["127.0.0.1:*".into(), "live.example.com".into()];
    config.hosts.allow_private = true;
    config
}

impl World {
    pub async fn new(config: Config) -> World {
        World::at(config, &Place::Memory).await
    }

    pub async fn at(config: Config, place: &Place) -> World {
        World::beside(config, place, None).await
    }

    /// With a LiveKit server.
    pub async fn beside(config: Config, place: &Place, livekit: Option<Server>) -> World {
        let context = Context {
            store: Store::open(place).await.unwrap(),
            keyring: Arc::new(Keyring::ephemeral()),
            tokens: Arc::new(TokenSigner::ephemeral()),
            bus: Bus::default(),
            config: Arc::new(RwLock::new(Arc::new(config))),
            livekit,
            hub: None,
        };
        let service = Service::start(context, Arc::new(NoStage(Arc::default()))).await.unwrap();
        let api = Api::new(service);
        let mut world = World { router: router(api.clone()), api, admin: String::new() };
        world.admin = world.key(None, ApiRole::Admin).await;
        world
    }

    pub fn store(&self) -> &Store {
        &self.api.service.context().store
    }

    pub async fn tenant(&self, name: &str) -> String {
        let tenant = Tenant { id: new_id("ten"), name: name.into(), created_at: now_ms() };
        self.store().add_tenant(&tenant).await.unwrap();
        tenant.id
    }

    /// A key, in plain.
    pub async fn key(&self, tenant: Option<&str>, role: ApiRole) -> String {
        let made = api_key::generate();
        let key = ApiKey {
            id: made.id.clone(),
            tenant_id: tenant.map(str::to_owned),
            role,
            name: "test".into(),
            created_at: now_ms(),
            last_used_at: None,
            revoked_at: None,
        };
        self.store().add_api_key(&key, &made.hash).await.unwrap();
        made.secret.expose_secret().to_owned()
    }

    /// A tenant's operator.
    pub async fn operator(&self, name: &str) -> String {
        let tenant = self.tenant(name).await;
        self.key(Some(&tenant), ApiRole::Operator).await
    }

    /// One request. `headers`: `Name: value`. A body is JSON unless a header says otherwise.
    pub async fn call(&self, key: &str, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", "cast.example.com");
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut json = !body.is_empty();
        for line in headers {
            let (name, value) = line.split_once(": ").unwrap();
            json &= !name.eq_ignore_ascii_case("content-type");
            request = request.header(name, value);
        }
        if json {
            request = request.header("content-type", "application/json");
        }
        let mut request = request.body(Body::from(body.to_vec())).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn json(&self, key: &str, line: &str, body: Value) -> Answer {
        self.call(key, line, &[], body.to_string().as_bytes()).await
    }

    pub async fn get(&self, key: &str, path: &str) -> Answer {
        self.call(key, &format!("GET {path}"), &[], b"").await
    }

    /// An agent of the key's tenant: its id.
    pub async fn agent(&self, key: &str, name: &str) -> String {
        let made = self.json(key, "POST /v1/agents", serde_json::json!({ "name": name })).await;
        made.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// A destination on this host: its id.
    pub async fn destination(&self, key: &str, agent: &str) -> String {
        let body = serde_json::json!({ "kind": "rtmp", "ingest": "rtmp://127.0.0.1:1936/app" });
        let made = self.json(key, &format!("POST /v1/agents/{agent}/destinations"), body).await;
        made.expect(201)["id"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.value() }
    }

    /// A problem of this status and type; its field.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Option<String> {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], format!("/docs#{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        for name in ["title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|words| !words.is_empty()), "{problem}");
        }
        problem["field"].as_str().map(str::to_owned)
    }

    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
