//! What the viewers' pages are told: the match as data messages, titles as metadata.

use super::RoomTarget;
use super::data::Outgoing;
use super::relay::{Message, Relay, STREAM_TOPIC};
use crate::game::MatchState;
use crate::livekit::rooms::RoomMetadata;
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Longest title or name in metadata, bytes: a join token carries them in its address.
const LONGEST_NAME: usize = 256;

/// The newest state of the match, and what was told of it. Outlives a stay.
pub(super) struct News {
    states: watch::Receiver<Option<Arc<MatchState>>>,
    /// None: no data packets are wanted.
    relay: Option<Relay>,
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
    /// `data`: messages are wanted, not only metadata.
    pub fn new(
        target: &RoomTarget,
        instance: &str,
        data: bool,
        states: watch::Receiver<Option<Arc<MatchState>>>,
    ) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            states,
            relay: data.then(|| Relay::new(epoch)),
            title: clip(&target.title),
            agent: clip(&target.name),
            instance: instance.to_owned(),
            told: String::new(),
        }
    }

    /// Waits for a newer state, or until something is due to be told. Of several states only the newest is seen.
    pub async fn arrives(&mut self) {
        let due = self.relay.as_ref().and_then(Relay::due);
        let due = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.states.changed() => match changed {
                Ok(()) => {
                    let state = self.states.borrow_and_update().clone();
                    if let (Some(relay), Some(state)) = (&mut self.relay, state) {
                        relay.show(&state, Instant::now());
                    }
                }
                // The destination is being dropped.
                Err(_) => std::future::pending().await,
            },
            () = due => {}
        }
    }

    /// Messages about what is new, for everybody.
    pub fn changes(&mut self) -> Vec<Outgoing> {
        let messages = self.relay.as_mut().map(|relay| relay.poll(Instant::now())).unwrap_or_default();
        addressed(messages, &[])
    }

    /// All that is known, and that the stream is live: for one who has just come, or for everybody (nobody named) after a
    /// rejoin, since some may have missed a part.
    pub fn snapshot(&mut self, to: &[String]) -> Vec<Outgoing> {
        let Some(relay) = &mut self.relay else { return Vec::new() };
        let mut messages = vec![stream_state("live")];
        messages.extend(relay.snapshot());
        addressed(messages, to)
    }

    /// The stream is over.
    pub fn end(&self) -> Vec<Outgoing> {
        if self.relay.is_some() { addressed(vec![stream_state("ended")], &[]) } else { Vec::new() }
    }

    /// Why pages do not know the newest state.
    pub fn trouble(&self) -> Option<String> {
        self.relay.as_ref()?.trouble().map(str::to_owned)
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

fn stream_state(state: &str) -> Message {
    let payload = json!({ "v": 1, "state": state }).to_string().into_bytes();
    Message { topic: STREAM_TOPIC, reliable: true, payload }
}

fn addressed(messages: Vec<Message>, to: &[String]) -> Vec<Outgoing> {
    let address = |m: Message| Outgoing { topic: m.topic, reliable: m.reliable, payload: m.payload, to: to.to_vec() };
    messages.into_iter().map(address).collect()
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
    use crate::output::livekit::relay::STATE_TOPIC;

    fn news(title: &str) -> (News, watch::Sender<Option<Arc<MatchState>>>) {
        let target = RoomTarget {
            server: Server::new("ws://127.0.0.1:7880", "devkey", "secret".into()).unwrap(),
            room: "r".into(),
            identity: "i".into(),
            name: "Ada".into(),
            title: title.into(),
        };
        let (sender, receiver) = watch::channel(None);
        (News::new(&target, "run-1", true, receiver), sender)
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
    fn a_joiner_is_told_that_the_stream_is_live_and_what_the_match_is() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (mut news, states) = news("");
        let topics = |messages: Vec<Outgoing>| messages.iter().map(|m| m.topic).collect::<Vec<_>>();
        assert_eq!(topics(news.snapshot(&[])), [STREAM_TOPIC], "no match yet");
        let mut state = MatchState { started: true, ..(*state("Open", "").unwrap()).clone() };
        state.match_id = "m1".into();
        states.send_replace(Some(Arc::new(state)));
        runtime.block_on(news.arrives());
        assert_eq!(topics(news.changes()), [STATE_TOPIC]);
        let to_ada = news.snapshot(&["ada".into()]);
        assert!(to_ada.iter().all(|m| m.to == ["ada"]));
        assert_eq!(topics(to_ada), [STREAM_TOPIC, STATE_TOPIC]);
        assert_eq!(news.end()[0].payload, br#"{"state":"ended","v":1}"#);
    }

    #[test]
    fn whatever_the_title_the_participant_s_metadata_fits_into_a_token() {
        for title in ["\"\\".repeat(4_000), "🏆".repeat(4_000), "\n".repeat(4_000)] {
            let (mut news, _states) = news(&title);
            assert!(news.metadata().participant.len() <= crate::livekit::token::METADATA_BYTES);
        }
    }
}
