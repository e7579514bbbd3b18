//! Signalling messages on their way out, one after the other, without making the session wait.

use livekit_protocol::signal_request::Message;
use livekit_signaling::SignalClient;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A server that takes nothing in for this many messages is gone.
const MOST: usize = 256;

enum Item {
    Message(Box<Message>),
    Reconnected,
}

#[derive(Default)]
pub(super) struct Outbox {
    items: VecDeque<Item>,
    sending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stuck: bool,
}

impl Outbox {
    pub fn push(&mut self, message: Message) {
        self.add(Item::Message(Box::new(message)));
    }

    /// Tells livekit-signaling that the session goes on.
    pub fn reconnected(&mut self) {
        self.add(Item::Reconnected);
    }

    fn add(&mut self, item: Item) {
        if self.items.len() < MOST {
            self.items.push_back(item);
        } else {
            self.stuck = true;
        }
    }

    /// Forgets everything, also what is half way out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether messages were lost because the server takes nothing in.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Sends the next message; forever while there is none. A call that is dropped goes on where it was.
    pub async fn deliver(&mut self, signal: &Arc<SignalClient>) {
        if self.sending.is_none() {
            let Some(item) = self.items.pop_front() else { return std::future::pending().await };
            let signal = signal.clone();
            self.sending = Some(Box::pin(async move {
                match item {
                    Item::Message(message) => signal.send(*message).await,
                    Item::Reconnected => signal.set_reconnected().await,
                }
            }));
        }
        if let Some(sending) = &mut self.sending {
            sending.await;
            self.sending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_protocol as proto;

    #[test]
    fn a_server_that_takes_nothing_is_noticed_and_a_fresh_start_forgets() {
        let mut outbox = Outbox::default();
        for n in 0..=MOST {
            assert!(!outbox.is_stuck(), "{n}");
            outbox.push(Message::Trickle(proto::TrickleRequest::default()));
        }
        assert!(outbox.is_stuck());
        outbox.clear();
        assert!(!outbox.is_stuck() && outbox.items.is_empty());
    }
}
