//! What the streams need of a broadcast. The real one is made of [`crate::studio`]; tests have one of their own.

use super::now_ms;
use crate::encode::VideoSettings;
use crate::game::MatchState;
use crate::output::{Destination, Status};
use crate::overlay::Take;
use crate::render::AdapterChoice;
use crate::store::model::Millis;
use crate::stream::{Broadcast, Eyes, Meters, OutputId, States, StreamStatus};
use crate::studio::{StreamSettings, Studio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Makes broadcasts.
pub trait Stage: Send + Sync {
    /// Opens a render + encode. May take a while: not for async threads.
    ///
    /// # Errors
    /// What is wrong and what to do, for operators.
    fn open(&self, settings: &StreamSettings) -> Result<Box<dyn OnStage>, String>;
    /// Its broadcasts have outputs of their own (a preview, a file): an agent is on air without a destination, too.
    fn shows_by_itself(&self) -> bool {
        false
    }
    /// Where all its broadcasts measure.
    fn meters(&self) -> Arc<Meters>;
}

/// One running render + encode. Only [`OnStage::add`], [`OnStage::remove`], [`OnStage::picture`], [`OnStage::thumbnail`] and
/// [`OnStage::stop`] may take a while.
pub trait OnStage: Send + Sync {
    /// Shows this state from now on, as `eyes` see it. False: it has ended.
    fn show(&self, state: Arc<MatchState>, eyes: &Arc<Eyes>) -> bool;
    fn add(&self, output: Box<dyn Destination>) -> Result<OutputId, String>;
    fn remove(&self, output: OutputId, deadline: Duration);
    /// The scene that is drawn whatever the match says; None: the match decides.
    fn scene(&self, scene: Option<Scene>);
    /// Whose broadcast it is, for the ending scene.
    fn host(&self, name: &str);
    /// The sum over destinations, for the picture.
    fn viewers(&self, viewers: Option<u64>);
    /// An avatar or another picture of the match, by the name that the match uses.
    fn picture(&self, name: &str, bytes: &[u8]) -> Result<(), String>;
    fn status(&self) -> StreamStatus;
    /// What its encoder was opened with.
    fn video(&self) -> VideoSettings;
    /// False once its threads have ended, by a stop or by a fault.
    fn runs(&self) -> bool;
    /// The newest picture as JPEG, 480 px wide, and when it was made: at most one a second is made. None: no picture came in
    /// the last 5 s.
    fn thumbnail(&self) -> Option<(Arc<[u8]>, Millis)>;
    /// Ends it within `deadline`; how each destination ended.
    /// With 5 s or more the GOP that is on its way is finished first.
    fn stop(&self, deadline: Duration) -> Vec<Status>;
    /// Shortens a [`OnStage::stop`] that is under way or comes: over within this time from now. One whose end never takes
    /// long has nothing to hurry.
    fn hurry(&self, _within: Duration) {}
}

/// Scenes that an operator can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scene {
    Starting,
    Live,
    Over,
    /// The stream is about to end.
    Ending,
}

impl From<Scene> for Take {
    fn from(scene: Scene) -> Take {
        match scene {
            Scene::Starting => Take::Starting,
            Scene::Live => Take::Live,
            Scene::Over => Take::Over,
            Scene::Ending => Take::Ending,
        }
    }
}

/// Width of a thumbnail, px.
const THUMBNAIL: u32 = 480;
/// Who leaves this much time gets the GOP that is on its way whole: a service that drains, not a switch that goes off.
const UNHURRIED: Duration = Duration::from_secs(5);
/// A thumbnail is kept this long.
const FRESH: Duration = Duration::from_secs(1);
/// A picture older than this is none: the encoder hangs.
const STALE: Duration = Duration::from_secs(4);

/// The real stage: one graphics device for all broadcasts, opened with the first one.
pub struct StudioStage {
    adapter: AdapterChoice,
    studio: Mutex<Option<Arc<Studio>>>,
    meters: Arc<Meters>,
}

impl StudioStage {
    pub fn new(adapter: AdapterChoice) -> StudioStage {
        StudioStage { adapter, studio: Mutex::default(), meters: Arc::default() }
    }

    /// Opens the graphics device, so that the first stream need not wait for it. Returns its name. Not for async threads.
    ///
    /// # Errors
    /// In words; a later [`Stage::open`] tries again.
    pub fn warm_up(&self) -> Result<String, String> {
        Ok(self.studio()?.gpu().adapter().to_string())
    }

    /// What the video encoder of such a stream is opened with. Not for async threads.
    ///
    /// # Errors
    /// As [`StudioStage::warm_up`].
    pub fn video(&self, settings: &StreamSettings) -> Result<VideoSettings, String> {
        Ok(self.studio()?.video(settings))
    }

    fn studio(&self) -> Result<Arc<Studio>, String> {
        let mut studio = lock(&self.studio);
        if let Some(studio) = &*studio {
            return Ok(studio.clone());
        }
        let opened = Arc::new(Studio::open(self.adapter.clone()).map_err(|e| e.to_string())?);
        *studio = Some(opened.clone());
        Ok(opened)
    }
}

impl Stage for StudioStage {
    fn open(&self, settings: &StreamSettings) -> Result<Box<dyn OnStage>, String> {
        let studio = self.studio()?;
        let video = studio.video(settings);
        let (broadcast, states) =
            studio.states(settings.clone(), self.meters.clone()).map_err(|error| error.to_string())?;
        Ok(Box::new(StudioBroadcast { broadcast, states, video, thumbnail: Mutex::default() }))
    }

    fn meters(&self) -> Arc<Meters> {
        self.meters.clone()
    }
}

/// When it was made, the JPEG, and when its picture was.
type Thumbnail = (Instant, Arc<[u8]>, Millis);

struct StudioBroadcast {
    broadcast: Broadcast,
    states: States,
    video: VideoSettings,
    /// The newest one; the lock is held while the next is made, so that they are made one at a time.
    thumbnail: Mutex<Option<Thumbnail>>,
}

impl OnStage for StudioBroadcast {
    fn show(&self, state: Arc<MatchState>, eyes: &Arc<Eyes>) -> bool {
        self.states.show(state, eyes)
    }

    fn add(&self, output: Box<dyn Destination>) -> Result<OutputId, String> {
        self.broadcast.add_output(output).map_err(|error| error.to_string())
    }

    fn remove(&self, output: OutputId, deadline: Duration) {
        // One that has ended has no outputs left.
        let _ = self.broadcast.remove_output(output, deadline);
    }

    fn scene(&self, scene: Option<Scene>) {
        self.broadcast.set_on_air(|on_air| on_air.take = scene.map(Take::from));
    }

    fn host(&self, name: &str) {
        self.broadcast.set_on_air(|on_air| name.clone_into(&mut on_air.host));
    }

    fn viewers(&self, viewers: Option<u64>) {
        self.broadcast.set_on_air(|on_air| on_air.viewers = viewers);
    }

    fn picture(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.broadcast.set_picture(name, bytes).map_err(|error| error.to_string())
    }

    fn status(&self) -> StreamStatus {
        self.broadcast.status()
    }

    fn video(&self) -> VideoSettings {
        self.video.clone()
    }

    fn runs(&self) -> bool {
        self.broadcast.runs()
    }

    fn thumbnail(&self) -> Option<(Arc<[u8]>, Millis)> {
        let mut kept = lock(&self.thumbnail);
        let (at, frame) = self.broadcast.newest().filter(|(at, _)| at.elapsed() < STALE)?;
        if kept.as_ref().is_none_or(|(made, ..)| made.elapsed() >= FRESH) {
            let jpeg: Arc<[u8]> = crate::raster::thumbnail(&frame, THUMBNAIL)?.into();
            let age = i64::try_from(at.elapsed().as_millis()).unwrap_or(0);
            *kept = Some((Instant::now(), jpeg, now_ms() - age));
        }
        kept.as_ref().map(|(_, jpeg, made)| (jpeg.clone(), *made))
    }

    fn stop(&self, deadline: Duration) -> Vec<Status> {
        match deadline >= UNHURRIED {
            true => self.broadcast.finish(deadline).outputs,
            false => self.broadcast.end(deadline).outputs,
        }
    }

    fn hurry(&self, within: Duration) {
        self.broadcast.hurry(within);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
