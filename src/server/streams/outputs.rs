//! Makes outputs of destinations. The only place where a stream key is opened; it lives on in the output alone.

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
use std::sync::{Mutex, PoisonError};
use tracing::{Instrument as _, Span};

/// Egress outputs that want to hear of webhooks.
#[derive(Default)]
pub struct Observers(Mutex<Vec<Observer>>);

impl Observers {
    fn add(&self, observer: Observer) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|observer| !observer.is_gone());
        all.push(observer);
    }

    pub fn tell(&self, info: &EgressInfo) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for observer in all.iter() {
            // One that cannot keep up sees it in the next list.
            let _ = observer.observe(info.clone());
        }
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
            title: order.title.clone(),
        };
        let open = move || RoomOutput::spawn(target, RoomOptions::default()).map_err(thread);
        return Ok(Box::new(blocking(open).await?));
    }
    let target = target(context, d).await?;
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
            let open = move || EgressOutput::spawn(api, settings, vec![target], Rules::default()).map_err(thread);
            let output = blocking(open).await?;
            observers.add(output.observer());
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
