//! The bounded packet queue in front of a destination. Capacity is in media time.
//!
//! [`PacketQueue`] is the rule what to drop, without locks or clocks; [`SharedQueue`] puts it between two threads.
//!
//! What is dropped, in this order, once the queue spans more than its capacity:
//! 1. video older than the newest IDR in the queue (whole groups of pictures, so what is left still decodes);
//! 2. the oldest audio;
//! 3. when one group of pictures alone is longer than the capacity: all video, until the next IDR comes in.

use crate::encode::{EncodedPacket, StreamInfo, TICKS, Track};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A packet and the stream parameters it belongs to.
#[derive(Clone, Debug)]
pub struct Queued {
    pub info: Arc<StreamInfo>,
    pub packet: EncodedPacket,
}

/// The pure part: decides what stays.
#[derive(Debug)]
pub struct PacketQueue {
    /// In [`TICKS`].
    capacity: i64,
    items: VecDeque<Queued>,
    /// Video is refused until an IDR comes, because its references are gone.
    needs_idr: bool,
    dropped_video: u64,
    dropped_audio: u64,
}

impl PacketQueue {
    #[must_use]
    pub fn new(capacity: Duration) -> Self {
        let capacity = i64::try_from(capacity.as_millis()).unwrap_or(i64::MAX / TICKS).saturating_mul(TICKS / 1_000);
        Self { capacity, items: VecDeque::new(), needs_idr: true, dropped_video: 0, dropped_audio: 0 }
    }

    /// Takes a packet in and drops what no longer fits.
    pub fn push(&mut self, item: Queued) {
        if item.packet.track == Track::Video {
            if self.needs_idr && !item.packet.key {
                self.dropped_video += 1;
                return;
            }
            self.needs_idr = false;
        }
        self.items.push_back(item);
        while self.span() > self.capacity {
            if !self.drop_video_before_newest_idr() && !self.drop_front_audio() {
                self.drop_all_video();
            }
        }
    }

    pub fn pop(&mut self) -> Option<Queued> {
        self.items.pop_front()
    }

    /// Throws away everything before the newest IDR, audio too, so that a new connection begins on it. Without an IDR in
    /// the queue it becomes empty and video waits for the next one. True when an IDR is now in front.
    pub fn resume_at_idr(&mut self) -> bool {
        let at = self.newest_idr().unwrap_or(self.items.len());
        for item in self.items.drain(..at) {
            match item.packet.track {
                Track::Video => self.dropped_video += 1,
                Track::Audio => self.dropped_audio += 1,
            }
        }
        if self.items.is_empty() {
            self.needs_idr = true;
        }
        !self.items.is_empty()
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        for item in self.items.drain(..) {
            match item.packet.track {
                Track::Video => self.dropped_video += 1,
                Track::Audio => self.dropped_audio += 1,
            }
        }
        self.needs_idr = true;
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Media time between the oldest and the newest packet.
    #[must_use]
    pub fn queued(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.span() / (TICKS / 1_000)).unwrap_or(0))
    }

    #[must_use]
    pub fn dropped_video(&self) -> u64 {
        self.dropped_video
    }

    #[must_use]
    pub fn dropped_audio(&self) -> u64 {
        self.dropped_audio
    }

    /// The tracks are interleaved loosely, so the ends of each are compared, not only the ends of the queue.
    fn span(&self) -> i64 {
        let ends = |track| {
            let oldest = self.items.iter().find(|i| i.packet.track == track)?.packet.pts;
            let newest = self.items.iter().rfind(|i| i.packet.track == track)?.packet.pts;
            Some((oldest, newest))
        };
        match (ends(Track::Video), ends(Track::Audio)) {
            (Some((a, b)), Some((c, d))) => b.max(d).saturating_sub(a.min(c)),
            (Some((a, b)), None) | (None, Some((a, b))) => b.saturating_sub(a),
            (None, None) => 0,
        }
    }

    fn newest_idr(&self) -> Option<usize> {
        self.items.iter().rposition(|i| i.packet.track == Track::Video && i.packet.key)
    }

    fn drop_video_before_newest_idr(&mut self) -> bool {
        let Some(at) = self.newest_idr() else { return false };
        let before = self.items.len();
        let mut index = 0;
        self.items.retain(|i| {
            let keep = i.packet.track == Track::Audio || index >= at;
            index += 1;
            keep
        });
        self.dropped_video += (before - self.items.len()) as u64;
        before != self.items.len()
    }

    fn drop_front_audio(&mut self) -> bool {
        if self.items.front().is_none_or(|i| i.packet.track == Track::Video) {
            return false;
        }
        self.items.pop_front();
        self.dropped_audio += 1;
        true
    }

    fn drop_all_video(&mut self) {
        let before = self.items.len();
        self.items.retain(|i| i.packet.track == Track::Audio);
        self.dropped_video += (before - self.items.len()) as u64;
        self.needs_idr = true;
    }
}

/// What [`SharedQueue::pop`] brought.
#[derive(Debug)]
pub enum Popped {
    Packet(Queued),
    TimedOut,
    /// Closed, and all that was queued has been taken.
    Closed,
}

#[derive(Debug)]
struct Inner {
    queue: PacketQueue,
    info: Option<Arc<StreamInfo>>,
    closed: bool,
    /// Nothing is taken in any more: the destination gave up.
    refusing: bool,
    last_drop: Option<Instant>,
}

/// The queue between the thread that encodes and the one that writes. Pushing never waits for the writer: the lock is
/// only held for the rule above.
#[derive(Debug)]
pub struct SharedQueue {
    inner: Mutex<Inner>,
    /// For writers that are threads.
    changed: Condvar,
    /// For the writer that is a task; see [`Self::next`].
    arrived: Notify,
}

/// Numbers for [`super::Status`].
#[derive(Clone, Copy, Debug)]
pub struct QueueStats {
    pub queued: Duration,
    pub dropped_video: u64,
    pub dropped_audio: u64,
    /// When video was last dropped because the writer is slow.
    pub last_drop: Option<Instant>,
}

impl SharedQueue {
    #[must_use]
    pub fn new(capacity: Duration) -> Self {
        let inner =
            Inner { queue: PacketQueue::new(capacity), info: None, closed: false, refusing: false, last_drop: None };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), arrived: Notify::new() }
    }

    /// Packets pushed from now on belong to these parameters.
    pub fn configure(&self, info: Arc<StreamInfo>) {
        self.lock().info = Some(info);
    }

    /// Queues a packet. Before [`Self::configure`] and after [`Self::close`] it is counted and dropped.
    pub fn push(&self, packet: EncodedPacket) {
        let mut inner = self.lock();
        let (before, starting) = (inner.queue.dropped_video, inner.queue.needs_idr);
        match inner.info.clone() {
            Some(info) if !inner.closed && !inner.refusing => inner.queue.push(Queued { info, packet }),
            _ if packet.track == Track::Video => inner.queue.dropped_video += 1,
            _ => inner.queue.dropped_audio += 1,
        }
        // Pictures that wait for the first IDR are no sign of a slow destination.
        if inner.queue.dropped_video > before && (inner.last_drop.is_some() || !starting) {
            inner.last_drop = Some(Instant::now());
        }
        drop(inner);
        self.tell();
    }

    /// The next packet for a writer that is a task, waiting for it; None once the queue is closed and empty. A call that is
    /// dropped takes nothing. For one task at a time.
    pub async fn next(&self) -> Option<Queued> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(item) = inner.queue.pop() {
                    return Some(item);
                }
                if inner.closed {
                    return None;
                }
            }
            // What comes between the look above and this line is kept as a permit.
            self.arrived.notified().await;
        }
    }

    /// Waits until a packet is queued (true) or the queue is closed (false), as a task.
    pub async fn filled(&self) -> bool {
        loop {
            {
                let inner = self.lock();
                if inner.closed || !inner.queue.is_empty() {
                    return !inner.closed;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// The next packet, waiting for it until `deadline`.
    pub fn pop(&self, deadline: Instant) -> Popped {
        let mut inner = self.lock();
        loop {
            if let Some(item) = inner.queue.pop() {
                return Popped::Packet(item);
            }
            if inner.closed {
                return Popped::Closed;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return Popped::TimedOut;
            };
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives the packet back that was popped last.
    pub fn put_back(&self, item: Queued) {
        self.lock().queue.items.push_front(item);
    }

    /// Waits until a packet is queued (true) or the queue is closed (false).
    pub fn wait_for_packet(&self) -> bool {
        let mut inner = self.lock();
        while inner.queue.is_empty() && !inner.closed {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        !inner.closed
    }

    /// Sleeps `pause`, or less when the queue is closed meanwhile; true when it was.
    pub fn wait_closed(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut inner = self.lock();
        while !inner.closed {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return false;
            };
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Sleeps until the queue is closed.
    pub fn wait_until_closed(&self) {
        let mut inner = self.lock();
        while !inner.closed {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// See [`PacketQueue::resume_at_idr`].
    pub fn resume_at_idr(&self) -> bool {
        self.lock().queue.resume_at_idr()
    }

    /// Nothing more comes in; what is queued can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.tell();
    }

    /// Begins on the newest IDR in the queue where it is younger than `age`, otherwise on the next one to come: what
    /// waited longer would reach viewers as a burst and raise their delay.
    pub fn resume_at_recent_idr(&self, age: Duration) -> bool {
        let mut inner = self.lock();
        if inner.queue.resume_at_idr() && inner.queue.queued() > age {
            inner.queue.clear();
        }
        inner.last_drop = None;
        !inner.queue.is_empty()
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.arrived.notify_one();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Empties the queue and drops all that comes, because nobody will take it.
    pub fn refuse(&self) {
        let mut inner = self.lock();
        inner.refusing = true;
        inner.queue.clear();
    }

    /// The parameters of the packets that come next, if any were told.
    #[must_use]
    pub fn info(&self) -> Option<Arc<StreamInfo>> {
        let inner = self.lock();
        inner.queue.items.front().map(|i| i.info.clone()).or_else(|| inner.info.clone())
    }

    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let inner = self.lock();
        QueueStats {
            queued: inner.queue.queued(),
            dropped_video: inner.queue.dropped_video,
            dropped_audio: inner.queue.dropped_audio,
            last_drop: inner.last_drop,
        }
    }

    /// A writer that panicked must not take the encoder's thread with it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Packet;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn info() -> Arc<StreamInfo> {
        Arc::new(StreamInfo {
            width: 1280,
            height: 720,
            fps: 30,
            video_kbps: 3_000,
            video_extradata: Bytes::new(),
            audio_codec: crate::encode::AudioCodec::Aac,
            audio_kbps: 160,
            sample_rate: 48_000,
            channels: 2,
            audio_extradata: Bytes::new(),
        })
    }

    fn packet(track: Track, pts: i64, key: bool) -> EncodedPacket {
        Arc::new(Packet { track, pts, duration: 3_000, key, data: Bytes::from_static(b"x") })
    }

    /// 30 fps video with an IDR every `gop` frames, and AAC beside it.
    fn media(frames: i64, gop: i64) -> Vec<EncodedPacket> {
        let mut all: Vec<_> = (0..frames).map(|n| packet(Track::Video, n * 3_000, n % gop == 0)).collect();
        all.extend((0..frames * 3_000 / 1_920).map(|n| packet(Track::Audio, n * 1_920, true)));
        all.sort_by_key(|p| (p.pts, p.track == Track::Audio));
        all
    }

    fn fill(queue: &mut PacketQueue, packets: impl IntoIterator<Item = EncodedPacket>) {
        let info = info();
        for packet in packets {
            queue.push(Queued { info: info.clone(), packet });
        }
    }

    fn drain(queue: &mut PacketQueue) -> Vec<EncodedPacket> {
        std::iter::from_fn(|| queue.pop()).map(|i| i.packet).collect()
    }

    #[test]
    fn over_capacity_video_goes_up_to_the_next_idr_and_audio_stays() {
        let mut queue = PacketQueue::new(Duration::from_secs(4));
        fill(&mut queue, media(122, 60));
        let left = drain(&mut queue);
        assert_eq!(left.iter().find(|p| p.track == Track::Video).unwrap().pts, 120 * 3_000);
        assert_eq!(queue.dropped_video(), 120);
        assert!(queue.dropped_audio() <= 2, "only what is older than 4 s: {}", queue.dropped_audio());
    }

    #[test]
    fn a_group_longer_than_the_capacity_drops_all_video_until_the_next_idr() {
        let mut queue = PacketQueue::new(Duration::from_secs(1));
        fill(&mut queue, media(90, 60));
        let left = drain(&mut queue);
        let video: Vec<_> = left.iter().filter(|p| p.track == Track::Video).collect();
        assert!(video[0].key && video[0].pts == 60 * 3_000);
        assert_eq!(video.len(), 30);
    }

    #[test]
    fn resuming_begins_on_the_newest_idr_without_older_audio() {
        let mut queue = PacketQueue::new(Duration::from_secs(10));
        fill(&mut queue, media(130, 60));
        assert!(queue.resume_at_idr());
        let left = drain(&mut queue);
        assert!(left[0].key && left[0].track == Track::Video && left[0].pts == 120 * 3_000);
        assert!(left.iter().all(|p| p.pts >= left[0].pts));
    }

    #[test]
    fn resuming_without_an_idr_waits_for_one() {
        let mut queue = PacketQueue::new(Duration::from_secs(10));
        fill(&mut queue, media(30, 60));
        queue.pop();
        assert!(!queue.resume_at_idr());
        fill(&mut queue, [packet(Track::Video, 90_000, false)]);
        assert!(queue.is_empty());
        fill(&mut queue, [packet(Track::Video, 93_000, true)]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn pop_without_packets_returns_at_its_deadline_and_at_close() {
        let queue = SharedQueue::new(Duration::from_secs(1));
        assert!(matches!(queue.pop(Instant::now()), Popped::TimedOut));
        std::thread::scope(|s| {
            let taker = s.spawn(|| queue.pop(Instant::now() + Duration::from_secs(60)));
            queue.close();
            assert!(matches!(taker.join().unwrap(), Popped::Closed));
        });
    }

    #[test]
    fn what_is_queued_is_still_there_after_close_but_nothing_new_comes_in() {
        let queue = SharedQueue::new(Duration::from_secs(4));
        queue.push(packet(Track::Video, 0, true));
        assert_eq!(queue.stats().dropped_video, 1, "no parameters told yet");
        queue.configure(info());
        queue.push(packet(Track::Video, 0, true));
        queue.close();
        queue.push(packet(Track::Video, 3_000, false));
        assert!(matches!(queue.pop(Instant::now()), Popped::Packet(_)));
        assert!(matches!(queue.pop(Instant::now()), Popped::Closed));
        assert_eq!(queue.stats().dropped_video, 2);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop(u8),
        Resume,
    }

    proptest! {
        /// Whatever the network does: the queue never spans more than its capacity, order is kept, every picture that
        /// comes out has its references, and nothing vanishes uncounted.
        #[test]
        fn any_sequence_keeps_the_queue_bounded_decodable_and_counted(
            gop in 1i64..150,
            capacity_ms in 100u64..6_000,
            steps in proptest::collection::vec(
                prop_oneof![5 => (1u8..90).prop_map(Step::Push), 4 => (1u8..120).prop_map(Step::Pop), 1 => Just(Step::Resume)],
                1..60,
            ),
        ) {
            let source = media(6_000, gop);
            let mut source = source.into_iter();
            let capacity = Duration::from_millis(capacity_ms);
            let mut queue = PacketQueue::new(capacity);
            let (mut pushed, mut popped, mut last_video, mut last_pts) = (0u64, 0u64, None::<i64>, i64::MIN);
            let info = info();
            for step in steps {
                match step {
                    Step::Push(n) => for packet in source.by_ref().take(n.into()) {
                        queue.push(Queued { info: info.clone(), packet });
                        pushed += 1;
                        prop_assert!(queue.queued() <= capacity);
                    },
                    Step::Pop(n) => for _ in 0..n {
                        let Some(item) = queue.pop() else { break };
                        popped += 1;
                        prop_assert!(item.packet.pts >= last_pts);
                        last_pts = item.packet.pts;
                        if item.packet.track == Track::Video {
                            prop_assert!(item.packet.key || last_video == Some(item.packet.pts - 3_000), "gap before a P picture");
                            last_video = Some(item.packet.pts);
                        }
                    },
                    Step::Resume => if queue.resume_at_idr() {
                        let front = queue.items.front().unwrap();
                        prop_assert!(front.packet.key && front.packet.track == Track::Video);
                    },
                }
                prop_assert_eq!(pushed, popped + queue.len() as u64 + queue.dropped_video() + queue.dropped_audio());
            }
        }
    }

    #[test]
    fn a_task_that_waits_is_woken_by_a_packet_and_by_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let queue = SharedQueue::new(Duration::from_secs(1));
        queue.configure(info());
        std::thread::scope(|s| {
            let taker = s.spawn(|| {
                runtime.block_on(async {
                    assert!(queue.filled().await);
                    let first = queue.next().await.map(|i| i.packet.pts);
                    (first, queue.next().await.is_none(), queue.filled().await)
                })
            });
            queue.push(packet(Track::Video, 7, true));
            while !queue.stats().queued.is_zero() || queue.info().is_none() || !queue.lock().queue.is_empty() {
                std::thread::yield_now();
            }
            queue.close();
            assert_eq!(taker.join().unwrap(), (Some(7), true, false));
        });
    }

    #[test]
    fn an_idr_that_waited_too_long_gives_way_to_the_next_one() {
        for (frames, recent) in [(6, true), (30, false)] {
            let queue = SharedQueue::new(Duration::from_secs(4));
            queue.configure(info());
            (0..frames).for_each(|n| queue.push(packet(Track::Video, n * 3_000, n == 0)));
            assert_eq!(queue.resume_at_recent_idr(Duration::from_millis(300)), recent);
            queue.push(packet(Track::Video, frames * 3_000, false));
            assert_eq!(queue.lock().queue.len() as i64, if recent { frames + 1 } else { 0 });
            assert!(queue.stats().last_drop.is_none(), "waiting for an IDR is not being slow");
        }
    }
}
