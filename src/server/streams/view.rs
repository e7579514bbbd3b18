//! Streams as operators see them.

use super::board::{Board, Ms};
use super::rows::{Life, Slot, Stream};
use super::{DestinationView, StreamView};
use crate::server::stage::Scene;
use crate::store::model::ApiRole;

impl Board {
    /// Streams of a tenant, or of all, oldest first.
    pub fn views(&self, tenant: Option<&str>, now: Ms) -> Vec<StreamView> {
        let mine = self.streams.values().filter(|s| tenant.is_none_or(|t| s.record.tenant_id == t));
        mine.map(|s| self.view(s, now)).collect()
    }

    pub fn find(&self, tenant: Option<&str>, id: &str) -> Option<&Stream> {
        self.streams.get(id).filter(|s| tenant.is_none_or(|t| s.record.tenant_id == t))
    }

    pub fn view(&self, stream: &Stream, now: Ms) -> StreamView {
        let encode = stream.encode.and_then(|id| self.encodes.get(&id));
        let stage = encode.and_then(|e| e.stage());
        let status = stage.map(|stage| stage.status()).unwrap_or_default();
        let shared_by = self.streams.values().filter(|s| s.encode.is_some() && s.encode == stream.encode).count();
        let own = stream.slots.iter().filter(|(id, _)| !Slot::is_own(id));
        let destinations: Vec<_> = own.map(|(id, slot)| destination(id, slot)).collect();
        let known = destinations.iter().filter_map(|d| d.viewers);
        let size = stage.map(|stage| stage.video()).map(|video| format!("{}x{}", video.width, video.height));
        let ms = |ms: Ms| i64::try_from(ms).unwrap_or(i64::MAX);
        StreamView {
            record: stream.record.clone(),
            state: stream.state(now),
            trouble: stream.words(encode),
            fps: status.fps,
            kbps: status.kbps,
            frames: status.frames,
            skipped: status.skipped,
            uptime_ms: stream.live_since.map_or(0, |since| ms(now.saturating_sub(since))),
            size: size.unwrap_or_default(),
            shared_by: u32::try_from(shared_by).unwrap_or(u32::MAX).max(1),
            viewers: known.map(u64::from).reduce(|a, b| a + b),
            scene: match stream.life {
                Life::Ending { .. } => Some(Scene::Ending),
                _ => encode.and_then(|e| e.operator),
            },
            destinations,
        }
    }
}

impl StreamView {
    /// What of it somebody of this role may see: which destinations an agent has is for operators, as in
    /// `/v1/agents/{id}/destinations`; how many there are and how they do, for everybody who may see the stream.
    #[must_use]
    pub fn for_role(mut self, role: ApiRole) -> StreamView {
        if role < ApiRole::Operator {
            for destination in &mut self.destinations {
                (destination.id, destination.name, destination.trouble) = (None, None, None);
            }
        }
        self
    }
}

fn destination(id: &str, slot: &Slot) -> DestinationView {
    let s = &slot.status;
    DestinationView {
        id: Some(id.to_owned()),
        name: Some(slot.name()),
        state: slot.word(),
        trouble: slot.words(),
        kbps: s.kbps,
        bytes: s.bytes,
        dropped: s.dropped,
        reconnects: s.reconnects,
        queue_ms: s.queue_ms,
        retry_ms: s.retry_ms,
        viewers: s.viewers.map(|v| v.now),
        viewers_peak: s.viewers.map(|v| v.peak),
    }
}
