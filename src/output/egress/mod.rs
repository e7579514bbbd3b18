//! RTMP(S) through LiveKit's Egress service: a second encode elsewhere, of what [`super::livekit`] publishes.
//!
//! An [`EgressOutput`] takes no packets. It waits until the publisher is in the room, has LiveKit's service start one job
//! for all its addresses, and keeps that job going from what can be known of it ([`job`]). Its thread makes the requests;
//! what the server tells by webhooks comes in through [`Observer`] and makes it quicker, not possible: without webhooks it
//! lists every 20 s.
//!
//! A run against a real worker: `LIVEKIT_EGRESS_TEST=1 LIVEKIT_URL=… LIVEKIT_API_KEY=… LIVEKIT_API_SECRET=…
//! EGRESS_RTMP_URL=rtmp://… LIVEKIT_ROOM=… LIVEKIT_IDENTITY=… cargo test --test egress_api real_worker`, where somebody
//! publishes a picture in that room under that identity and the address leads to a receiver as the worker sees it.
//!
//! | file | what |
//! |---|---|
//! | `mod` | [`EgressOutput`], the destination |
//! | [`job`] | the life of a job: evidence in, requests and words out |
//! | `driver` | the thread: makes the requests |
//! | `slot` | one address within one job |
//! | `target` | one address across jobs: why it failed, when it is tried again |

mod driver;
pub mod job;
mod slot;
mod target;

pub use target::TargetId;

use super::key::RtmpTarget;
use super::worker::Worker;
use super::{Destination, State, Status, log};
use crate::encode::{EncodedPacket, StreamInfo};
use crate::livekit::egress::{EgressApi, Encoding, JobInfo, Source};
use driver::{Driver, Order};
use job::{Job, Outlook, Rules};
use livekit_protocol::EgressInfo;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Webhooks that wait for the thread. More are dropped: the next list makes up for them.
const WEBHOOKS: usize = 64;
const ORDERS: usize = 64;

/// What and from where a job takes its picture and sound.
#[derive(Clone, Debug)]
pub struct EgressSettings {
    pub room: String,
    /// The publisher, whom it waits for.
    pub identity: String,
    /// None: camera and microphone of the publisher.
    pub source: Option<Source>,
    pub encoding: Encoding,
}

/// RTMP(S) destinations that LiveKit's Egress service serves with one job. A job takes up to 30 s to stop: its thread goes on
/// until that is done or cannot be, also after [`Destination::stop`] or a drop has returned. [`Observer`] tells when.
pub struct EgressOutput {
    shared: Arc<Shared>,
    worker: Worker,
    orders: mpsc::Sender<Order>,
    observer: Observer,
    next_target: u32,
}

/// Where webhooks about jobs go in, and what is left of a destination that was stopped. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer {
    webhooks: mpsc::Sender<JobInfo>,
    told: watch::Receiver<bool>,
}

impl Observer {
    /// Never blocks; jobs of others are welcome and ignored. False when the destination has ended or cannot keep up: nothing
    /// is lost but time.
    pub fn observe(&self, info: EgressInfo) -> bool {
        self.webhooks.try_send(info.into()).is_ok()
    }

    /// The destination has ended, and so has its job, as far as can be known.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.webhooks.is_closed()
    }

    /// Ready once the destination was stopped and LiveKit has taken the request to stop its job, or there is none to stop. A
    /// process that ends before leaves a job behind that nobody stops.
    pub async fn told(&self) {
        // Without its thread there is nobody left to tell.
        let _ = self.told.clone().wait_for(|told| *told).await;
    }
}

/// What the thread and the destination share.
#[derive(Debug)]
struct Shared {
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    names: Vec<(TargetId, String)>,
    outlook: Outlook,
    retry_at: Option<Instant>,
    /// Says how it ended for whoever stopped it, and changes no more.
    ended: bool,
}

impl Shared {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EgressOutput {
    /// Starts the thread. The first job starts when the publisher is in the room.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn(
        api: EgressApi,
        settings: EgressSettings,
        targets: Vec<RtmpTarget>,
        rules: Rules,
    ) -> std::io::Result<Self> {
        log::install();
        let now = Instant::now();
        let mut job = Job::new(&settings.room, &settings.identity, rules, fastrand::u64(..), now);
        let targets: Vec<_> =
            targets.into_iter().map(|target| (job.add_target(&target.address(), now), target)).collect();
        let names: Vec<_> = targets.iter().map(|(id, target)| (*id, target.name())).collect();
        let next_target = u32::try_from(targets.len()).unwrap_or(u32::MAX).saturating_add(1);
        let outlook = job.outlook(now);
        let shared = Arc::new(Shared { life: Mutex::new(Life { names, outlook, retry_at: None, ended: false }) });
        let (orders, orders_in) = mpsc::channel(ORDERS);
        let (webhooks, webhooks_in) = mpsc::channel(WEBHOOKS);
        let (tell, told) = watch::channel(false);
        let driver = Driver::new(api, settings, job, targets, shared.clone(), tell);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Worker::spawn("egress", move || {
            runtime.block_on(driver.run(orders_in, webhooks_in));
            // A request under way must not hold the thread.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, worker, orders, observer: Observer { webhooks, told }, next_target })
    }

    /// For the webhook hub.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Sends to one more address, in the running job. None when it cannot: it has ended, or too many orders wait.
    pub fn add_target(&mut self, target: RtmpTarget) -> Option<TargetId> {
        let (id, name) = (TargetId(self.next_target), target.name());
        self.orders.try_send(Order::Add(target)).ok()?;
        self.next_target = self.next_target.saturating_add(1);
        self.shared.life().names.push((id, name));
        Some(id)
    }

    /// Sends to this address no more. With the last one the job ends. False when there is no such address.
    pub fn remove_target(&mut self, id: TargetId) -> bool {
        if !self.shared.life().names.iter().any(|(there, _)| *there == id)
            || self.orders.try_send(Order::Remove(id)).is_err()
        {
            return false;
        }
        self.shared.life().names.retain(|(there, _)| *there != id);
        true
    }

    /// What is going on, in a sentence; [`Status::last_error`] holds only what is wrong.
    #[must_use]
    pub fn words(&self) -> String {
        self.shared.life().outlook.words.clone()
    }

    fn shut_down(&mut self, deadline: Duration) {
        if !self.worker.runs() {
            return;
        }
        // Where there is no room for it, the thread stops when this is gone.
        let _ = self.orders.try_send(Order::Stop);
        self.worker.end_later("egress", deadline);
        let mut life = self.shared.life();
        if !life.ended {
            (life.ended, life.retry_at) = (true, None);
            life.outlook.state = State::Stopped;
            life.outlook.error = Some(driver::unfinished(deadline));
        }
    }
}

impl fmt::Debug for EgressOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressOutput").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Drop for EgressOutput {
    fn drop(&mut self) {
        self.shut_down(Duration::from_millis(500));
    }
}

impl Destination for EgressOutput {
    fn configure(&mut self, _info: Arc<StreamInfo>) {}

    /// The room gets the packets; the job takes them from there.
    fn send(&mut self, _packet: EncodedPacket) {}

    fn status(&self) -> Status {
        let life = self.shared.life();
        let names: Vec<&str> = life.names.iter().map(|(_, name)| name.as_str()).collect();
        let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis();
        Status {
            name: format!("{} via livekit-egress", names.join(", ")),
            state: life.outlook.state,
            last_error: life.outlook.error.clone(),
            reconnects: life.outlook.reconnects,
            retry_ms: life.retry_at.map(|at| u32::try_from(left(at)).unwrap_or(u32::MAX)),
            ..Status::default()
        }
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Status {
        self.shut_down(deadline);
        self.status()
    }
}
