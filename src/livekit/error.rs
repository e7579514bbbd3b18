//! What a request to a LiveKit server can end in, in plain words.
//!
//! The crate `livekit-api` reads every refusal as Twirp's JSON. LiveKit's server writes the most common one, a wrong key or
//! secret, as plain text, and that text repeats the whole token. So a refusal that could not be read is asked again in a way
//! that shows the status ([`Server::explain`]), and texts of the server pass the scrubber.

use super::Server;
use crate::output::log::scrub;
use livekit_api::access_token::{AccessToken, VideoGrants};
use livekit_api::services::{ServerError as Answer, ServerErrorCode as Code, ServiceError};
use livekit_net::{Header, HttpClientExt as _, HttpResponse};
use prost::Message;
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::time::Duration;

/// Longest text of a server that is passed on, in characters.
const LONGEST_TEXT: usize = 200;
/// The second request, which finds out what the first one was refused with.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// Why a request to a LiveKit server failed, and what to do. Holds no secret, token or address with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("the LiveKit server {host} cannot be reached ({why}): check LIVEKIT_URL and that the server runs")]
    Unreachable { host: String, why: String },
    /// TLS failed: in plain words what failed.
    #[error("no secure connection to the LiveKit server: {0}")]
    Tls(String),
    #[error("the LiveKit server {host} did not answer within {} s: it is overloaded, or something swallows the packets", .after.as_secs())]
    Timeout { host: String, after: Duration },
    #[error(
        "the LiveKit server refused the API key: check LIVEKIT_API_KEY and LIVEKIT_API_SECRET, and that the clocks of this \
         host and of the server agree"
    )]
    KeyRefused,
    #[error("the LiveKit server does not allow this API key to do that")]
    NotAllowed,
    #[error("{host} answers, but not like a LiveKit server (HTTP {status}): check LIVEKIT_URL")]
    NotLiveKit { host: String, status: u16 },
    #[error("there is no such room on the LiveKit server")]
    NoRoom,
    #[error("there is no such participant in the room")]
    NoParticipant,
    /// Something else that is not there: an egress.
    #[error("the LiveKit server does not know it: {0}")]
    NotFound(String),
    #[error("no egress worker is connected to this LiveKit server: start livekit/egress with the same redis")]
    NoEgressWorker,
    /// `service`: `egress` or `ingress`.
    #[error(
        "this LiveKit server runs without redis, which its {service} service needs; set redis in its configuration"
    )]
    NoRedis { service: &'static str },
    #[error("the LiveKit server has reached a limit: {0}")]
    Limit(String),
    /// 4xx: asking again does not help.
    #[error("the LiveKit server refused the request: {0}")]
    Refused(String),
    /// 5xx.
    #[error("the LiveKit server failed: {0}")]
    Failed(String),
    #[error("the request could not be signed")]
    Sign,
    /// A name or text that was not even sent.
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
}

impl ApiError {
    /// Whether the same request may do better later, without anybody mending anything here.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            ApiError::Unreachable { .. }
                | ApiError::Timeout { .. }
                | ApiError::NoEgressWorker
                | ApiError::Limit(_)
                | ApiError::Failed(_)
        )
    }
}

impl Server {
    /// What a failed request of `livekit-api` means. `timeout`: the one that the request had.
    ///
    /// Where the answer could not be read it asks the server once more, at most `SECOND_LOOK` long.
    pub async fn explain(&self, error: ServiceError, timeout: Duration) -> ApiError {
        let host = self.host().to_owned();
        match error {
            ServiceError::Twirp(Answer::Twirp(code)) => classify(&code.code, &code.msg),
            ServiceError::Twirp(Answer::Request(error)) if error.is_timeout() => {
                ApiError::Timeout { host, after: timeout }
            }
            ServiceError::Twirp(Answer::Request(error)) if error.is_decode() => self.look_again().await,
            ServiceError::Twirp(Answer::Request(error)) => unreachable(host, &deepest(&error)),
            ServiceError::Twirp(Answer::Prost(_)) => ApiError::NotLiveKit { host, status: 200 },
            ServiceError::Twirp(Answer::Url(_)) => {
                ApiError::Unreachable { host, why: "the address cannot be read".into() }
            }
            ServiceError::AccessToken(_) | ServiceError::Env(_) => ApiError::Sign,
        }
    }

    /// The status of an answer that was no Twirp answer.
    async fn look_again(&self) -> ApiError {
        let host = self.host().to_owned();
        let grants = VideoGrants { room_list: true, ..VideoGrants::default() };
        match self.post("ListRooms", grants, "application/json", b"{}".to_vec(), SECOND_LOOK).await {
            Err(error) => error,
            Ok(answer) => match answer.status {
                401 => ApiError::KeyRefused,
                200 => ApiError::Failed("its answer could not be read".into()),
                status @ 500.. => ApiError::Failed(format!("HTTP {status}")),
                status => ApiError::NotLiveKit { host, status },
            },
        }
    }

    /// A request to RoomService with fields that `livekit-api` does not offer.
    pub(super) async fn room_service<R: Message + Default>(
        &self,
        method: &str,
        grants: VideoGrants,
        request: &impl Message,
        timeout: Duration,
    ) -> Result<R, ApiError> {
        let not_livekit = |status| ApiError::NotLiveKit { host: self.host().to_owned(), status };
        let answer = self.post(method, grants, "application/protobuf", request.encode_to_vec(), timeout).await?;
        match answer.status {
            200 => R::decode(&answer.body[..]).map_err(|_| not_livekit(200)),
            // In plain text, with the whole token in it.
            401 => Err(ApiError::KeyRefused),
            status => Err(match serde_json::from_slice::<Refusal>(&answer.body) {
                Ok(refusal) => classify(&refusal.code, &refusal.msg),
                Err(_) if status >= 500 => ApiError::Failed(format!("HTTP {status}")),
                Err(_) => not_livekit(status),
            }),
        }
    }

    async fn post(
        &self,
        method: &str,
        grants: VideoGrants,
        kind: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<HttpResponse, ApiError> {
        let host = self.host().to_owned();
        let token = AccessToken::with_api_key(self.key(), self.secret().expose_secret()).with_grants(grants);
        let (Ok(token), Some(client)) = (token.to_jwt(), livekit_net::http_client()) else {
            return Err(ApiError::Sign);
        };
        let header = |name: &str, value: String| Header { name: name.into(), value };
        let headers = vec![header("Authorization", format!("Bearer {token}")), header("Content-Type", kind.into())];
        let address = format!("{}/twirp/livekit.RoomService/{method}", self.http_url());
        match tokio::time::timeout(timeout, client.post(address, headers, body)).await {
            Err(_) => Err(ApiError::Timeout { host, after: timeout }),
            Ok(Err(error)) => Err(unreachable(host, &error.to_string())),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

/// Twirp's JSON for everything but success.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    #[serde(default)]
    msg: String,
}

/// Twirp's code and message.
fn classify(code: &str, message: &str) -> ApiError {
    let says = |words: &str| message.contains(words);
    if says("(redis required)") {
        return ApiError::NoRedis { service: if says("ingress") { "ingress" } else { "egress" } };
    }
    match code {
        // After 22 to 24 s, when no worker took the request.
        Code::UNAVAILABLE if says("no response from servers") => ApiError::NoEgressWorker,
        Code::UNAUTHENTICATED => ApiError::KeyRefused,
        Code::PERMISSION_DENIED => ApiError::NotAllowed,
        Code::NOT_FOUND if says("room does not exist") => ApiError::NoRoom,
        Code::NOT_FOUND if says("participant") => ApiError::NoParticipant,
        Code::NOT_FOUND => ApiError::NotFound(text(message)),
        Code::RESOURCE_EXHAUSTED => ApiError::Limit(text(message)),
        Code::INVALID_ARGUMENT
        | Code::MALFORMED
        | Code::ALREADY_EXISTS
        | Code::FAILED_PRECONDITION
        | Code::OUT_OF_RANGE
        | Code::BAD_ROUTE
        | Code::UNIMPLEMENTED => ApiError::Refused(text(message)),
        _ => ApiError::Failed(text(message)),
    }
}

/// `words`: what went wrong, or a chain of causes with colons between, the last of which says it.
fn unreachable(host: String, words: &str) -> ApiError {
    match tls_trouble(words, &host) {
        Some(words) => ApiError::Tls(words),
        None => ApiError::Unreachable { host, why: text(words.rsplit(": ").next().unwrap_or(words)) },
    }
}

/// What rustls means by the words of an error, and what to do; None when they are not about TLS. `host` may have a port.
pub(crate) fn tls_trouble(why: &str, host: &str) -> Option<String> {
    let why = why.to_ascii_lowercase();
    let any = |signs: &[&str]| signs.iter().any(|sign| why.contains(sign));
    Some(match () {
        () if any(&["not valid for name", "notvalidforname"]) => {
            format!("the certificate is not for {host}; use the host name that is in the certificate")
        }
        () if why.contains("certificate") && any(&["expired", "not valid yet", "notvalidyet"]) => {
            format!("the certificate of {host} is out of date, or this machine's clock is wrong")
        }
        () if any(&["certificate", "unknownissuer"]) => format!(
            "the certificate of {host} is not trusted; its authority has to be among this machine's (package \
             ca-certificates), or in a PEM file that SSL_CERT_FILE names"
        ),
        () if any(&["invalidcontenttype", "wrong version number"]) => {
            format!("{host} does not speak TLS; check the port, or write ws:// for one without TLS")
        }
        () => return None,
    })
}

/// Words of the server: without what Twirp puts in front, without secrets, of a bounded length.
fn text(message: &str) -> String {
    let message = message.strip_prefix("twirp error unknown: ").unwrap_or(message);
    let clean: String = scrub(message).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match clean.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => clean[..end].to_owned() + " …",
        None => clean,
    }
}

/// The last link of a chain of errors says what happened: "Connection refused", "invalid peer certificate".
fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_server_become_sentences_with_what_to_do() {
        for (code, message, wanted) in [
            ("unavailable", "twirp error unknown: no response from servers", ApiError::NoEgressWorker),
            (
                "internal",
                "twirp error unknown: egress not connected (redis required)",
                ApiError::NoRedis { service: "egress" },
            ),
            ("internal", "ingress not connected (redis required)", ApiError::NoRedis { service: "ingress" }),
            ("unauthenticated", "permissions denied", ApiError::KeyRefused),
            ("not_found", "twirp error unknown: requested room does not exist", ApiError::NoRoom),
            ("not_found", "twirp error unknown: participant does not exist", ApiError::NoParticipant),
            ("not_found", "egress does not exist", ApiError::NotFound("egress does not exist".into())),
            ("resource_exhausted", "x", ApiError::Limit("x".into())),
            ("invalid_argument", "twirp error unknown: too long", ApiError::Refused("too long".into())),
            ("unavailable", "psrpc", ApiError::Failed("psrpc".into())),
            ("never heard of", "y", ApiError::Failed("y".into())),
        ] {
            assert_eq!(classify(code, message), wanted, "{code} {message}");
        }
        assert!(ApiError::NoEgressWorker.to_string().contains("no egress worker is connected to this LiveKit server"));
    }

    #[test]
    fn failures_of_tls_say_what_is_wrong_with_which_certificate() {
        for (why, part) in [
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "is not trusted"),
            ("no native root CA certificates found (errors: [])", "ca-certificates"),
            ("invalid peer certificate: certificate not valid for name \"h\"; certificate is", "is not for h:443"),
            ("invalid peer certificate: NotValidForName", "is not for h:443"),
            ("invalid peer certificate: certificate expired: verification time 2 (UNIX)", "clock"),
            ("received corrupt message of type InvalidContentType", "does not speak TLS"),
        ] {
            let words = unreachable("h:443".into(), why).to_string();
            assert!(words.contains(part) && words.contains("h:443"), "{why}: {words}");
        }
    }

    #[test]
    fn of_a_chain_of_causes_the_last_one_is_told() {
        let chain = "transport connection error: error sending request for url (http://h/x): client error (Connect): tcp \
                     connect error: Connection refused (os error 111)";
        let why = "Connection refused (os error 111)".to_owned();
        assert_eq!(unreachable("h".into(), chain), ApiError::Unreachable { host: "h".into(), why });
        // Long ones are cut only once they have been understood.
        let long = format!("{}: certificate not valid for name \"h\"", "x".repeat(300));
        assert!(unreachable("h".into(), &long).to_string().contains("is not for h"));
    }

    #[test]
    fn words_of_the_server_lose_tokens_control_characters_and_their_tail() {
        let long = format!("bad eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJkZXZrZXkifQ.ImrE0eUdU\n{}", "é".repeat(500));
        let ApiError::Refused(words) = classify("invalid_argument", &long) else { panic!("no refusal") };
        assert!(words.starts_with("bad [token] éé") && words.ends_with("é …"), "{words}");
        assert!(words.chars().count() < 210);
    }
}
