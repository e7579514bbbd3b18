//! Makes outputs of destinations. The only place where a stream key is opened; it lives on in the output, and here until an
//! egress job that has it is over.

use super::board::{NotMade, Order};
use crate::encode::VideoSettings;
use crate::livekit::Server;
use crate::livekit::egress::{EgressApi, Encoding};
use crate::output::Destination as Output;
use crate::output::egress::job::Rules;
use crate::output::egress::{EgressOutput, EgressSettings, Observer};
use crate::output::key::RtmpTarget;
use crate::output::livekit::{RoomOptions, RoomOutput, RoomTarget};
use crate::output::rtmp::{AddressGuard, RtmpOptions, RtmpOutput};
use crate::secure::ingest_host;
use crate::server::Context;
use crate::store::model::{Destination, DestinationKind, Via};
use crate::webhook::EgressInfo;
use secrecy::ExposeSecret;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{Instrument as _, Span};

/// Egress outputs whose jobs are not over; they want to hear of webhooks.
#[derive(Default)]
pub struct Observers(Mutex<Vec<Observed>>);

struct Observed {
    destination: String,
    target: RtmpTarget,
    observer: Observer,
}

impl Observers {
    /// Those that are left.
    fn all(&self) -> MutexGuard<'_, Vec<Observed>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| !one.observer.is_gone());
        all
    }

    fn add(&self, destination: &str, target: RtmpTarget, observer: Observer) {
        self.all().push(Observed { destination: destination.into(), target, observer });
    }

    /// Whether a job may still send to a destination, or with its key: a platform refuses whoever comes second, and that reads
    /// as a bad key.
    fn holds(&self, destination: &str, target: &RtmpTarget) -> bool {
        let url = target.full_url();
        let same = |one: &Observed| one.target.full_url().expose_secret() == url.expose_secret();
        self.all().iter().any(|one| one.destination == destination || same(one))
    }

    pub fn tell(&self, info: &EgressInfo) {
        for one in self.all().iter() {
            // One that cannot keep up sees it in the next list.
            let _ = one.observer.observe(info.clone());
        }
    }

    /// Ready once every job is over, as far as can be known. All outputs were stopped before.
    pub async fn over(&self) {
        while !self.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether LiveKit was told to stop every job that is not over.
    pub async fn told(&self) -> bool {
        let all: Vec<_> = self.all().iter().map(|one| one.observer.clone()).collect();
        let told = async {
            for observer in all {
                observer.told().await;
            }
        };
        tokio::time::timeout(Duration::ZERO, told).await.is_ok()
    }
}

/// An output for an order. What it logs, on whatever thread, names stream, agent and destination.
///
/// # Errors
/// In words for an operator, and whether waiting may help.
pub async fn make(
    context: &Context,
    observers: &Observers,
    order: &Order,
    video: &VideoSettings,
) -> Result<Box<dyn Output>, NotMade> {
    let d = &order.destination;
    // Its level makes it stand before every line, whatever the log's own level.
    let span = tracing::error_span!("output", stream = order.stream, agent = d.agent_id, destination = d.id);
    open(context, observers, order, video).instrument(span).await
}

async fn open(
    context: &Context,
    observers: &Observers,
    order: &Order,
    video: &VideoSettings,
) -> Result<Box<dyn Output>, NotMade> {
    let d = &order.destination;
    let identity = format!("agentcast-{}", order.stream);
    let thread =
        |error: std::io::Error| NotMade { words: format!("the system starts no more threads: {error}"), passing: true };
    if d.kind == DestinationKind::LivekitRoom {
        let target = RoomTarget {
            server: livekit(context)?,
            room: d.room.clone().unwrap_or_else(|| order.room.clone()),
            identity,
            name: order.agent.clone(),
            // The match's: it changes with it.
            title: String::new(),
        };
        let open = move || RoomOutput::spawn(target, RoomOptions::default()).map_err(thread);
        return Ok(Box::new(blocking(open).await?));
    }
    let target = target(context, d).await?;
    if observers.holds(&d.id, &target) {
        let words = "LiveKit's egress service still sends to it with a job from before, which takes up to 30 s to stop; it \
                     begins after that";
        return Err(NotMade { words: words.into(), passing: true });
    }
    match d.via {
        Via::Direct => {
            let config = context.config();
            // Asked before each connect: a name may lead elsewhere by then.
            let (rules, host) = (context.config.clone(), target.host().to_owned());
            let guard = Some(AddressGuard::new(move |address| {
                // By the rules of that moment: a reload may have changed them.
                let hosts = rules.read().unwrap_or_else(PoisonError::into_inner).hosts.clone();
                hosts.judge(&host)(address)
            }));
            let options = RtmpOptions { ca_file: config.ca_file.clone(), guard, ..RtmpOptions::default() };
            Ok(Box::new(RtmpOutput::spawn(target, options).map_err(thread)?))
        }
        Via::LivekitEgress => {
            let encoding =
                Encoding { width: video.width, height: video.height, fps: video.fps, video_kbps: video.kbps };
            let settings = EgressSettings { room: order.room.clone(), identity, source: None, encoding };
            let api = EgressApi::new(livekit(context)?);
            let targets = vec![target.clone()];
            let open = move || EgressOutput::spawn(api, settings, targets, Rules::default()).map_err(thread);
            let output = blocking(open).await?;
            observers.add(&d.id, target, output.observer());
            Ok(Box::new(output))
        }
    }
}

/// Outputs with a runtime of their own must not drop it among the service's tasks when their thread does not start.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, NotMade> + Send + 'static) -> Result<T, NotMade> {
    let failed = |_| NotMade { words: "it could not be opened by a fault of the program".into(), passing: true };
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(failed)?
}

fn livekit(context: &Context) -> Result<Server, NotMade> {
    context.livekit.clone().ok_or_else(|| refused("it needs a LiveKit server and none is set; set LIVEKIT_URL"))
}

/// The address with its key.
async fn target(context: &Context, d: &Destination) -> Result<RtmpTarget, NotMade> {
    let sealed = context.store.sealed_key(&d.id).await.map_err(|error| {
        // The store's words are for the log.
        tracing::error!("its stream key cannot be read: {error}");
        NotMade { words: "its stream key cannot be read at the moment".into(), passing: true }
    })?;
    let Some(sealed) = sealed else {
        return Err(refused(&format!("no stream key is set; PUT /v1/destinations/{}/key", d.id)));
    };
    let ingest = d.ingest.as_deref().ok_or_else(|| refused("it has no ingest address; set `ingest`"))?;
    // The allow-list may have changed since.
    context.config().hosts.ingest(d.kind, ingest).map_err(|error| refused(&error.to_string()))?;
    // The seal binds the key to what stands beside it; that must be what this destination is, too.
    if sealed.destination_id != d.id || sealed.agent_id != d.agent_id || sealed.host != ingest_host(ingest) {
        return Err(refused("its stream key was set for another ingest host; set the key anew"));
    }
    let key =
        context.keyring.open(&sealed).map_err(|error| refused(&format!("its stream key does not open: {error}")))?;
    RtmpTarget::parse(ingest, Some(key)).map_err(|error| refused(&format!("its ingest address is not usable: {error}")))
}

/// Only somebody who changes the destination can help.
fn refused(words: &str) -> NotMade {
    NotMade { words: words.into(), passing: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::key::StreamKey;

    #[test]
    fn destination_and_key_are_held_until_the_job_that_has_them_is_over() {
        let target = |key: &str| RtmpTarget::parse("rtmp://h/app", Some(StreamKey::new(key).unwrap())).unwrap();
        let server = Server::new("ws://127.0.0.1:9", "key", "secret".into()).unwrap();
        let encoding = Encoding { width: 1280, height: 720, fps: 30, video_kbps: 3_000 };
        let settings = EgressSettings { room: "r".into(), identity: "i".into(), source: None, encoding };
        let (targets, api) = (vec![target("held-key-1")], EgressApi::new(server));
        let output = EgressOutput::spawn(api, settings, targets, Rules::default()).unwrap();
        let observers = Observers::default();
        observers.add("d1", target("held-key-1"), output.observer());
        assert!(observers.holds("d1", &target("held-key-2")), "a changed key of the same destination");
        assert!(observers.holds("d2", &target("held-key-1")), "the same key at another destination");
        assert!(!observers.holds("d2", &target("held-key-2")));
        Box::new(output).stop(Duration::from_secs(60));
        assert!(!observers.holds("d1", &target("held-key-1")));
    }
}
