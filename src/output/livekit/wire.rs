//! SDP and candidates as signalling carries them.

use livekit_protocol as proto;
use proto::signal_request::Message as Request;

/// A local candidate on its way to the server.
pub(super) fn trickle(candidate: &str, target: proto::SignalTarget) -> Request {
    let init = serde_json::json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0 });
    Request::Trickle(proto::TrickleRequest {
        candidate_init: init.to_string(),
        target: target as i32,
        ..Default::default()
    })
}

pub(super) fn description(kind: &str, sdp: String) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.to_owned(), sdp, ..Default::default() }
}

/// The candidate line in the JSON of RTCIceCandidateInit; None for the end of candidates.
pub(super) fn candidate_of(init: &str) -> Option<String> {
    let init: serde_json::Value = serde_json::from_str(init).ok()?;
    init.get("candidate")?.as_str().filter(|c| !c.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_survive_the_way_there_and_the_end_of_candidates_is_none() {
        let line = "candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host";
        let Request::Trickle(message) = trickle(line, proto::SignalTarget::Publisher) else { panic!("a trickle") };
        assert_eq!(candidate_of(&message.candidate_init).as_deref(), Some(line));
        for nothing in [r#"{"candidate":""}"#, "{}", "", "not json", r#"{"candidate":7}"#] {
            assert_eq!(candidate_of(nothing), None, "{nothing}");
        }
    }
}
