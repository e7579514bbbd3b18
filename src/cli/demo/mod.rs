//! `demo`: the service itself, in memory and with keys of its own, and a game server that pushes a bundled match through the
//! public API as it happens.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the service, what it is given, and what the user sees |
//! | [`client`] | the game server |
//! | [`stage`] | the broadcast with a preview page and a file on it |

mod client;
mod stage;

use super::livekit::Via;
use super::on_air::{self, Input, OVER, Signals, preview_page, room_outputs, rtmp_targets, sum_up};
use super::status::say;
use super::{Demo, OutputArgs};
use crate::config::Config;
use crate::game::Body;
use crate::game::View;
use crate::game::adapters::{self, Record};
use crate::http::api::{self, Api};
use crate::http::server::{Limits, serve};
use crate::output::file::FileOutput;
use crate::output::key::RtmpTarget;
use crate::output::rtmp::{RtmpOptions, RtmpOutput};
use crate::output::{Destination, State, Status};
use crate::secure::{Keyring, TokenSigner, api_key};
use crate::server::bus::Bus;
use crate::server::stage::StudioStage;
use crate::server::{Context, Service, now_ms};
use crate::store::model::{ApiKey, ApiRole, DestinationKind};
use crate::store::{Place, Store};
use crate::stream::{Replay, ReplayOptions};
use crate::studio::StreamSettings;
use anyhow::Context as _;
use client::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stage::DemoStage;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Countdown of the demo.
const LEAD_IN_MS: i64 = 4_000;
/// The outputs' end.
const LEAVE_AIR: Duration = Duration::from_millis(3_500);
/// Calls that run.
const CLOSE_CALLS: Duration = Duration::from_millis(300);

pub fn run(args: Demo) -> anyhow::Result<ExitCode> {
    let (bytes, name): (&[u8], &str) = match args.game.as_str() {
        "snakes" => (include_bytes!("../../../assets/demo/snakes.jsonl"), "Battlesnake, four snakes"),
        "poker" => (include_bytes!("../../../assets/demo/poker.phh"), "no-limit hold'em, six players"),
        _ => (include_bytes!("../../../assets/demo/chess.pgn"), "chess between two engines"),
    };
    let record = adapters::read(bytes, None).context("the bundled match")?;
    say!("agentcast demo: {name}, a real recorded match");
    let mut outputs = args.outputs;
    let file = outputs.record.take().unwrap_or_else(|| PathBuf::from("demo.mp4"));
    if args.livekit {
        outputs.room.livekit_room.get_or_insert_with(|| "agentcast-demo".into());
        outputs.room.how_to_watch = true;
    }
    // Everything that can be wrong with the arguments comes before the first thread and the first byte written.
    let settings = StreamSettings { joiners: outputs.room.livekit_joiners, ..args.picture.settings("demo")? };
    let pictures = args.picture.pictures()?;
    let room = outputs.room.target()?;
    let targets = rtmp_targets(&outputs)?;
    let vias = outputs.room.vias(targets.len())?;
    let config = config(&outputs, &targets, &settings, args.repeat);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _inside = runtime.enter();
    // From here on a signal means a clean end.
    let mut signals = Signals::listen().context("signals cannot be handled")?;
    let studio = Arc::new(StudioStage::new(args.picture.adapter.clone().into()));
    let adapter = studio.warm_up().map_err(anyhow::Error::msg)?;
    let video = studio.video(&settings).map_err(anyhow::Error::msg)?;
    say!("drawing on {adapter}; {}x{} at {} fps, {} kbit/s", video.width, video.height, video.fps, video.kbps);
    let shown = Arc::<Mutex<String>>::default();
    let (preview, page) = preview_page(&runtime, args.preview_port, &shown)?;

    // What goes through the API as any operator's destination does, and what only the command line knows of.
    let (mut by_api, mut own, mut through_egress): (Vec<_>, Vec<Box<dyn Destination>>, Vec<_>) = Default::default();
    for ((target, via), url) in targets.into_iter().zip(vias).zip(&outputs.rtmp) {
        let by = if via == Via::LivekitEgress { " through LiveKit's Egress service" } else { "" };
        say!("publishing to {}{by}", target.name());
        if via == Via::LivekitEgress {
            through_egress.push(target);
        } else if config.hosts.ingest(DestinationKind::Rtmp, url.trim()).is_ok() && !target.key_in_url() {
            by_api.push((url.trim().to_owned(), target));
        } else {
            let options = RtmpOptions { ca_file: outputs.ca_file.clone(), ..RtmpOptions::default() };
            own.push(Box::new(RtmpOutput::spawn(target, options)?));
        }
    }
    let mut job = None;
    if let Some(room) = &room {
        let (of_room, observer) = room_outputs(&runtime, room, through_egress, &video, &outputs.room)?;
        own.extend(of_room);
        job = observer;
    }
    own.push(Box::new(FileOutput::create(&file, true)?));
    say!("recording to {}", file.display());
    own.push(Box::new(preview));

    let linger = OVER + Duration::from_millis(settings.delay_ms.unsigned_abs());
    let view = settings.view.clone();
    let stage = DemoStage::new(studio, settings, pictures, own);
    let (api, address, end_calls, server) = runtime.block_on(start(config, stage.clone()))?;
    let client = runtime.block_on(key(&api, address))?;
    say!("service:  http://{address}/docs, in memory; what it can do is shown there");
    // On standard output, which is nobody's log. It may be closed.
    let said = format!("its key:  {}", client.key.expose_secret());
    let _ = writeln!(std::io::stdout().lock(), "{said}");

    let game = runtime.spawn(play(client, record, view, by_api, args.repeat, stage.clone()));
    let no_input = Input::default();
    let end = runtime.block_on(async {
        let failed = async {
            // It returns only when something is wrong, or when the match is over.
            match game.await {
                Ok(Ok(())) => std::future::pending().await,
                Ok(Err(error)) => error,
                Err(error) => anyhow::Error::new(error),
            }
        };
        let trouble = async {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if let Some(words) = stage.trouble() {
                    return anyhow::Error::msg(words);
                }
            }
        };
        tokio::select! {
            end = on_air::watch(&stage, Some(&page), &shown, &no_input, linger, &mut signals) => end,
            error = failed => Err(error.context("the demo's game server")),
            error = trouble => Err(error),
        }
    });
    let refused = refused(&api.service);
    runtime.block_on(async {
        api.service.leave_air(LEAVE_AIR).await;
        on_air::let_go(job).await;
        let _ = end_calls.send(());
        api.close(CLOSE_CALLS).await;
        // A panic was logged; there is nothing left to lose.
        let _ = server.await;
        api.service.close().await;
        page.shutdown().await;
    });
    let status = on_air::Watched::status(&stage);
    sum_up(&status);
    end?;
    let (kept, published): (Vec<_>, Vec<_>) =
        status.outputs.iter().partition(|output| output.name.starts_with("file "));
    let gave_up = |outputs: &[&Status]| outputs.iter().any(|output| output.state == State::NeedsAttention);
    Ok(match (refused || gave_up(&published), gave_up(&kept)) {
        (true, _) => ExitCode::from(3),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

/// The settings of a service that nobody else is to use.
fn config(outputs: &OutputArgs, targets: &[RtmpTarget], settings: &StreamSettings, repeat: bool) -> Config {
    let mut config = Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Config::default() };
    config.streaming.enabled = true;
    // With a next match the over scene gives way to it; without one the demo ends on it.
    config.streaming.over = if repeat { OVER } else { 10 * OVER };
    config.streaming.preset.clone_from(&settings.preset);
    config.hosts.allow_private = true;
    config.hosts.allowed =
        targets.iter().map(|target| format!("{}:{}", bracketed(target.host()), target.port())).collect();
    config.ca_file.clone_from(&outputs.ca_file);
    config
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

type Running = (Api, SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>);

/// Starts the service and its HTTP server.
async fn start(mut config: Config, stage: DemoStage) -> anyhow::Result<Running> {
    let listener = TcpListener::bind(config.listen).await.context("the service cannot listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    config.listen = address;
    let context = Context {
        store: Store::open(&Place::Memory).await.context("the store in memory")?,
        keyring: Arc::new(Keyring::ephemeral()),
        tokens: Arc::new(TokenSigner::ephemeral()),
        bus: Bus::default(),
        config: Arc::new(RwLock::new(Arc::new(config))),
        livekit: None,
        hub: None,
    };
    let service = Service::start(context, Arc::new(stage)).await.context("the service cannot start")?;
    let api = Api::new(service);
    api.live.set_stage(Ok("the demo's".into()));
    let (end_calls, calls_end) = oneshot::channel::<()>();
    let limits = Limits { close: CLOSE_CALLS, ..Limits::default() };
    let server = tokio::spawn(serve(listener, api::router(api.clone()), limits, async { _ = calls_end.await }));
    Ok((api, address, end_calls, server))
}

/// The service's first key, as `agentcast apikey create` makes it.
async fn key(api: &Api, address: SocketAddr) -> anyhow::Result<Client> {
    let made = api_key::generate();
    let record = ApiKey {
        id: made.id,
        tenant_id: None,
        role: ApiRole::Admin,
        name: "demo".into(),
        created_at: now_ms(),
        last_used_at: None,
        revoked_at: None,
    };
    api.service.context().store.add_api_key(&record, &made.hash).await.context("the demo's key")?;
    Ok(Client { address, key: made.secret })
}

/// Sets everything up as an operator would and plays the match, again and again if asked to. Ends when the last one is over.
async fn play(
    client: Client,
    record: Record,
    view: View,
    destinations: Vec<(String, RtmpTarget)>,
    repeat: bool,
    stage: DemoStage,
) -> anyhow::Result<()> {
    let id = |made: &Value| made["id"].as_str().map(str::to_owned).context("the answer has no id");
    let tenant = id(&client.post("/v1/tenants", &json!({ "name": "Demo" })).await?)?;
    let (title, players) = players(&record);
    // Whose stream it is: who is looked through the eyes of, else the first seat.
    let streams = match &view {
        View::Side(side) if players.iter().any(|(id, _)| id == side) => side.clone(),
        _ => players.first().map(|(id, _)| id.clone()).context("the match has no sides")?,
    };
    let mut sides = serde_json::Map::new();
    for (side, name) in players {
        let agent = json!({ "tenantId": tenant, "name": name });
        let agent = id(&client.post("/v1/agents", &agent).await?)?;
        if side == streams {
            for (ingest, target) in &destinations {
                let made = json!({ "kind": "rtmp", "ingest": ingest });
                let made = id(&client.post(&format!("/v1/agents/{agent}/destinations"), &made).await?)?;
                if let Some(key) = target.stream_key() {
                    client.put(&format!("/v1/destinations/{made}/key"), &json!({ "key": key.expose() })).await?;
                }
            }
            client.put(&format!("/v1/agents/{agent}/streaming"), &json!({ "enabled": true })).await?;
        }
        sides.insert(side, Value::from(agent));
    }
    let sides = Value::Object(sides);
    // An admin belongs to no tenant; the game server does.
    let game = json!({ "tenantId": tenant, "role": "game", "name": "game server" });
    let game = client.post("/v1/api-keys", &game).await?["key"].as_str().map(str::to_owned).context("no key")?;
    let game = Client { address: client.address, key: game.into() };
    for round in 1_u64.. {
        let options = ReplayOptions { lead_in_ms: LEAD_IN_MS, ..ReplayOptions::default() };
        let replay = Replay::new(record.clone(), options);
        let played = game.play(&format!("demo-{round}"), &title, &sides, replay).await?;
        if !repeat {
            break;
        }
        tokio::time::sleep(OVER).await;
        game.post(&format!("/v1/matches/{played}/end"), &json!({})).await?;
    }
    stage.match_is_over();
    Ok(())
}

/// Title of the match, and its sides in the order of their seats: id and name.
fn players(record: &Record) -> (String, Vec<(String, String)>) {
    let snapshot = record.events.iter().find_map(|timed| match &timed.event.body {
        Body::MatchStarted(snapshot) | Body::StateSnapshot(snapshot) => Some(snapshot),
        _ => None,
    });
    let Some(snapshot) = snapshot else { return (String::new(), Vec::new()) };
    let mut sides: Vec<_> = snapshot.sides.iter().collect();
    sides.sort_by_key(|(_, side)| side.seat);
    let named = |(id, side): (&String, &crate::game::Side)| {
        (id.clone(), if side.name.is_empty() { id.clone() } else { side.name.clone() })
    };
    (snapshot.title.clone(), sides.into_iter().map(named).collect())
}

/// Whether a platform refused one of the destinations that went through the API.
fn refused(service: &Service) -> bool {
    let streams = service.streams().list(None);
    streams.iter().flat_map(|stream| &stream.destinations).any(|destination| destination.state == "needs-attention")
}
