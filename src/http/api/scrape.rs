//! What `/metrics` reads off the service at the moment it is asked; the table stands in [`super::metrics`].

use super::Api;
use crate::server::streams::{StreamState, StreamView};
use crate::store::model::{ApiRole, MatchPhase};
use crate::stream::Distribution;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Float = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Destination {
    destination: String,
    stream: String,
}

/// Everything that is true now. `store`: how long the store took to answer; None: it did not.
pub(super) fn now(api: &Api, store: Option<Duration>) -> Registry {
    let mut registry = Registry::with_prefix("agentcast");
    streams(&mut registry, &api.service.streams().list(None));
    destinations(&mut registry, &api.service.streams().list(None));
    meters(&mut registry, api);
    matches(&mut registry, api, None);
    let took = Float::default();
    took.set(store.map_or(-1.0, |took| took.as_secs_f64()));
    registry.register("store_seconds", "How long the store took to answer just now; -1: it did not", took);
    if let Some(hub) = &api.service.context().hub {
        webhooks(&mut registry, &hub.status());
    }
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("program", "The program", version);
    registry
}

/// What of it is one tenant's, and may be read with a key of this role.
pub(super) fn of_tenant(api: &Api, tenant: &str, role: ApiRole) -> Registry {
    let mut registry = Registry::with_prefix("agentcast");
    let list = api.service.streams().list(Some(tenant));
    streams(&mut registry, &list);
    if role >= ApiRole::Operator {
        destinations(&mut registry, &list);
    }
    matches(&mut registry, api, Some(tenant));
    registry
}

fn streams(registry: &mut Registry, list: &[StreamView]) {
    let states = Family::<[(&str, &str); 1], Gauge>::default();
    for (word, state) in [
        ("starting", StreamState::Starting),
        ("live", StreamState::Live),
        ("waiting", StreamState::Waiting),
        ("ending", StreamState::Ending),
    ] {
        let n = list.iter().filter(|stream| stream.state == state).count();
        states.get_or_create(&[("state", word)]).set(count(n));
    }
    registry.register("streams", "Streams that have not ended, by state", states);

    let (fps, kbps, viewers) = (Family::<Stream, Float>::default(), gauges::<Stream>(), gauges::<Stream>());
    let (frames, skipped) = (counters::<Stream>(), counters::<Stream>());
    for stream in list {
        let id = &stream.record.id;
        let label = Stream { stream: id.clone() };
        fps.get_or_create(&label).set(stream.fps.into());
        kbps.get_or_create(&label).set(stream.kbps.into());
        if let Some(n) = stream.viewers {
            viewers.get_or_create(&label).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
        frames.get_or_create(&label).inc_by(stream.frames);
        skipped.get_or_create(&label).inc_by(stream.skipped);
    }
    registry.register("stream_fps", "Pictures a second, over 2 s", fps);
    registry.register("stream_kbps", "kbit/s, over 2 s", kbps);
    registry.register("stream_viewers", "Viewers, where destinations can tell", viewers);
    registry.register("stream_frames", "Pictures encoded", frames);
    registry.register("stream_skipped", "Pictures late and left out", skipped);
}

fn destinations(registry: &mut Registry, list: &[StreamView]) {
    let (up, sent, queue) = (gauges::<Destination>(), gauges::<Destination>(), gauges::<Destination>());
    let (bytes, dropped, again) = (counters(), counters(), counters());
    for stream in list {
        for destination in &stream.destinations {
            let Some(id) = destination.id.clone() else { continue };
            let label = Destination { destination: id, stream: stream.record.id.clone() };
            up.get_or_create(&label).set((destination.state == "live").into());
            sent.get_or_create(&label).set(destination.kbps.into());
            queue.get_or_create(&label).set(destination.queue_ms.into());
            bytes.get_or_create(&label).inc_by(destination.bytes);
            dropped.get_or_create(&label).inc_by(destination.dropped);
            again.get_or_create(&label).inc_by(destination.reconnects);
        }
    }
    registry.register("destination_up", "1 while it takes the stream", up);
    registry.register("destination_kbps", "kbit/s, over 2 s", sent);
    registry.register("destination_queue_ms", "Media that waits, ms", queue);
    registry.register("destination_bytes", "Bytes sent", bytes);
    registry.register("destination_dropped", "Video packets dropped", dropped);
    registry.register("destination_reconnects", "Connections made again", again);
}

fn matches(registry: &mut Registry, api: &Api, tenant: Option<&str>) {
    let phases = Family::<[(&str, &str); 1], Gauge>::default();
    let all = api.service.matches().all().into_iter().map(|live| live.record());
    let all: Vec<_> = all.filter(|record| tenant.is_none_or(|tenant| record.tenant_id == tenant)).collect();
    for phase in [MatchPhase::Waiting, MatchPhase::Running, MatchPhase::Over] {
        let n = all.iter().filter(|record| record.phase == phase).count();
        phases.get_or_create(&[("phase", phase.word())]).set(count(n));
    }
    registry.register("matches", "Matches that are not closed, by phase", phases);
}

fn webhooks(registry: &mut Registry, status: &crate::webhook::Status) {
    let crate::webhook::Status { webhooks, listings, .. } = status;
    let outcomes = Family::<[(&str, &str); 1], Counter>::default();
    for (word, n) in [
        ("verified", webhooks.verified),
        ("refused", webhooks.refused),
        ("duplicate", webhooks.duplicate),
        ("stale", webhooks.stale),
        ("unknown", webhooks.unknown),
        ("full", webhooks.full),
    ] {
        outcomes.get_or_create(&[("outcome", word)]).inc_by(n);
    }
    registry.register("webhooks", "Webhooks of LiveKit, by what became of them", outcomes);
    let events = Family::<[(&str, &str); 1], Counter>::default();
    for (event, n) in &webhooks.events {
        events.get_or_create(&[("event", *event)]).inc_by(*n);
    }
    registry.register("webhook_events", "Verified webhooks, by type", events);
    let rounds = Family::<[(&str, &str); 1], Counter>::default();
    for (word, n) in [("done", listings.done), ("failed", listings.failed)] {
        rounds.get_or_create(&[("outcome", word)]).inc_by(n);
    }
    registry.register("livekit_listings", "Rounds of listing what LiveKit has", rounds);
}

/// What all streams of the process measure together.
fn meters(registry: &mut Registry, api: &Api) {
    let meters = api.service.streams().meters();
    let draw = Measured(meters.draw.read());
    registry.register("frame_seconds", "Drawing and reading back one picture", draw);
    let encode = Measured(meters.encode.read());
    registry.register("encode_seconds", "Encoding one picture and handing it to every destination", encode);
    let latency = Measured(meters.latency.read());
    let words = "From a state that is shown to the first packet of it in every destination's queue";
    registry.register("event_to_packet_seconds", words, latency);
}

#[derive(Debug)]
struct Measured(Distribution);

impl EncodeMetric for Measured {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let Distribution { buckets, count, sum } = &self.0;
        // The encoder adds them up by itself.
        let mut before = 0;
        let ends = buckets.iter().copied().chain([(f64::INFINITY, *count)]);
        let apart: Vec<_> = ends.map(|(end, upto)| (end, upto - std::mem::replace(&mut before, upto))).collect();
        encoder.encode_histogram::<NoLabelSet>(*sum, *count, &apart, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn gauges<L: Clone + Eq + std::hash::Hash>() -> Family<L, Gauge> {
    Family::default()
}

fn counters<L: Clone + Eq + std::hash::Hash>() -> Family<L, Counter> {
    Family::default()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
