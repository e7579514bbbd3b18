//! The stage of the demo: the real one, with a preview page and a file on the broadcast, and the picture that the command line
//! asks for.

use crate::cli::on_air::Watched;
use crate::encode::VideoSettings;
use crate::game::{MatchState, View};
use crate::output::{Destination, Status};
use crate::server::stage::{OnStage, Scene, Stage, StudioStage};
use crate::store::model::Millis;
use crate::stream::{Eyes, Meters, OutputId, StreamStatus};
use crate::studio::StreamSettings;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Cheap to clone.
#[derive(Clone)]
pub struct DemoStage(Arc<Inner>);

struct Inner {
    studio: Arc<StudioStage>,
    settings: StreamSettings,
    pictures: Vec<(String, Vec<u8>)>,
    /// For the first broadcast, which is the only one unless a device is lost.
    outputs: Mutex<Vec<Box<dyn Destination>>>,
    now: Mutex<Now>,
    over: AtomicBool,
}

#[derive(Default)]
struct Now {
    broadcast: Option<Arc<dyn OnStage>>,
    /// How the last one ended.
    ended: Option<StreamStatus>,
    /// Why none could be opened.
    trouble: Option<String>,
}

impl DemoStage {
    pub fn new(
        studio: Arc<StudioStage>,
        settings: StreamSettings,
        pictures: Vec<(String, Vec<u8>)>,
        outputs: Vec<Box<dyn Destination>>,
    ) -> DemoStage {
        let (outputs, now) = (Mutex::new(outputs), Mutex::default());
        DemoStage(Arc::new(Inner { studio, settings, pictures, outputs, now, over: AtomicBool::new(false) }))
    }

    /// The match is over: the end is near.
    pub fn match_is_over(&self) {
        self.0.over.store(true, Ordering::Release);
    }

    /// Why nothing is on air.
    pub fn trouble(&self) -> Option<String> {
        self.0.now().trouble.clone()
    }
}

impl Inner {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, settings: &StreamSettings) -> Result<Arc<dyn OnStage>, String> {
        // The agent's defaults name neither codec nor frame rate of the command line.
        let settings = StreamSettings { name: settings.name.clone(), ..self.settings.clone() };
        let broadcast: Arc<dyn OnStage> = self.studio.open(&settings)?.into();
        for (name, bytes) in &self.pictures {
            broadcast.picture(name, bytes)?;
        }
        for output in std::mem::take(&mut *self.outputs.lock().unwrap_or_else(PoisonError::into_inner)) {
            broadcast.add(output)?;
        }
        Ok(broadcast)
    }
}

impl Stage for DemoStage {
    fn open(&self, settings: &StreamSettings) -> Result<Box<dyn OnStage>, String> {
        let opened = self.0.open(settings);
        let mut now = self.0.now();
        match opened {
            Ok(broadcast) => {
                now.broadcast = Some(broadcast.clone());
                Ok(Box::new(Shown { inner: self.0.clone(), broadcast }))
            }
            Err(words) => {
                now.trouble = Some(words.clone());
                Err(words)
            }
        }
    }

    fn meters(&self) -> Arc<Meters> {
        self.0.studio.meters()
    }

    fn shows_by_itself(&self) -> bool {
        true
    }
}

impl Watched for DemoStage {
    fn status(&self) -> StreamStatus {
        let now = self.0.now();
        let running = now.broadcast.as_ref().map(|broadcast| broadcast.status());
        running.or_else(|| now.ended.clone()).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        self.0.now().broadcast.as_ref().is_none_or(|broadcast| broadcast.runs())
    }

    fn ended(&self) -> bool {
        self.0.over.load(Ordering::Acquire)
    }

    fn show_viewers(&self, viewers: Option<u64>) {
        if let Some(broadcast) = &self.0.now().broadcast {
            broadcast.viewers(viewers);
        }
    }
}

/// A broadcast as the service sees it.
struct Shown {
    inner: Arc<Inner>,
    broadcast: Arc<dyn OnStage>,
}

impl OnStage for Shown {
    fn show(&self, state: Arc<MatchState>, eyes: &Arc<Eyes>) -> bool {
        // An agent sees its own side or what is public; the command line may ask for more.
        let view: &View = &self.inner.settings.view;
        if eyes.view == *view {
            return self.broadcast.show(state, eyes);
        }
        self.broadcast.show(state, &Arc::new(Eyes { view: view.clone(), avatars: eyes.avatars.clone() }))
    }

    fn add(&self, output: Box<dyn Destination>) -> Result<OutputId, String> {
        self.broadcast.add(output)
    }

    fn remove(&self, output: OutputId, deadline: Duration) {
        self.broadcast.remove(output, deadline);
    }

    fn scene(&self, scene: Option<Scene>) {
        self.broadcast.scene(scene);
    }

    fn host(&self, name: &str) {
        self.broadcast.host(name);
    }

    /// The demo counts those of its own outputs too, and says so itself.
    fn viewers(&self, _viewers: Option<u64>) {}

    fn picture(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.broadcast.picture(name, bytes)
    }

    fn status(&self) -> StreamStatus {
        self.broadcast.status()
    }

    fn video(&self) -> VideoSettings {
        self.broadcast.video()
    }

    fn runs(&self) -> bool {
        self.broadcast.runs()
    }

    fn thumbnail(&self) -> Option<(Arc<[u8]>, Millis)> {
        self.broadcast.thumbnail()
    }

    fn stop(&self, deadline: Duration) -> Vec<Status> {
        let outputs = self.broadcast.stop(deadline);
        let status = StreamStatus { outputs: outputs.clone(), ..self.broadcast.status() };
        let mut now = self.inner.now();
        (now.ended, now.broadcast) = (Some(status), None);
        outputs
    }

    fn hurry(&self, within: Duration) {
        self.broadcast.hurry(within);
    }
}
