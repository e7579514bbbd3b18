//! `serve`: the service.
//!
//! | file | what |
//! |---|---|
//! | `mod` | start and end |
//! | [`keys`] | its secrets, checked before anything else |
//! | [`care`] | new settings, old records, signals |
//! | [`news`] | what a LiveKit server tells |

mod care;
mod keys;
mod news;

use super::settings::SettingArgs;
use super::status::{Log, last_words};
use super::usage;
use crate::config::Config;
use crate::config::load::Origin;
use crate::http::api::{self, Api};
use crate::http::server::{Limits, enough_files, serve_behind};
use crate::server::bus::Bus;
use crate::server::stage::StudioStage;
use crate::server::{Context, Service};
use crate::store::model::ApiRole;
use crate::store::{Hold, PageRequest, Place, Store};
use crate::webhook::{Hub, PATH};
use anyhow::Context as _;
use axum::Router;
use care::{Reloader, Stop};
use clap::Args;
use rustix::fs::{FlockOperation, flock};
use secrecy::SecretString;
use std::fs::{DirBuilder, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// From the signal to the last packet of a stream.
const LEAVE_AIR: Duration = Duration::from_secs(20);
/// Sockets and calls that run.
const CLOSE_CALLS: Duration = Duration::from_secs(3);
/// All of the end.
const DRAIN: Duration = Duration::from_secs(30);

/// For so many connections of callers with a key or token there is one more for others.
const STRANGERS: usize = 4;

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: SettingArgs,
}

pub(super) fn run(args: Serve, verbose: u8) -> anyhow::Result<ExitCode> {
    let inputs = args.settings.inputs();
    let loaded = args.settings.load()?;
    let keys = keys::keys(&loaded)?;
    let level_given = loaded.origins.get("log.level").is_some_and(|origin| *origin != Origin::Default);
    let log = Arc::new(Log::of_service(&loaded.config.log, level_given, verbose));
    for warning in &loaded.warnings {
        log.tell(&format!("warning: {warning}"));
    }
    if let Some(path) = &loaded.config.ca_file {
        File::open(path).with_context(|| usage(format!("destinations.ca_file {}", path.display())))?;
    }
    let place = loaded.secrets.place(&loaded.config);
    let _alone = alone(&loaded.config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Ends after everything that writes, as `_alone` does; a busy service never keeps it from being looked after.
    let keeper = match place.server() {
        Some(_) => Some(runtime_of_the_hold()?),
        None => None,
    };
    let done = runtime.block_on(async {
        // From here on a signal means a clean end.
        let mut stop = Stop::listen().context("signals cannot be handled")?;
        let reloader = Reloader::new(inputs, loaded.clone(), log.clone()).context("signals cannot be handled")?;
        let config = &loaded.config;
        // Kept from here on until this process ends: while it drains it still answers calls and writes.
        let mut taken = match (place.server(), &keeper) {
            (Some(url), Some(keeper)) => Some(hold(url, keeper.handle(), &log, &mut stop).await?),
            _ => None,
        };
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("--listen {}: cannot listen there; name another port", config.listen))?;
        let address = listener.local_addr()?;
        let store = Store::open(&place).await.with_context(|| format!("the store ({})", whereabouts(&place)))?;
        keys::note(&store, &keys.keyring).await;
        let hub = keys.livekit.as_ref().map(Hub::new);
        let context = Context {
            store,
            keyring: Arc::new(keys.keyring),
            tokens: Arc::new(keys.tokens),
            bus: Bus::default(),
            // Port 0 is another one by now.
            config: Arc::new(RwLock::new(Arc::new(Config { listen: address, ..config.clone() }))),
            livekit: keys.livekit,
            hub: hub.clone(),
        };
        let stage = Arc::new(StudioStage::new(config.streaming.adapter.clone().into()));
        let service = Service::start(context.clone(), stage.clone()).await.context("the service cannot start")?;
        let api = Api::new(service.clone());
        // Fonts and shaders take a second; nobody waits for them, and `/readyz` says when they are there.
        let warm = {
            let api = api.clone();
            tokio::task::spawn_blocking(move || api.live.set_stage(stage.warm_up()))
        };
        let (end_calls, calls_end) = oneshot::channel::<()>();
        let app = app(&api, hub.as_ref());
        let limits = limits(&log, config);
        let settings = context.clone();
        let proxy =
            move |ip: IpAddr| settings.config().http.trusted_proxies.iter().any(|known| known.to_canonical() == ip);
        let server = tokio::spawn(serve_behind(listener, app, limits, proxy, async { _ = calls_end.await }));
        greet(&log, config, &context, &place, address).await;
        notify("READY=1");
        let mut care = tokio::task::JoinSet::new();
        care.spawn(care::prune(service.clone()));
        care.spawn(keys::look_through(context.store.clone(), context.keyring.clone()));
        let poked = service.clone();
        care.spawn(reloader.run(context.clone(), move || poked.streams().poke()));
        if let Some(hub) = hub {
            care.spawn(news::tell(hub.subscribe()));
            care.spawn(async move { hub.run().await });
        }
        tokio::select! {
            () = stop.asked() => {}
            () = lost(&mut taken) => another_serves(),
        }
        notify("STOPPING=1");
        log.tell("agentcast serve: ending; what is on air is finished. Once more ends it at once");
        tokio::select! {
            () = drain(&api, &service, end_calls, server) => {}
            () = stop.asked() => end_at_once("asked twice"),
            () = lost(&mut taken) => another_serves(),
            () = tokio::time::sleep(DRAIN) => end_at_once("30 s were not enough"),
        }
        care.shutdown().await;
        // It only matters while it starts.
        warm.abort();
        log.tell("agentcast serve: stopped");
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    // Its session ends with its tasks, at once; while the server is away its address may be looked up, which has no limit.
    if let Some(keeper) = keeper {
        keeper.shutdown_timeout(Duration::from_secs(1));
    }
    done
}

fn runtime_of_the_hold() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("hold").enable_all().build()
}

/// Waits for a service that still ends, as it does when a new version takes an old one's place. The task ends when another one
/// serves the store; the store is held as long as it runs.
async fn hold(url: &SecretString, keeper: &Handle, log: &Log, stop: &mut Stop) -> anyhow::Result<JoinHandle<()>> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let address = url.clone();
        let attempt = keeper.spawn(async move { Hold::take(&address).await });
        if let Some(hold) = attempt.await?.context("the store (PostgreSQL)")? {
            return Ok(keeper.spawn(hold.lost()));
        }
        if began.elapsed() > DRAIN + Duration::from_secs(10) {
            anyhow::bail!("another agentcast serve works on this database: one at a time");
        }
        if !std::mem::replace(&mut told, true) {
            log.tell("agentcast serve: another one works on this database; waiting for it to end");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.asked() => anyhow::bail!("asked to end before it had begun"),
        }
    }
}

/// Ready when another process serves the store.
async fn lost(taken: &mut Option<JoinHandle<()>>) {
    match taken {
        Some(taken) => _ = taken.await,
        None => std::future::pending().await,
    }
}

/// Nothing may be acknowledged or written any more, as the other one would not know of it; and it has the streams.
fn another_serves() -> ! {
    notify("STOPPING=1");
    end_at_once("another agentcast serve works on this database now")
}

/// What the server takes from its callers, as far as this process may open files.
fn limits(log: &Log, config: &Config) -> Limits {
    let wanted = config.http.connections;
    let strangers = wanted / STRANGERS;
    let open = enough_files(wanted + strangers);
    let connections = (open * STRANGERS / (STRANGERS + 1)).clamp(1, wanted);
    if connections < wanted {
        log.tell(&format!(
            "warning: http.connections is {connections}, not {wanted}: this process may not open more files; raise the \
             limit (systemd: LimitNOFILE=, a shell: ulimit -n)"
        ));
    }
    let per_address = config.http.connections_per_address;
    Limits { connections, strangers: (connections / STRANGERS).max(1), per_address, ..Limits::default() }
}

/// The API, and what a LiveKit server and `agentcast check --service` ask for.
fn app(api: &Api, hub: Option<&Hub>) -> Router {
    let page = news::page(hub.cloned());
    let others = match hub {
        Some(hub) => page.merge(hub.router()),
        None => page,
    };
    api::router_with(api.clone(), others)
}

/// No new streams and no new callers; then GOPs and files end, then calls, then the store.
async fn drain(api: &Api, service: &Service, end_calls: oneshot::Sender<()>, server: JoinHandle<()>) {
    // `/readyz` says no while streams end, so that a load balancer looks elsewhere.
    api.live.drain();
    service.leave_air(LEAVE_AIR).await;
    let _ = end_calls.send(());
    api.close(CLOSE_CALLS).await;
    if server.await.is_err() {
        tracing::error!("the HTTP server ended by a panic");
    }
    service.close().await;
}

/// No destructor may hold this up, and none needs to run: what was acknowledged is on disk.
fn end_at_once(why: &str) -> ! {
    last_words(&format!("agentcast serve: ended at once: {why}"));
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(1) }
}

/// Makes the data folder and holds it until the process ends: two services on one store would both go on air. For a store on a
/// server there is [`Hold`].
fn alone(folder: &Path) -> anyhow::Result<File> {
    let what = || format!("data_dir {}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(what)?;
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("agentcast.lock"));
    let lock = lock.with_context(what)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| anyhow::anyhow!("{}: another agentcast serve is using it", what()))?;
    Ok(lock)
}

fn whereabouts(place: &Place) -> String {
    match place {
        Place::Sqlite(path) => format!("SQLite, {}", path.display()),
        Place::Memory => "in memory, gone with this process".into(),
        Place::Postgres(_) => "PostgreSQL".into(),
    }
}

/// What an operator needs to know first.
async fn greet(log: &Log, config: &Config, context: &Context, place: &Place, address: SocketAddr) {
    let livekit = context.livekit.as_ref().map(|server| format!(", LiveKit at {}", server.host()));
    log.tell(&format!("agentcast serve: http://{address}/{}", livekit.as_deref().unwrap_or_default()));
    let base = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    log.tell(&format!("docs:     {base}/docs"));
    log.tell(&format!("data:     {}", whereabouts(place)));
    if livekit.is_some() {
        log.tell(&format!("webhooks: name {base}{PATH} under webhook.urls of the LiveKit server, or what leads there"));
    }
    let on = context.store.flag("streaming").await.ok().flatten().unwrap_or(config.streaming.enabled);
    if on {
        log.tell("streams:  on; PUT /v1/flags/streaming {\"enabled\":false} ends them all");
    } else {
        log.tell("streams:  off; nothing goes on air until PUT /v1/flags/streaming {\"enabled\":true}, or STREAMING_ENABLED=true");
    }
    let first = PageRequest { after: None, limit: 200 };
    if let Ok(page) = context.store.api_keys(None, &first).await
        && page.next.is_none()
    {
        let mut valid = page.items.iter().filter(|key| key.revoked_at.is_none()).peekable();
        if valid.peek().is_none() {
            log.tell("no key:   nobody can call the API yet; make the first key: agentcast apikey create --role admin --name me");
        } else if valid.all(|key| key.role != ApiRole::Admin) {
            log.tell(
                "no admin: no key may turn streaming on or off for all; make one: agentcast apikey create --role admin --name me",
            );
        }
    }
    if config.public_url.is_none() && !address.ip().is_loopback() {
        log.tell("warning: PUBLIC_URL is not set: links and cookies will not work behind a proxy or a name");
    }
}

/// Tells systemd (Type=notify), where it asked for it.
#[cfg(target_os = "linux")]
fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!("NOTIFY_SOCKET: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify(_state: &str) {}
