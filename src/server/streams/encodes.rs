//! A render + encode as the board sees it, and what makes two of them the same.

use super::board::Ms;
use crate::draw::Size;
use crate::game::View;
use crate::overlay::Theme;
use crate::server::stage::{OnStage, Scene};
use crate::store::model::{Agent, AgentDefaults, AgentView, Match};
use crate::stream::StreamStatus;
use crate::studio::StreamSettings;
use std::sync::Arc;

/// What a picture looks like: streams of one match with equal looks share it. Fixed when a stream begins, so that a change of
/// an agent's defaults breaks nothing that is on air.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    pub theme: String,
    /// `1280x720`; None: what the machine is good for.
    pub size: Option<String>,
    pub fps: u32,
    pub kbps: Option<u32>,
    pub delay_ms: i64,
}

impl Look {
    pub fn of(defaults: &AgentDefaults) -> Look {
        Look {
            theme: defaults.theme.clone(),
            size: defaults.size.clone(),
            fps: defaults.fps,
            kbps: defaults.kbps,
            delay_ms: defaults.delay_ms,
        }
    }

    /// What a stage opens. A theme or size that this version does not know is replaced by the usual one.
    pub fn settings(&self, name: String, preset: &str) -> StreamSettings {
        let size = self.size.as_deref().and_then(|text| {
            let (w, h) = text.split_once('x')?;
            Some(Size { w: w.parse().ok()?, h: h.parse().ok()? })
        });
        StreamSettings {
            name,
            size: size.filter(|size| [Size::HD, Size::FULL_HD].contains(size)),
            fps: self.fps,
            kbps: self.kbps,
            delay_ms: self.delay_ms,
            theme: Theme::named(&self.theme).unwrap_or_default(),
            preset: preset.to_owned(),
            ..StreamSettings::default()
        }
    }
}

/// What is on a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Match {
        id: String,
        view: View,
    },
    /// Who streams, and that they wait for a match.
    Nothing,
}

impl Shown {
    /// The match as this agent's stream shows it.
    pub fn of(m: &Match, agent: &Agent) -> Shown {
        let side = || m.sides.iter().find(|(_, a)| **a == agent.id).map(|(side, _)| side.clone());
        let view = match agent.defaults.view {
            AgentView::Own => side().map_or(View::Spectator, View::Side),
            AgentView::Spectator => View::Spectator,
        };
        Shown::Match { id: m.id.clone(), view }
    }
}

/// Opening a GPU, fonts and encoders takes well under this, unless a driver hangs.
const OPENING: Ms = 20_000;
/// Pauses between attempts: 1 s, doubled up to this.
const LONGEST_REST: Ms = 30_000;
/// One that has run this long has nothing to do with failures before.
const PROVEN: Ms = 60_000;

pub struct Encode {
    pub id: u64,
    pub look: Look,
    pub shown: Shown,
    phase: Phase,
    failures: u32,
    /// The scene that an operator chose.
    pub operator: Option<Scene>,
    put_on: Option<Scene>,
    pub status: StreamStatus,
    viewers: (Option<u64>, Option<Ms>),
}

enum Phase {
    Opening { run: u64, since: Ms },
    On { run: u64, stage: Arc<dyn OnStage>, since: Ms },
    Resting { until: Ms, words: String },
}

impl Encode {
    pub fn new(id: u64, look: Look, shown: Shown, now: Ms) -> Encode {
        Encode {
            id,
            look,
            shown,
            phase: Phase::Resting { until: now, words: String::new() },
            failures: 0,
            operator: None,
            put_on: None,
            status: StreamStatus::default(),
            viewers: (None, None),
        }
    }

    /// Which attempt is going on.
    pub fn run(&self) -> Option<u64> {
        match self.phase {
            Phase::Opening { run, .. } | Phase::On { run, .. } => Some(run),
            Phase::Resting { .. } => None,
        }
    }

    /// While it runs.
    pub fn stage(&self) -> Option<&Arc<dyn OnStage>> {
        match &self.phase {
            Phase::On { stage, .. } => Some(stage),
            _ => None,
        }
    }

    pub fn opening(&mut self, run: u64, now: Ms) {
        self.phase = Phase::Opening { run, since: now };
    }

    pub fn on(&mut self, stage: Arc<dyn OnStage>, now: Ms) {
        let Some(run) = self.run() else { return };
        // A new one knows nothing of what the one before was told.
        let scene = self.put_on.take();
        (self.viewers, self.status) = ((None, None), StreamStatus::default());
        self.phase = Phase::On { run, stage, since: now };
        self.put_on(scene);
    }

    /// Shows something else from now on; a scene chosen for what was there is over.
    pub fn show(&mut self, shown: Shown) {
        self.shown = shown;
        self.operator = None;
    }

    /// Takes a pause after a failure. Returns the attempt that failed.
    pub fn rest(&mut self, words: String, now: Ms) -> Option<u64> {
        let run = self.run();
        if matches!(self.phase, Phase::On { since, .. } if now.saturating_sub(since) >= PROVEN) {
            self.failures = 0;
        }
        self.failures += 1;
        let pause = (1_000 << (self.failures - 1).min(10)).min(LONGEST_REST);
        self.status = StreamStatus::default();
        self.phase = Phase::Resting { until: now + pause, words };
        run
    }

    pub fn rested(&self, now: Ms) -> bool {
        matches!(self.phase, Phase::Resting { until, .. } if until <= now)
    }

    /// Why it must begin anew.
    pub fn broken(&self, now: Ms) -> Option<String> {
        match &self.phase {
            Phase::Opening { since, .. } if now.saturating_sub(*since) >= OPENING => Some(format!(
                "the encoder or the graphics device did not open within {} s; is a driver hanging?",
                OPENING / 1_000
            )),
            Phase::On { stage, .. } if !stage.runs() => {
                Some("the broadcast ended by a fault of its own; it begins anew".into())
            }
            _ => None,
        }
    }

    /// What is wrong with it.
    pub fn words(&self) -> Option<String> {
        match &self.phase {
            Phase::Resting { words, .. } if !words.is_empty() => Some(words.clone()),
            _ => self.status.trouble.clone(),
        }
    }

    pub fn look_at(&mut self) {
        if let Phase::On { stage, .. } = &self.phase {
            self.status = stage.status();
        }
    }

    pub fn put_on(&mut self, scene: Option<Scene>) {
        if self.put_on == scene {
            return;
        }
        if let Some(stage) = self.stage() {
            stage.scene(scene);
            self.put_on = scene;
        }
    }

    /// The number on the picture, changed once in `every` ms at most.
    pub fn set_viewers(&mut self, viewers: Option<u64>, now: Ms, every: Ms) {
        let (shown, at) = self.viewers;
        if viewers != shown
            && at.is_none_or(|at| now >= at + every)
            && let Some(stage) = self.stage()
        {
            stage.viewers(viewers);
            self.viewers = (viewers, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::streams::samples::{agent, match_};
    use crate::store::model::MatchPhase;

    #[test]
    fn an_agent_sees_its_own_side_where_it_asked_for_it_and_nobody_elses() {
        let m = match_("m", &["a", "b"], MatchPhase::Running);
        let mut own = agent("b");
        own.defaults.view = AgentView::Own;
        assert_eq!(Shown::of(&m, &own), Shown::Match { id: "m".into(), view: View::Side("1".into()) });
        assert_eq!(Shown::of(&m, &agent("b")), Shown::Match { id: "m".into(), view: View::Spectator });
        own.id = "stranger".into();
        assert_eq!(Shown::of(&m, &own), Shown::Match { id: "m".into(), view: View::Spectator });
    }

    #[test]
    fn a_size_that_has_no_layout_is_left_to_the_machine() {
        let look = |size: &str| Look { size: Some(size.into()), ..Look::of(&AgentDefaults::default()) };
        assert_eq!(look("1280x720").settings("x".into(), "veryfast").size, Some(Size::HD));
        for size in ["", "640x360", "1280", "ax1"] {
            assert_eq!(look(size).settings("x".into(), "veryfast").size, None, "{size}");
        }
    }

    #[test]
    fn pauses_between_failures_grow_and_stay_bounded() {
        let mut encode = Encode::new(1, Look::of(&AgentDefaults::default()), Shown::Nothing, 0);
        let mut pauses = Vec::new();
        for run in 0..8 {
            encode.opening(run, 0);
            assert_eq!(encode.rest("broken".into(), 0), Some(run));
            pauses.push((0..).step_by(1_000).find(|now| encode.rested(*now)).unwrap());
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    }
}
