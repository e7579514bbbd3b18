//! What the viewers' pages are told: the match as data messages, titles as metadata.

use super::RoomTarget;
use super::data::Outgoing;
use crate::game::MatchState;
use crate::livekit::rooms::RoomMetadata;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// Longest title or name in metadata, bytes: a join token carries them in its address.
const LONGEST_NAME: usize = 256;

/// The newest state of the match, and what was told of it. Outlives a stay.
pub(super) struct News {
    states: watch::Receiver<Option<Arc<MatchState>>>,
    /// The stream's own title, where it has one.
    title: String,
    agent: String,
    instance: String,
    /// The match's title as it was told last.
    told: String,
}

/// Texts for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub room: RoomMetadata,
    /// JSON: `agent`, `title`, and `instance`, which tells two runs of agentcast apart.
    pub participant: String,
}

impl News {
    pub fn new(target: &RoomTarget, instance: &str, states: watch::Receiver<Option<Arc<MatchState>>>) -> Self {
        Self {
            states,
            title: clip(&target.title),
            agent: clip(&target.name),
            instance: instance.to_owned(),
            told: String::new(),
        }
    }

    /// A stay has begun: nobody knows anything.
    pub fn joined(&mut self) {
        self.states.mark_changed();
    }

    /// Waits for a newer state. Only the newest is ever seen.
    pub async fn arrives(&mut self) {
        if self.states.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Messages about what is new, for everybody.
    pub fn changes(&mut self) -> Vec<Outgoing> {
        Vec::new()
    }

    /// All of it, for one who has just come.
    pub fn snapshot_for(&mut self, _identity: String) -> Vec<Outgoing> {
        Vec::new()
    }

    pub fn metadata(&mut self) -> Metadata {
        self.told = self.match_title();
        let title = if self.title.is_empty() { self.told.clone() } else { self.title.clone() };
        let participant = json!({ "agent": self.agent, "title": title, "instance": self.instance }).to_string();
        Metadata { room: RoomMetadata { title, agent: self.agent.clone() }, participant }
    }

    /// The metadata, when the title has changed since it was last told.
    pub fn new_metadata(&mut self) -> Option<Metadata> {
        let changed = self.title.is_empty() && self.match_title() != self.told;
        changed.then(|| self.metadata())
    }

    fn match_title(&self) -> String {
        let state = self.states.borrow();
        let Some(board) = state.as_ref().map(|s| &s.board) else { return self.told.clone() };
        clip(&[&*board.title, &*board.round].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" · "))
    }
}

fn clip(text: &str) -> String {
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.truncate(clean.floor_char_boundary(LONGEST_NAME));
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::livekit::Server;

    fn news(title: &str) -> (News, watch::Sender<Option<Arc<MatchState>>>) {
        let target = RoomTarget {
            server: Server::new("ws://127.0.0.1:7880", "devkey", "secret".into()).unwrap(),
            room: "r".into(),
            identity: "i".into(),
            name: "Ada".into(),
            title: title.into(),
        };
        let (sender, receiver) = watch::channel(None);
        (News::new(&target, "run-1", receiver), sender)
    }

    fn state(title: &str, round: &str) -> Option<Arc<MatchState>> {
        let mut state = MatchState::default();
        (state.board.title, state.board.round) = (title.into(), round.into());
        Some(Arc::new(state))
    }

    #[test]
    fn a_stream_without_a_title_takes_the_match_s_and_tells_each_change_once() {
        let (mut news, states) = news("");
        assert_eq!(news.metadata().room.title, "");
        states.send_replace(state("Agent Open", "Final"));
        let told = news.new_metadata().unwrap();
        assert_eq!((&*told.room.title, &*told.room.agent), ("Agent Open · Final", "Ada"));
        assert!(told.participant.contains("run-1") && told.participant.contains("Agent Open · Final"));
        assert_eq!(news.new_metadata(), None);
        states.send_replace(state("Agent Open", ""));
        assert_eq!(news.new_metadata().unwrap().room.title, "Agent Open");
    }

    #[test]
    fn a_title_of_the_stream_s_own_stays() {
        let (mut news, states) = news("Night shift");
        states.send_replace(state("Agent Open", "Final"));
        assert_eq!((news.metadata().room.title, news.new_metadata()), ("Night shift".to_owned(), None));
    }

    #[test]
    fn whatever_the_title_the_participant_s_metadata_fits_into_a_token() {
        for title in ["\"\\".repeat(4_000), "🏆".repeat(4_000), "\n".repeat(4_000)] {
            let (mut news, _states) = news(&title);
            assert!(news.metadata().participant.len() <= crate::livekit::token::METADATA_BYTES);
        }
    }
}
