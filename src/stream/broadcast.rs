use super::{Clock, Director, Meters, OutputId, Picture, StreamStatus, Transmitter};
use crate::draw::Frame;
use crate::encode::{FrameClock, GOP_SECONDS, TICKS};
use crate::output::{Destination, Hurry, Status};
use crate::overlay::{Badge, OnAir};
use crate::raster::{PictureError, Pixels};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A running stream. Dropping it stops it.
pub struct Broadcast {
    name: String,
    stop: Arc<AtomicBool>,
    messages: SyncSender<Message>,
    status: Arc<Mutex<StreamStatus>>,
    on_air: Arc<Mutex<OnAir>>,
    pictures: Arc<Mutex<NewPictures>>,
    ended: Arc<AtomicBool>,
    next_output: AtomicU32,
    end: Arc<Mutex<End>>,
    newest: Arc<Mutex<Option<(Instant, Frame)>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a broadcast is made of.
pub struct Parts {
    /// For logs and thread names.
    pub name: String,
    pub clock: Arc<dyn Clock>,
    pub frames: FrameClock,
    pub director: Director,
    pub transmitter: Transmitter,
    pub on_air: OnAir,
    /// Where it measures.
    pub meters: Arc<Meters>,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("stream {0}: no thread could be started: {1}")]
    Thread(String, std::io::Error),
    #[error("stream {0} has ended")]
    Ended(String),
}

/// What flows to the encode thread.
enum Message {
    Picture {
        picture: Picture,
        pts: i64,
        drawn: Duration,
        skipped: u64,
        news_at: Duration,
    },
    Add(OutputId, Box<dyn Destination>),
    Remove(OutputId, Duration),
    Kbps(u32),
    Idr,
    /// Stop before the next GOP.
    Finish,
    Stop,
}

/// How long destinations may take for a clean end when nobody says otherwise.
const STOP_DEADLINE: Duration = Duration::from_secs(4);
/// A GOP is whole within this, or the picture hangs.
const FINISHING: Duration = Duration::from_millis(GOP_SECONDS as u64 * 1_000 + 500);
/// Span of the means in [`StreamStatus`].
const WINDOW: Duration = Duration::from_secs(2);

impl Broadcast {
    /// Starts the stream's threads.
    pub fn start(parts: Parts) -> Result<Broadcast, StreamError> {
        let Parts { name, clock, frames, director, transmitter, on_air, meters } = parts;
        let stop = Arc::<AtomicBool>::default();
        let ended = Arc::<AtomicBool>::default();
        let status = Arc::<Mutex<StreamStatus>>::default();
        let on_air = Arc::new(Mutex::new(on_air));
        let pictures = Arc::<Mutex<NewPictures>>::default();
        let end = Arc::new(Mutex::new(End { deadline: STOP_DEADLINE, by: None, hurries: Vec::new() }));
        let newest = Arc::<Mutex<Option<(Instant, Frame)>>>::default();
        // One picture may wait while one is encoded.
        let (messages, inbox) = sync_channel(1);

        let encode = {
            let shared = Encoding {
                clock: clock.clone(),
                status: status.clone(),
                end: end.clone(),
                newest: newest.clone(),
                meters,
            };
            let span = tracing::Span::current();
            let work = move || span.in_scope(|| encode_loop(inbox, transmitter, &shared));
            Builder::new().name(format!("encode {name}")).spawn(work)
        }
        .map_err(|e| StreamError::Thread(name.clone(), e))?;
        let draw = {
            let shared = Shared {
                stop: stop.clone(),
                ended: ended.clone(),
                status: status.clone(),
                on_air: on_air.clone(),
                pictures: pictures.clone(),
                clock,
            };
            let messages = messages.clone();
            let span = tracing::Span::current();
            let work = move || span.in_scope(|| draw_loop(&shared, frames, director, &messages));
            Builder::new().name(format!("draw {name}")).spawn(work)
        }
        .map_err(|e| StreamError::Thread(name.clone(), e))?;

        Ok(Broadcast {
            name,
            stop,
            messages,
            status,
            on_air,
            pictures,
            ended,
            next_output: AtomicU32::new(1),
            end,
            newest,
            threads: Mutex::new(vec![draw, encode]),
        })
    }

    /// Adds a destination to the running stream.
    pub fn add_output(&self, output: Box<dyn Destination>) -> Result<OutputId, StreamError> {
        let id = self.next_output.fetch_add(1, Ordering::Relaxed);
        self.tell(Message::Add(id, output))?;
        Ok(id)
    }

    /// Ends one destination within `deadline`; the others go on.
    pub fn remove_output(&self, id: OutputId, deadline: Duration) -> Result<(), StreamError> {
        self.tell(Message::Remove(id, deadline))
    }

    /// Changes the video bit rate from the next picture on.
    pub fn set_kbps(&self, kbps: u32) -> Result<(), StreamError> {
        self.tell(Message::Kbps(kbps))
    }

    /// Makes the next picture an IDR. It breaks the constant GOP that RTMP platforms ask for; the GOP counts anew from it.
    pub fn force_idr(&self) -> Result<(), StreamError> {
        self.tell(Message::Idr)
    }

    pub fn status(&self) -> StreamStatus {
        lock(&self.status).clone()
    }

    /// Changes what is drawn beside the match.
    pub fn set_on_air(&self, change: impl FnOnce(&mut OnAir)) {
        change(&mut lock(&self.on_air));
    }

    /// Gives the stream a PNG, JPEG or WebP picture under the name by which the match refers to it: an avatar, card art, a
    /// picture zone. It may come before or after the state that names it, and replaces one of that name unless the view is
    /// held back ([`Director::set_picture`]). Decoded here, on the caller's thread.
    ///
    /// # Errors
    /// Over 2 MiB, over 4096 px a side, over 64 MiB decoded, or not such a picture.
    pub fn set_picture(&self, name: &str, bytes: &[u8]) -> Result<(), PictureError> {
        let pixels = crate::raster::decode(name, bytes)?;
        lock(&self.pictures).push(name, pixels);
        Ok(())
    }

    /// The newest picture and when it was encoded; None before the first.
    pub fn newest(&self) -> Option<(Instant, Frame)> {
        lock(&self.newest).clone()
    }

    /// The match's record has been played to its end.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the stream's threads still run; they end by themselves only when something is broken.
    pub fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && lock(&self.threads).iter().all(|thread| !thread.is_finished())
    }

    /// Stops drawing, finishes every destination cleanly within `deadline` and joins the threads. Returns the last status,
    /// with how each destination ended.
    pub fn stop(self, deadline: Duration) -> StreamStatus {
        self.end(deadline)
    }

    /// As [`Self::stop`], for one that others still look at.
    pub fn end(&self, deadline: Duration) -> StreamStatus {
        lock(&self.end).deadline = deadline;
        self.shut_down();
        self.status()
    }

    /// As [`Self::end`], after the GOP that is on its way: what was published ends whole. It takes part of the deadline.
    pub fn finish(&self, deadline: Duration) -> StreamStatus {
        let gop = FINISHING.min(deadline / 2);
        lock(&self.end).deadline = deadline - gop;
        let began = Instant::now();
        if self.tell(Message::Finish).is_ok() {
            let goes_on = || {
                // The encode thread is the last one.
                let encodes = lock(&self.threads).last().is_some_and(|encode| !encode.is_finished());
                encodes && lock(&self.end).by.is_none()
            };
            while began.elapsed() < gop && goes_on() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.shut_down();
        self.status()
    }

    /// Shortens an end that is under way on another thread, or that comes: destinations are given up within this time from
    /// now, and no GOP is waited for. Returns at once.
    pub fn hurry(&self, within: Duration) {
        let mut end = lock(&self.end);
        let by = Instant::now() + within;
        end.by = Some(end.by.map_or(by, |before| before.min(by)));
        end.hurries.iter().for_each(|hurry| hurry(within));
    }

    fn shut_down(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return;
        }
        self.stop.store(true, Ordering::Relaxed);
        // Told to it, so that the destinations end even when the draw thread hangs in a driver. One that is gone has nothing
        // to stop.
        let _ = self.messages.send(Message::Stop);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the stream ended by a panic");
            }
        }
    }

    fn tell(&self, message: Message) -> Result<(), StreamError> {
        self.messages.send(message).map_err(|_| StreamError::Ended(self.name.clone()))
    }
}

/// How long the end of a broadcast may take.
struct End {
    deadline: Duration,
    /// Somebody is in a hurry.
    by: Option<Instant>,
    /// Of the destinations that are being stopped.
    hurries: Vec<Hurry>,
}

impl End {
    /// For the destinations, as of now.
    fn left(&self) -> Duration {
        self.by.map_or(self.deadline, |by| self.deadline.min(by.saturating_duration_since(Instant::now())))
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.shut_down();
    }
}

struct Shared {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    status: Arc<Mutex<StreamStatus>>,
    on_air: Arc<Mutex<OnAir>>,
    pictures: Arc<Mutex<NewPictures>>,
    clock: Arc<dyn Clock>,
}

/// Decoded pictures on their way to the draw thread.
#[derive(Default)]
struct NewPictures(VecDeque<(String, Pixels)>);

/// Bytes of pixels that may wait; beyond it the oldest are dropped, as the bank itself would.
const WAITING_PICTURES: usize = 128 << 20;

impl NewPictures {
    fn push(&mut self, name: &str, pixels: Pixels) {
        self.0.retain(|(n, _)| n != name);
        self.0.push_back((name.to_owned(), pixels));
        let mut bytes: usize = self.0.iter().map(|(_, p)| p.rgba.len()).sum();
        while bytes > WAITING_PICTURES
            && let Some((name, gone)) = self.0.pop_front()
        {
            tracing::warn!(name, "pictures come faster than they are drawn, one is left out");
            bytes -= gone.rgba.len();
        }
    }
}

fn draw_loop(shared: &Shared, mut frames: FrameClock, mut director: Director, messages: &SyncSender<Message>) {
    let mut trouble = None;
    while !shared.stop.load(Ordering::Relaxed) {
        shared.clock.wait_until(frames.next_due());
        let Some(due) = frames.poll(shared.clock.now()) else { continue };
        for (name, pixels) in std::mem::take(&mut lock(&shared.pictures).0) {
            if !director.set_picture(&name, pixels) {
                tracing::warn!(name, "the view is held back: a new picture needs a new name, the old one stays");
            }
        }
        let mut on_air = lock(&shared.on_air).clone();
        if on_air.badge == Badge::Live && !lock(&shared.status).is_live() {
            on_air.badge = Badge::Off;
        }
        let began = Instant::now();
        let picture = director.frame(due.pts * 1000 / TICKS, &on_air);
        if picture.trouble != trouble {
            match &picture.trouble {
                Some(words) => tracing::error!("{words}; the last picture is repeated"),
                None => tracing::info!("drawing works again"),
            }
            trouble.clone_from(&picture.trouble);
        }
        let news_at = Duration::from_millis(director.news_at().unsigned_abs());
        let (drawn, skipped) = (began.elapsed(), frames.skipped());
        let message = Message::Picture { picture, pts: due.pts, drawn, skipped, news_at };
        if messages.send(message).is_err() {
            return;
        }
        if director.ended().is_some() {
            shared.ended.store(true, Ordering::Relaxed);
        }
    }
}

/// What the encode thread shares with the broadcast.
struct Encoding {
    clock: Arc<dyn Clock>,
    status: Arc<Mutex<StreamStatus>>,
    end: Arc<Mutex<End>>,
    newest: Arc<Mutex<Option<(Instant, Frame)>>>,
    meters: Arc<Meters>,
}

fn encode_loop(inbox: Receiver<Message>, mut transmitter: Transmitter, shared: &Encoding) {
    let Encoding { clock, status, meters, .. } = shared;
    let mut meter = Meter::default();
    // Destinations that are being ended: their threads are joined before the stream's end.
    let mut ending: Vec<JoinHandle<Status>> = Vec::new();
    let mut finishing = false;
    for message in inbox {
        match message {
            Message::Picture { pts, .. } if finishing && transmitter.begins_gop(pts) => break,
            Message::Finish => finishing = true,
            Message::Picture { picture, pts, drawn, skipped, news_at } => {
                let began = Instant::now();
                let bytes = transmitter.picture(&picture, pts);
                let (now, took) = (clock.now(), began.elapsed());
                meter.add(now, bytes, drawn, took);
                meters.draw.observe(drawn);
                meters.encode.observe(took);
                if picture.state.is_some() {
                    meters.latency.observe(now.saturating_sub(news_at));
                }
                *lock(&shared.newest) = Some((Instant::now(), picture.frame.clone()));
                let mut s = lock(status);
                s.uptime = now;
                s.frames += 1;
                s.unchanged += u64::from(!picture.changed);
                s.skipped = skipped;
                (s.fps, s.kbps, s.draw, s.encode) = meter.means();
                let drawing = picture.trouble.map(|error| error.to_string());
                s.trouble = drawing.or_else(|| transmitter.trouble().map(str::to_owned));
                (s.outputs, s.ids) = (transmitter.statuses(), transmitter.ids());
            }
            Message::Add(id, output) => transmitter.add(id, output),
            Message::Remove(id, deadline) => {
                if let Some(output) = transmitter.remove(id) {
                    // Its end may take a while; the stream does not wait for it.
                    ending.retain(|thread| !thread.is_finished());
                    match Builder::new().name("end output".into()).spawn(move || output.stop(deadline)) {
                        Ok(thread) => ending.push(thread),
                        Err(error) => tracing::error!("no thread for ending a destination: {error}"),
                    }
                }
            }
            Message::Idr => transmitter.want_idr(),
            Message::Stop => break,
            Message::Kbps(kbps) => {
                if let Err(error) = transmitter.set_kbps(kbps) {
                    tracing::error!("the bit rate stays as it is: {error}");
                }
            }
        }
    }
    let deadline = {
        let mut end = lock(&shared.end);
        end.hurries = transmitter.hurries();
        end.left()
    };
    let ids = transmitter.ids();
    let outputs = transmitter.stop(deadline);
    {
        let mut s = lock(status);
        (s.outputs, s.ids) = (outputs, ids);
    }
    for thread in ending {
        if thread.join().is_err() {
            tracing::error!("a destination's end panicked");
        }
    }
}

/// Means over the last [`WINDOW`].
#[derive(Default)]
struct Meter {
    samples: VecDeque<(Duration, usize, Duration, Duration)>,
}

impl Meter {
    fn add(&mut self, now: Duration, bytes: usize, draw: Duration, encode: Duration) {
        self.samples.push_back((now, bytes, draw, encode));
        while self.samples.front().is_some_and(|s| s.0 + WINDOW < now) {
            self.samples.pop_front();
        }
    }

    /// Frames a second, kbit/s, drawing and encoding time a picture.
    fn means(&self) -> (f32, u32, Duration, Duration) {
        let n = self.samples.len() as u32;
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return Default::default() };
        let span = (last.0 - first.0).as_secs_f64();
        let draw = self.samples.iter().map(|s| s.2).sum::<Duration>() / n;
        let encode = self.samples.iter().map(|s| s.3).sum::<Duration>() / n;
        if span == 0.0 {
            return (0.0, 0, draw, encode);
        }
        let bytes: usize = self.samples.iter().skip(1).map(|s| s.1).sum();
        (((n - 1) as f64 / span) as f32, (bytes as f64 * 8.0 / 1000.0 / span) as u32, draw, encode)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
