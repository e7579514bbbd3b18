//! What the streams need of a broadcast. The real one is made of [`crate::studio`]; tests have one of their own.

use crate::game::MatchState;
use crate::output::{Destination, Status};
use crate::stream::{OutputId, StreamStatus};
use crate::studio::StreamSettings;
use std::sync::Arc;
use std::time::Duration;

/// Makes broadcasts. Calls may take a while (opening an encoder): not for async threads.
pub trait Stage: Send + Sync {
    fn open(&self, settings: &StreamSettings) -> Result<Box<dyn OnStage>, String>;
}

/// One running render + encode.
pub trait OnStage: Send + Sync {
    /// Shows this state from now on.
    fn show(&self, state: Arc<MatchState>);
    fn add(&self, output: Box<dyn Destination>) -> Result<OutputId, String>;
    fn remove(&self, output: OutputId, deadline: Duration);
    /// The scene that is drawn whatever the match says; None: the match decides.
    fn scene(&self, scene: Option<Scene>);
    /// The sum over destinations, for the picture.
    fn viewers(&self, viewers: Option<u64>);
    /// An avatar or another picture of the match, by the name that the match uses.
    fn picture(&self, name: &str, bytes: &[u8]) -> Result<(), String>;
    fn status(&self) -> StreamStatus;
    /// The newest picture as JPEG, 480 px wide; None before the first.
    fn thumbnail(&self) -> Option<Arc<[u8]>>;
    /// Ends it within `deadline`; how each destination ended.
    fn stop(self: Box<Self>, deadline: Duration) -> Vec<Status>;
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
