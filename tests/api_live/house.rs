//! The service in this process, and its callers.

use crate::support::service::Client;
use agentcast::config::Config;
use agentcast::encode::{Profile, VideoCodec, VideoSettings};
use agentcast::game::MatchState;
use agentcast::http::api::{Api, router};
use agentcast::http::server::{Limits, serve};
use agentcast::output::{Destination, State, Status};
use agentcast::secure::{Keyring, TokenSigner, api_key};
use agentcast::server::stage::{OnStage, Scene, Stage};
use agentcast::server::{Context, Service, bus::Bus, now_ms};
use agentcast::store::model::{ApiKey, ApiRole, Tenant};
use agentcast::store::{Place, Store};
use agentcast::stream::{Eyes, Meters, OutputId, StreamStatus};
use agentcast::studio::StreamSettings;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

/// On a machine that does other things beside.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    runtime: Runtime,
    pub api: Api,
    pub address: String,
    pub operator: Client,
    pub game: Client,
    pub stage: Arc<FakeStage>,
}

impl House {
    pub fn new() -> House {
        House::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> House {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stage = Arc::<FakeStage>::default();
        let mut config = Config::default();
        // Tests feed as fast as they can; the limiter has tests of its own.
        (config.limits.events_per_second, config.limits.events_burst) = (10_000, 10_000);
        (config.limits.requests_per_second, config.limits.requests_burst) = (10_000, 10_000);
        config.streaming.enabled = true;
        config.hosts.allowed = vec!["127.0.0.1:*".into()];
        config.hosts.allow_private = true;
        let (listener, address) = runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            (listener, address)
        });
        config.listen = address;
        change(&mut config);
        let on = stage.clone();
        let api = runtime.block_on(async move {
            let context = Context {
                store: Store::open(&Place::Memory).await.unwrap(),
                keyring: Arc::new(Keyring::ephemeral()),
                tokens: Arc::new(TokenSigner::ephemeral()),
                bus: Bus::default(),
                config: Arc::new(RwLock::new(Arc::new(config))),
                livekit: None,
                hub: None,
            };
            Api::new(Service::start(context, on).await.unwrap())
        });
        runtime.spawn(serve(listener, router(api.clone()), Limits::default(), std::future::pending()));
        let address = address.to_string();
        let nobody = Client { address: address.clone(), token: String::new() };
        let mut house = House { runtime, api, address, operator: nobody.clone(), game: nobody, stage };
        house.add_tenant("ten_a");
        house.operator = house.key(Some("ten_a"), ApiRole::Operator);
        house.game = house.key(Some("ten_a"), ApiRole::Game);
        house
    }

    /// The same service at another port, with other limits: its address.
    pub fn serve(&self, limits: Limits) -> String {
        let listener = self.wait(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.runtime.spawn(serve(listener, router(self.api.clone()), limits, std::future::pending()));
        address
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn store(&self) -> &Store {
        &self.api.service.context().store
    }

    pub fn add_tenant(&self, id: &str) {
        let tenant = Tenant { id: id.into(), name: id.into(), created_at: now_ms() };
        self.wait(self.store().add_tenant(&tenant)).unwrap();
    }

    pub fn key(&self, tenant: Option<&str>, role: ApiRole) -> Client {
        let new = api_key::generate();
        let key = ApiKey {
            id: new.id.clone(),
            tenant_id: tenant.map(Into::into),
            role,
            name: role.to_string(),
            created_at: now_ms(),
            last_used_at: None,
            revoked_at: None,
        };
        self.wait(self.store().add_api_key(&key, &new.hash)).unwrap();
        Client { address: self.address.clone(), token: new.secret.expose_secret().to_owned() }
    }

    /// A session that feeds a match of its own.
    pub fn feeds(&self, reference: &str) -> Session {
        Session::of(&self.game, self.game.feed_session(reference, json!({})))
    }

    /// A session that watches that match.
    pub fn watches(&self, feeding: &Session, view: &str) -> Session {
        let body = json!({ "scope": "watch", "matchId": feeding.made["match"]["id"], "view": view });
        Session::of(&self.operator, self.operator.post("/v1/sessions", &body).expect(201))
    }
}

/// A session as its holder has it.
#[derive(Clone, Debug)]
pub struct Session {
    pub made: Value,
    pub id: String,
    pub token: String,
    /// With the session's token.
    pub holder: Client,
}

impl Session {
    fn of(client: &Client, made: Value) -> Session {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let token = text(&made["token"]);
        Session { id: text(&made["session"]["id"]), holder: client.with(&token), token, made }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.id)
    }

    pub fn code(&self) -> &str {
        self.made["code"].as_str().expect("a code")
    }
}

/// A WebSocket of a client.
pub struct Socket(WebSocket<TcpStream>);

/// What came on a WebSocket.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    Json(Value),
    Closed(u16),
}

impl Socket {
    /// With the token or key in the handshake.
    pub fn open(client: &Client, path: &str) -> Socket {
        let stream = TcpStream::connect(&client.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://{}{path}", client.address).into_client_request().unwrap();
        if !client.token.is_empty() {
            let value = format!("Bearer {}", client.token).parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        match tokio_tungstenite::tungstenite::client::client(request, stream) {
            Ok((socket, _)) => Socket(socket),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// As a browser: the token comes in the first message.
    pub fn browser(session: &Session, rest: &str) -> Socket {
        let mut socket = Socket::open(&session.holder.anonymous(), &session.path(rest));
        socket.send(&json!({ "type": "auth", "token": session.token }));
        socket
    }

    pub fn send(&mut self, value: &Value) {
        self.text(&value.to_string());
    }

    pub fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// Puts messages on their way in one piece.
    pub fn send_together(&mut self, values: &[Value]) {
        for value in values {
            self.0.write(Message::text(value.to_string())).unwrap();
        }
        self.0.flush().unwrap();
    }

    pub fn next(&mut self) -> Came {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Came::Json(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => return Came::Closed(frame.map_or(0, |f: CloseFrame| f.code.into())),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Came::Closed(0),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    pub fn json(&mut self) -> Value {
        match self.next() {
            Came::Json(value) => value,
            Came::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// The code with which it is closed, whatever else comes before.
    pub fn closed(&mut self) -> u16 {
        loop {
            if let Came::Closed(code) = self.next() {
                return code;
            }
        }
    }

    /// The next state for which `is` holds.
    #[track_caller]
    pub fn state(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let said = self.json();
            assert_eq!(said["type"], "state", "{said}");
            if is(&said["state"]) {
                return said["state"].clone();
            }
        }
    }
}

/// Streams of this stage draw nothing and send nothing; their destinations are live at once.
#[derive(Default)]
pub struct FakeStage {
    pub scenes: Arc<Mutex<Vec<Option<Scene>>>>,
}

struct FakeShow {
    scenes: Arc<Mutex<Vec<Option<Scene>>>>,
    runs: AtomicBool,
    outputs: Mutex<Vec<OutputId>>,
}

impl Stage for FakeStage {
    fn open(&self, _: &StreamSettings) -> Result<Box<dyn OnStage>, String> {
        Ok(Box::new(FakeShow { scenes: self.scenes.clone(), runs: AtomicBool::new(true), outputs: Mutex::default() }))
    }

    fn meters(&self) -> Arc<Meters> {
        Arc::default()
    }
}

impl OnStage for FakeShow {
    fn show(&self, _: Arc<MatchState>, _: &Arc<Eyes>) -> bool {
        self.runs()
    }

    fn add(&self, _: Box<dyn Destination>) -> Result<OutputId, String> {
        let mut outputs = self.outputs.lock().unwrap();
        let id = outputs.last().map_or(1, |last| last + 1);
        outputs.push(id);
        Ok(id)
    }

    fn remove(&self, output: OutputId, _: Duration) {
        self.outputs.lock().unwrap().retain(|id| *id != output);
    }

    fn scene(&self, scene: Option<Scene>) {
        self.scenes.lock().unwrap().push(scene);
    }

    fn host(&self, _: &str) {}

    fn viewers(&self, _: Option<u64>) {}

    fn picture(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn status(&self) -> StreamStatus {
        let ids = self.outputs.lock().unwrap().clone();
        let live = Status { state: State::Live, ..Status::default() };
        StreamStatus { frames: 7, fps: 30.0, outputs: vec![live; ids.len()], ids, ..StreamStatus::default() }
    }

    fn video(&self) -> VideoSettings {
        VideoSettings {
            width: 640,
            height: 360,
            fps: 30,
            kbps: 1_000,
            codec: VideoCodec::default(),
            profile: Profile::default(),
            preset: "veryfast".into(),
        }
    }

    fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    fn thumbnail(&self) -> Option<(Arc<[u8]>, i64)> {
        Some((Arc::from(*b"\xFF\xD8jpeg"), now_ms()))
    }

    fn stop(&self, _: Duration) -> Vec<Status> {
        self.runs.store(false, Ordering::Relaxed);
        Vec::new()
    }
}
