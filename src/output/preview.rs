//! The stream as fragments for a browser's Media Source Extensions: an init segment, then fragments from an IDR on.

use super::mux::{Fragment, Fragmenter, MuxError};
use super::rate::Rate;
use super::{Destination, State, Status};
use crate::encode::{EncodedPacket, StreamInfo, TICKS, Track, annexb};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::{self, error::RecvError};

/// Longest fragment: a fifth of a second, the delay it costs.
const FRAGMENT: i64 = TICKS / 5;
/// Fragments that wait for a slow subscriber, about 6 s, before it is sent on to the next IDR.
const WAITING: usize = 32;
/// Fragments kept for joiners. A GOP has 10; more only if IDRs stay away, and then joiners wait for the next one.
const KEPT: usize = 64;

/// What a player must get before the first fragment, and again when the stream's parameters change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
    /// RFC 6381, for example `avc1.640c1f,mp4a.40.2`.
    pub codecs: String,
}

impl Init {
    /// What `MediaSource.addSourceBuffer` asks for.
    pub fn mime(&self) -> String {
        format!("video/mp4; codecs=\"{}\"", self.codecs)
    }
}

/// One message to a player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Init(Arc<Init>),
    Fragment(Fragment),
}

/// Makes the two ends of a preview.
pub struct Preview;

impl Preview {
    #[expect(clippy::new_ret_no_self, reason = "a preview is nothing but its two ends")]
    pub fn new() -> (PreviewDestination, PreviewHub) {
        let room = Room { sender: Some(broadcast::Sender::new(WAITING)), gop: Vec::new() };
        let room = Arc::new(Mutex::new(room));
        let destination = PreviewDestination { room: room.clone(), info: None, muxer: None, life: Mutex::default() };
        (destination, PreviewHub { room })
    }
}

/// A fragment and the init segment it belongs to, so that nobody can miss a new one.
#[derive(Clone, Debug)]
struct Sent {
    init: Arc<Init>,
    fragment: Fragment,
}

#[derive(Debug)]
struct Room {
    /// `None`: the stream has ended.
    sender: Option<broadcast::Sender<Sent>>,
    /// The current GOP so far; empty or beginning with an IDR.
    gop: Vec<Sent>,
}

fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end that gets packets. Muxing is a copy of memory, so it happens right in [`Destination::send`], without a thread.
pub struct PreviewDestination {
    room: Arc<Mutex<Room>>,
    info: Option<Arc<StreamInfo>>,
    muxer: Option<(Fragmenter, Arc<Init>)>,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    last_error: Option<String>,
    live: bool,
    bytes: u64,
    dropped: u64,
    rate: Rate,
}

impl PreviewDestination {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&mut self, packet: &EncodedPacket) -> Result<(), MuxError> {
        let (fragmenter, init) = match (&mut self.muxer, &self.info) {
            (Some(muxer), _) => muxer,
            (none, Some(info)) if packet.track == Track::Video && packet.key => {
                let (fragmenter, bytes) = Fragmenter::new(info, FRAGMENT, false)?;
                let video = annexb::codec_string(&info.video_extradata).unwrap_or_else(|| "avc1".into());
                // 40.2: MPEG-4 audio, object type 2 (AAC-LC).
                none.insert((fragmenter, Arc::new(Init { bytes, codecs: format!("{video},mp4a.40.2") })))
            }
            _ => {
                self.life().dropped += u64::from(packet.track == Track::Video);
                return Ok(());
            }
        };
        if let Some(fragment) = fragmenter.push(packet)? {
            let init = init.clone();
            self.publish(Sent { init, fragment });
        }
        Ok(())
    }

    fn publish(&self, sent: Sent) {
        let mut life = self.life();
        life.live = true;
        life.last_error = None;
        life.bytes += sent.fragment.bytes.len() as u64;
        life.rate.add(Instant::now(), sent.fragment.bytes.len());
        drop(life);
        let mut room = lock(&self.room);
        if sent.fragment.starts_with_key || room.gop.len() >= KEPT {
            room.gop.clear();
        }
        if sent.fragment.starts_with_key || !room.gop.is_empty() {
            room.gop.push(sent.clone());
        }
        if let Some(sender) = &room.sender {
            // An error only says that nobody watches.
            let _ = sender.send(sent);
        }
    }

    /// Gives out what is muxed so far and forgets the muxer.
    fn end_muxer(&mut self) {
        if let Some((mut fragmenter, init)) = self.muxer.take()
            && let Ok(Some(fragment)) = fragmenter.flush()
        {
            self.publish(Sent { init, fragment });
        }
    }

    fn close(&mut self) {
        self.end_muxer();
        let mut room = lock(&self.room);
        room.sender = None;
        room.gop.clear();
    }
}

impl Destination for PreviewDestination {
    fn configure(&mut self, info: Arc<StreamInfo>) {
        if self.info.as_ref().is_none_or(|old| **old != *info) {
            self.end_muxer();
            self.info = Some(info);
        }
    }

    fn send(&mut self, packet: EncodedPacket) {
        if let Err(error) = self.push(&packet) {
            // A new muxer begins at the next IDR.
            self.muxer = None;
            tracing::warn!("preview: {error}");
            self.life().last_error = Some(error.to_string());
        }
    }

    fn status(&self) -> Status {
        let mut life = self.life();
        Status {
            name: "preview".into(),
            state: if life.live { State::Live } else { State::Idle },
            last_error: life.last_error.clone(),
            bytes: life.bytes,
            kbps: life.rate.kbps(Instant::now()),
            dropped: life.dropped,
            reconnects: 0,
            retry_ms: None,
            viewers: None,
            queue_ms: 0,
        }
    }

    fn stop(mut self: Box<Self>, _deadline: Duration) -> Status {
        self.close();
        Status { state: State::Stopped, ..self.status() }
    }
}

impl Drop for PreviewDestination {
    fn drop(&mut self) {
        self.close();
    }
}

/// The end that players come to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PreviewHub {
    room: Arc<Mutex<Room>>,
}

impl PreviewHub {
    /// Joins the stream at the latest IDR there is; before the first one, at that.
    pub fn subscribe(&self) -> PreviewSubscription {
        // One lock for both: no fragment is missed or given twice between them.
        let room = lock(&self.room);
        PreviewSubscription {
            backlog: room.gop.iter().cloned().collect(),
            receiver: room.sender.as_ref().map(broadcast::Sender::subscribe),
            init: None,
            next: None,
            needs_idr: true,
            lost: 0,
        }
    }

    /// Players connected now.
    pub fn subscribers(&self) -> usize {
        lock(&self.room).sender.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }
}

/// One player's view of the stream.
#[derive(Debug)]
pub struct PreviewSubscription {
    backlog: VecDeque<Sent>,
    receiver: Option<broadcast::Receiver<Sent>>,
    /// The init segment the player has.
    init: Option<Arc<Init>>,
    next: Option<Fragment>,
    needs_idr: bool,
    lost: u64,
}

impl PreviewSubscription {
    /// The next message: an init segment first, then fragments, of which the first begins with an IDR. After a new init
    /// segment, and after fragments were lost because the player is slow, it goes on at an IDR. `None`: the stream ended.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Segment> {
        if let Some(fragment) = self.next.take() {
            return Some(Segment::Fragment(fragment));
        }
        loop {
            let sent = match self.backlog.pop_front() {
                Some(sent) => sent,
                None => match self.receiver.as_mut()?.recv().await {
                    Ok(sent) => sent,
                    Err(RecvError::Lagged(n)) => {
                        self.lost += n;
                        self.needs_idr = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            if self.needs_idr && !sent.fragment.starts_with_key {
                self.lost += 1;
                continue;
            }
            self.needs_idr = false;
            if self.init.as_ref().is_some_and(|init| Arc::ptr_eq(init, &sent.init)) {
                return Some(Segment::Fragment(sent.fragment));
            }
            self.init = Some(sent.init.clone());
            self.next = Some(sent.fragment);
            return Some(Segment::Init(sent.init));
        }
    }

    /// Fragments this player did not get because it was too slow.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
