//! How a stay in a room can end and what follows. Pure: classified once, from what the server or the network said, into
//! plain words and the one decision whether to come back.

use crate::livekit::ApiError;
use crate::livekit::error::tls_trouble;
use crate::output::log::scrub;
use livekit_protocol::DisconnectReason;
use livekit_protocol::leave_request::Action;
use livekit_protocol::request_response::Reason;
use livekit_signaling::SignalError;

/// Longest part of a server's own words that is passed on, bytes.
const LONGEST_WORDS: usize = 160;

/// Why a stay, or an attempt at one, is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream is over.
    Stopped,
    /// The server does not take the key. Final once it repeats: a server that is being set up says so too.
    Refused(String),
    /// Only a person can mend it; coming back would fight somebody's decision.
    Final(String),
    /// Come back with a fresh token.
    Lost(String),
}

/// What the publisher does after an [`End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stop,
    Rest(String),
    Rejoin(String),
}

/// Refusals in a row after which the key is taken to be refused.
pub(super) const REFUSALS: u32 = 3;

impl End {
    /// `refusals`: in a row, this one included.
    pub fn next(self, refusals: u32) -> Next {
        match self {
            End::Stopped => Next::Stop,
            End::Refused(words) if refusals >= REFUSALS => Next::Rest(words),
            End::Final(words) => Next::Rest(words),
            End::Refused(words) | End::Lost(words) => Next::Rejoin(words),
        }
    }
}

/// What the server's Leave asks for; None: resume.
pub(super) fn after_leave(reason: DisconnectReason, action: Action, identity: &str) -> Option<End> {
    use DisconnectReason as R;
    let lost = |words: &str| Some(End::Lost(words.to_owned()));
    match reason {
        R::DuplicateIdentity => Some(taken_over(identity)),
        R::ParticipantRemoved => {
            Some(End::Final("removed from the room by an operator; start the stream again to come back".to_owned()))
        }
        R::RoomDeleted => Some(End::Final("the room was deleted; start the stream again to open it anew".to_owned())),
        _ if action == Action::Resume => None,
        R::ServerShutdown => lost("the LiveKit server shuts down"),
        R::StateMismatch => lost("the LiveKit server no longer knows this session"),
        R::JoinFailure => lost("the LiveKit server saw no media connection; check UDP and TCP to its media ports"),
        R::Migration => lost("the LiveKit server moves the room"),
        R::RoomClosed => lost("the room was closed"),
        R::ConnectionTimeout | R::MediaFailure => lost("the LiveKit server lost the media connection"),
        _ => lost("the LiveKit server ended the session"),
    }
}

pub(super) fn taken_over(identity: &str) -> End {
    End::Final(format!(
        "taken over: another publisher is in the room as {identity:?}; stop one of the two, or give this one another identity"
    ))
}

/// A failure of signalling. `host` is the server's.
pub(super) fn from_signal(error: &SignalError, host: &str, identity: &str) -> End {
    match error {
        SignalError::Client(status, words) => refused(status.as_u16(), words, host),
        SignalError::Handshake { status } => {
            End::Lost(format!("the LiveKit server at {host} refuses the websocket (HTTP {})", status.as_u16()))
        }
        SignalError::Server(status, words) => {
            End::Lost(format!("the LiveKit server at {host} failed (HTTP {}{})", status.as_u16(), said(words)))
        }
        SignalError::Connection(words) => End::Lost(unreachable(words, host)),
        SignalError::Timeout(_) => End::Lost(format!("the LiveKit server at {host} does not answer")),
        SignalError::Closed | SignalError::SendError => {
            End::Lost(format!("the LiveKit server at {host} broke off the connection"))
        }
        SignalError::LeaveRequest { reason, action } => after_leave(*reason, *action, identity)
            .unwrap_or_else(|| End::Lost("the LiveKit server did not resume the session".to_owned())),
        SignalError::UrlParse(_) => End::Final("the LiveKit address is not valid (LIVEKIT_URL)".to_owned()),
        SignalError::ProtoParse(_) => {
            End::Lost(format!("{host} does not speak LiveKit's protocol; check the address (LIVEKIT_URL)"))
        }
        SignalError::RegionError(words) => End::Lost(format!("no region of {host} answers{}", said(words))),
        other => End::Lost(format!("signalling with {host} failed{}", said(&other.to_string()))),
    }
}

/// Whether a resume is pointless after this error: the server has answered and does not go on with the session.
pub(super) fn ends_resume(error: &SignalError) -> bool {
    matches!(
        error,
        SignalError::LeaveRequest { .. }
            | SignalError::Handshake { .. }
            | SignalError::Client(..)
            | SignalError::Server(..)
            | SignalError::UrlParse(_)
            | SignalError::TokenFormat
    )
}

/// A failure of the server's API.
pub(super) fn from_api(error: &ApiError) -> End {
    match error {
        ApiError::KeyRefused => End::Refused(format!("key refused: {error}")),
        ApiError::NotAllowed | ApiError::Sign | ApiError::Field { .. } => End::Final(error.to_string()),
        _ => End::Lost(error.to_string()),
    }
}

/// A refused AddTrack: `track` is `picture` or `sound`.
pub(super) fn track_refused(track: &str, reason: Reason, words: &str) -> End {
    let words = said(words);
    match reason {
        Reason::NotAllowed => {
            End::Final(format!("the server does not allow this participant to publish {track}{words}"))
        }
        Reason::UnsupportedType => End::Final(format!(
            "the server's room takes no {track} in this codec{words}; enable H.264 and Opus in its room settings"
        )),
        Reason::LimitExceeded => End::Lost(format!("the server has no room for {track} (limit exceeded){words}")),
        reason => End::Lost(format!("the server refuses {track} ({}){words}", reason.as_str_name())),
    }
}

fn refused(status: u16, words: &str, host: &str) -> End {
    let lower = words.to_ascii_lowercase();
    match status {
        404 if lower.contains("room") => {
            End::Lost(format!("the room does not exist at {host} and is not opened by itself; create it first"))
        }
        429 => End::Lost(format!("the LiveKit server at {host} takes no more participants now{}", said(words))),
        401 | 403 if lower.contains("expired") || lower.contains("not valid yet") || lower.contains("nbf") => {
            End::Refused(format!(
                "key refused: {host} finds the token out of date; set this machine's clock (and the server's)"
            ))
        }
        401 | 403 => End::Refused(format!(
            "key refused: {host} does not accept the API key or its secret; check LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
        )),
        _ => End::Lost(format!("the LiveKit server at {host} refuses the connection (HTTP {status}{})", said(words))),
    }
}

fn unreachable(words: &str, host: &str) -> String {
    let lower = words.to_ascii_lowercase();
    let any = |signs: &[&str]| signs.iter().any(|s| lower.contains(s));
    if any(&["lookup", "name or service", "dns error", "nodename"]) {
        return format!("the host name {host} is not known; check the spelling and this machine's DNS");
    }
    if let Some(words) = tls_trouble(words, host) {
        return words;
    }
    if any(&["refused"]) {
        return format!("{host} refuses connections; check the port and that the LiveKit server is running");
    }
    if any(&["unreachable", "no route"]) {
        return format!("there is no route to {host}; check this machine's network");
    }
    format!("no connection to the LiveKit server at {host}{}", said(words))
}

/// ` (it says: …)`, or nothing.
fn said(words: &str) -> String {
    let words = redact(words);
    if words.is_empty() { String::new() } else { format!(" (it says: {words})") }
}

/// A foreign text without secrets and tokens, in one line of bounded length. livekit-signaling's 401 holds the whole JWT.
pub(super) fn redact(words: &str) -> String {
    let clean: String = scrub(words).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out = clean.trim_matches([':', ' ']).to_owned();
    if out.len() > LONGEST_WORDS {
        out.truncate(out.floor_char_boundary(LONGEST_WORDS));
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_signaling::SignalError as S;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl-canary";

    fn status(code: u16) -> axum::http::StatusCode {
        axum::http::StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn a_refused_token_never_reaches_the_words_and_stops_the_destination_once_it_repeats() {
        let end = from_signal(&S::Client(status(401), format!("invalid token: {JWT}, error: bad")), "h:7880", "me");
        assert!(matches!(&end, End::Refused(words) if words.contains("LIVEKIT_API_SECRET") && !words.contains("eyJ")));
        assert!(matches!(end.clone().next(1), Next::Rejoin(_)));
        assert!(matches!(end.next(REFUSALS), Next::Rest(_)));
        for code in [400, 404, 429, 500, 503] {
            let text = format!("no: {JWT}, token={JWT}");
            let error = if code < 500 { S::Client(status(code), text) } else { S::Server(status(code), text) };
            let End::Lost(words) = from_signal(&error, "h", "me") else { panic!("{code}") };
            assert!(!words.contains("canary"), "{words}");
        }
    }

    #[test]
    fn an_expired_token_points_at_the_clock() {
        let end = from_signal(&S::Client(status(401), "token is expired (exp)".into()), "h", "me");
        assert!(matches!(end, End::Refused(words) if words.contains("clock")));
    }

    #[test]
    fn a_taken_identity_a_removal_and_a_deleted_room_are_final_whatever_the_action() {
        use DisconnectReason as R;
        for (reason, word) in
            [(R::DuplicateIdentity, "taken over: "), (R::ParticipantRemoved, "removed"), (R::RoomDeleted, "deleted")]
        {
            for action in [Action::Disconnect, Action::Resume, Action::Reconnect] {
                let end = after_leave(reason, action, "me");
                assert!(matches!(&end, Some(End::Final(words)) if words.contains(word)), "{end:?}");
                let error = S::LeaveRequest { reason, action };
                assert!(matches!(from_signal(&error, "h", "me"), End::Final(_)));
            }
        }
    }

    #[test]
    fn other_leaves_resume_or_rejoin_as_asked() {
        use DisconnectReason as R;
        assert_eq!(after_leave(R::UnknownReason, Action::Resume, "me"), None);
        for reason in [R::ServerShutdown, R::StateMismatch, R::Migration, R::RoomClosed, R::UnknownReason] {
            assert!(matches!(after_leave(reason, Action::Disconnect, "me"), Some(End::Lost(_))));
        }
    }

    #[test]
    fn an_answer_of_the_server_ends_a_resume_and_a_broken_network_does_not() {
        assert!(ends_resume(&S::Handshake { status: status(404) }));
        assert!(ends_resume(&S::Client(status(401), String::new())));
        assert!(!ends_resume(&S::Connection("refused".into())) && !ends_resume(&S::Timeout(String::new())));
        assert!(!ends_resume(&S::Closed));
    }

    #[test]
    fn network_failures_say_what_to_check() {
        for (said, word) in [
            ("IO error: Connection refused (os error 111)", "running"),
            ("IO error: failed to lookup address information: Name or service not known", "spelling"),
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("Network is unreachable", "network"),
            ("something odd", "it says: something odd"),
        ] {
            let End::Lost(words) = from_signal(&S::Connection(said.into()), "h:1", "me") else { panic!("{said}") };
            assert!(words.contains(word) && words.contains("h:1"), "{words}");
        }
    }

    #[test]
    fn the_api_refusing_the_key_counts_as_a_refusal_and_a_server_that_is_away_does_not() {
        assert!(matches!(from_api(&ApiError::KeyRefused), End::Refused(words) if words.starts_with("key refused")));
        let away = ApiError::Unreachable { host: "h".into(), why: "x".into() };
        assert!(matches!(from_api(&away), End::Lost(_)));
        assert!(matches!(from_api(&ApiError::Field { field: "room", problem: "long".into() }), End::Final(_)));
    }

    #[test]
    fn foreign_words_are_one_short_line() {
        assert!(redact(&"word\n".repeat(500)).len() < LONGEST_WORDS + 8);
        assert_eq!(redact("a\nb\u{7}c"), "a b c");
        assert_eq!(redact(&format!("x {JWT} y?access_token={JWT}")), "x [token] y?access_token=[token]");
    }
}
