//! Join tokens: who may do what in a room.
//!
//! | role | joins | publishes | subscribes | data (chat) | more | lives for (at most) |
//! |---|---|---|---|---|---|---|
//! | publisher | that room | all sources | no | yes | may change its own name, metadata and attributes | 10 min (60 min) |
//! | viewer | that room | no | yes | with `chat` | – | 1 h (6 h) |
//! | guest | that room | camera and microphone, once `approved` | yes | with `chat` | – | 1 h (6 h) |
//! | operator | that room | no | yes | no | room admin; hidden from the others | 1 h (6 h) |
//!
//! A token's life ends its use for joining only: who has joined stays, and resumes with tokens that the server renews. So a
//! publisher's is short: agentcast signs a new one for every join.
//!
//! An operator is hidden because it is staff, not audience: viewers' pages do not list it and no count has it. It acts through
//! RoomService (mute, remove, change permissions), which its room admin grant opens for that one room, so it needs neither
//! tracks nor data of its own; a hidden participant's messages would arrive without a sender.

use super::Server;
use super::rooms::{DEPARTURE_TIMEOUT, EMPTY_TIMEOUT};
use livekit_api::access_token::{AccessToken, VideoGrants};
use livekit_protocol::RoomConfiguration;
use secrecy::{ExposeSecret, SecretString};
use std::str::FromStr;
use std::time::Duration;

/// Names of rooms, identities and participants, in bytes of UTF-8: what LiveKit's server takes unless configured otherwise.
pub const NAME_BYTES: usize = 256;
/// Metadata in a token, in bytes. A token travels in an address (`access_token=`), of which proxies take 8 KiB; the server
/// itself takes 64,000 bytes of metadata by other ways.
pub const METADATA_BYTES: usize = 2_048;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// What a participant is there for; decides its grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// agentcast itself: publishes the picture and the sound, sends data, subscribes to nothing.
    Publisher,
    /// Watches. Sends data only where `chat` is on.
    Viewer,
    /// Watches, and publishes once `approved`.
    Guest,
    /// Room admin: sees, mutes and removes participants. Hidden.
    Operator,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Publisher, Role::Viewer, Role::Guest, Role::Operator];

    /// `publisher`, `viewer`, `guest` or `operator`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Publisher => "publisher",
            Role::Viewer => "viewer",
            Role::Guest => "guest",
            Role::Operator => "operator",
        }
    }

    /// How long its tokens live unless the request says otherwise.
    pub fn default_ttl(self) -> Duration {
        match self {
            Role::Publisher => 10 * MINUTE,
            Role::Viewer | Role::Guest | Role::Operator => HOUR,
        }
    }

    /// The longest life of its tokens.
    pub fn longest_ttl(self) -> Duration {
        match self {
            Role::Publisher => 60 * MINUTE,
            Role::Viewer | Role::Guest | Role::Operator => 6 * HOUR,
        }
    }
}

impl FromStr for Role {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Role, TokenError> {
        let problem = || "must be publisher, viewer, guest or operator".to_owned();
        Role::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| TokenError::Field { field: "role", problem: problem() })
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub role: Role,
    /// 1 to [`NAME_BYTES`] bytes, no control characters, no white space at the ends; so is the identity.
    pub room: String,
    /// Fixed per participant: a second one of the same identity takes its place.
    pub identity: String,
    /// Display name; may be empty.
    pub name: String,
    /// Viewers and guests may send data (chat).
    pub chat: bool,
    /// The guest may publish.
    pub approved: bool,
    /// None: [`Role::default_ttl`]. Less than a second or more than [`Role::longest_ttl`] is refused.
    pub ttl: Option<Duration>,
    /// JSON for the participant's metadata; may be empty. At most [`METADATA_BYTES`].
    pub metadata: String,
}

impl TokenRequest {
    /// The least that a token needs: no display name, chat, approval or metadata, the role's own life.
    pub fn new(role: Role, room: impl Into<String>, identity: impl Into<String>) -> TokenRequest {
        TokenRequest {
            role,
            room: room.into(),
            identity: identity.into(),
            name: String::new(),
            chat: false,
            approved: false,
            ttl: None,
            metadata: String::new(),
        }
    }

    fn grants(&self) -> VideoGrants {
        let room = VideoGrants {
            room_join: true,
            room: self.room.clone(),
            can_publish: Some(false),
            can_subscribe: Some(true),
            can_publish_data: Some(false),
            can_update_own_metadata: Some(false),
            ..VideoGrants::default()
        };
        match self.role {
            Role::Publisher => VideoGrants {
                can_publish: Some(true),
                can_subscribe: Some(false),
                can_publish_data: Some(true),
                can_update_own_metadata: Some(true),
                ..room
            },
            Role::Viewer => VideoGrants { can_publish_data: Some(self.chat), ..room },
            Role::Guest => VideoGrants {
                can_publish: Some(self.approved),
                // Sources win over `can_publish` where they are set.
                can_publish_sources: if self.approved {
                    vec!["camera".into(), "microphone".into()]
                } else {
                    Vec::new()
                },
                can_publish_data: Some(self.chat),
                ..room
            },
            Role::Operator => VideoGrants { room_admin: true, hidden: true, ..room },
        }
    }
}

/// Why a token was not made. Names the field and its limit, never what was in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
    #[error("the token could not be signed")]
    Sign,
}

impl Server {
    /// Signs a join token.
    ///
    /// # Errors
    /// The first field that is out of its limits.
    pub fn token(&self, request: &TokenRequest) -> Result<SecretString, TokenError> {
        check_name("room", &request.room)?;
        check_name("identity", &request.identity)?;
        if !request.name.is_empty() {
            check_name("name", &request.name)?;
        }
        let refuse = |field, problem| Err(TokenError::Field { field, problem });
        if request.metadata.len() > METADATA_BYTES {
            return refuse("metadata", format!("at most {METADATA_BYTES} bytes, not {}", request.metadata.len()));
        }
        let (ttl, longest) = (request.ttl.unwrap_or(request.role.default_ttl()), request.role.longest_ttl());
        if ttl < Duration::from_secs(1) || ttl > longest {
            let minutes = longest.as_secs() / 60;
            return refuse("ttl", format!("1 second to {minutes} minutes for a {}", request.role.name()));
        }
        let token = AccessToken::with_api_key(self.key(), self.secret().expose_secret())
            .with_identity(&request.identity)
            .with_name(&request.name)
            .with_metadata(&request.metadata)
            .with_ttl(ttl)
            .with_grants(request.grants())
            .with_room_config(room_config());
        // The error could only repeat what was checked above.
        token.to_jwt().map(SecretString::from).map_err(|_| TokenError::Sign)
    }
}

/// How the server makes the room when whoever joins first finds none: as [`Rooms::ensure`](super::rooms::Rooms::ensure) does.
/// Viewers' pages are often open before the stream begins.
fn room_config() -> RoomConfiguration {
    RoomConfiguration {
        empty_timeout: EMPTY_TIMEOUT.as_secs() as u32,
        departure_timeout: DEPARTURE_TIMEOUT.as_secs() as u32,
        sync_streams: true,
        ..RoomConfiguration::default()
    }
}

/// Rooms, identities and display names.
pub(super) fn check_name(field: &'static str, text: &str) -> Result<(), TokenError> {
    let problem = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.len() > NAME_BYTES {
        format!("at most {NAME_BYTES} bytes, not {}", text.len())
    } else if text.chars().any(char::is_control) {
        "must not have control characters (line ends, tabs)".to_owned()
    } else if text.trim().len() < text.len() {
        "must not begin or end with white space".to_owned()
    } else {
        return Ok(());
    };
    Err(TokenError::Field { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_api::access_token::{Claims, TokenVerifier};
    use serde_json::{Value, json};

    const SECRET: &str = "token-canary-secret-of-forty-characters!";

    fn server() -> Server {
        Server::new("ws://127.0.0.1:7880", "APIkey", SecretString::from(SECRET)).unwrap()
    }

    /// What the server would read, with the signature checked.
    fn claims(request: &TokenRequest) -> Claims {
        let token = server().token(request).unwrap();
        TokenVerifier::with_api_key("APIkey", SECRET).verify(token.expose_secret()).unwrap()
    }

    /// All the grants that are in the token.
    fn grants(request: &TokenRequest) -> Value {
        serde_json::to_value(claims(request).video).unwrap()
    }

    #[test]
    fn every_role_gets_the_grants_of_its_row_and_no_others() {
        let of = |role| TokenRequest::new(role, "final", "me");
        assert_eq!(
            grants(&of(Role::Publisher)),
            json!({"roomJoin": true, "room": "final", "canPublish": true, "canSubscribe": false,
                   "canPublishData": true, "canUpdateOwnMetadata": true})
        );
        let watches = |chat: bool| {
            json!({"roomJoin": true, "room": "final", "canPublish": false, "canSubscribe": true,
                   "canPublishData": chat, "canUpdateOwnMetadata": false})
        };
        assert_eq!(grants(&of(Role::Viewer)), watches(false));
        assert_eq!(grants(&TokenRequest { chat: true, ..of(Role::Viewer) }), watches(true));
        assert_eq!(grants(&of(Role::Guest)), watches(false));
        assert_eq!(
            grants(&TokenRequest { chat: true, approved: true, ..of(Role::Guest) }),
            json!({"roomJoin": true, "room": "final", "canPublish": true, "canSubscribe": true, "canPublishData": true,
                   "canPublishSources": ["camera", "microphone"], "canUpdateOwnMetadata": false})
        );
        assert_eq!(
            grants(&of(Role::Operator)),
            json!({"roomJoin": true, "roomAdmin": true, "hidden": true, "room": "final", "canPublish": false,
                   "canSubscribe": true, "canPublishData": false, "canUpdateOwnMetadata": false})
        );
    }

    #[test]
    fn approval_and_chat_give_nothing_to_roles_they_are_not_for() {
        for role in [Role::Publisher, Role::Operator] {
            let plain = TokenRequest::new(role, "final", "me");
            assert_eq!(grants(&TokenRequest { chat: true, approved: true, ..plain.clone() }), grants(&plain));
        }
        let viewer = TokenRequest::new(Role::Viewer, "final", "me");
        assert_eq!(grants(&TokenRequest { approved: true, ..viewer.clone() }), grants(&viewer));
    }

    #[test]
    fn a_token_says_who_it_is_for_and_whose_it_is() {
        let request = TokenRequest {
            name: "Ada 🏆".into(),
            metadata: r#"{"agent":"x"}"#.into(),
            ..TokenRequest::new(Role::Viewer, "final", "ada")
        };
        let claims = claims(&request);
        assert_eq!((&*claims.iss, &*claims.sub, &*claims.name), ("APIkey", "ada", "Ada 🏆"));
        assert_eq!(claims.metadata, r#"{"agent":"x"}"#);
    }

    #[test]
    fn room_that_a_viewer_opens_is_the_same_as_the_streams_own() {
        let config = claims(&TokenRequest::new(Role::Viewer, "r", "i")).room_config.expect("it says how");
        assert!(config.sync_streams && config.departure_timeout >= 90 && config.empty_timeout >= 90, "{config:?}");
    }

    #[test]
    fn tokens_live_as_long_as_asked_within_the_limits_of_the_role() {
        let life = |role, ttl| {
            let claims = claims(&TokenRequest { ttl, ..TokenRequest::new(role, "r", "i") });
            // The clock may tick between the two.
            (claims.exp - claims.nbf) as u64
        };
        let near = |life: u64, wanted: Duration| life.abs_diff(wanted.as_secs()) <= 1;
        for role in Role::ALL {
            assert!(near(life(role, None), role.default_ttl()));
            assert!(near(life(role, Some(role.longest_ttl())), role.longest_ttl()));
            for ttl in [Duration::ZERO, role.longest_ttl() + Duration::from_secs(1), Duration::MAX] {
                let request = TokenRequest { ttl: Some(ttl), ..TokenRequest::new(role, "r", "i") };
                let words = server().token(&request).unwrap_err().to_string();
                assert!(words.starts_with("ttl: 1 second to ") && words.contains(role.name()), "{words}");
            }
        }
        assert!(Role::Publisher.longest_ttl() <= HOUR && Role::Viewer.longest_ttl() <= 6 * HOUR);
    }

    #[test]
    fn names_out_of_their_limits_are_refused_by_field() {
        let long = "é".repeat(NAME_BYTES / 2 + 1);
        for (text, part) in [
            ("", "empty"),
            (&*long, "256 bytes, not 258"),
            ("a\nb", "control"),
            ("a\u{7f}", "control"),
            (" a", "white space"),
        ] {
            let of = |room: &str, identity: &str| {
                server().token(&TokenRequest::new(Role::Viewer, room, identity)).unwrap_err().to_string()
            };
            for (words, field) in [(of(text, "i"), "room: "), (of("r", text), "identity: ")] {
                assert!(words.starts_with(field) && words.contains(part), "{words}");
            }
        }
        let longest = "é".repeat(NAME_BYTES / 2);
        let request = TokenRequest { name: longest.clone(), ..TokenRequest::new(Role::Viewer, &longest, &longest) };
        assert!(server().token(&request).is_ok());
        assert!(server().token(&TokenRequest { name: "a\tb".into(), ..request.clone() }).is_err());
        let metadata = "x".repeat(METADATA_BYTES + 1);
        let words = server().token(&TokenRequest { metadata, ..request }).unwrap_err().to_string();
        assert_eq!(words, "metadata: at most 2048 bytes, not 2049");
    }

    #[test]
    fn a_short_secret_signs_too() {
        let server = Server::new("ws://127.0.0.1:7880", "devkey", SecretString::from("secret")).unwrap();
        let token = server.token(&TokenRequest::new(Role::Viewer, "r", "i")).unwrap();
        assert!(TokenVerifier::with_api_key("devkey", "secret").verify(token.expose_secret()).is_ok());
    }

    #[test]
    fn a_token_in_a_request_or_its_error_does_not_print() {
        let token = server().token(&TokenRequest::new(Role::Viewer, "r", "i")).unwrap();
        assert!(!format!("{token:?}").contains("eyJ"));
        assert_eq!(crate::output::log::scrub(&format!("at {}!", token.expose_secret())), "at [token]!");
    }

    #[test]
    fn roles_are_read_by_name() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("admin".parse::<Role>().unwrap_err().to_string().contains("publisher, viewer, guest or operator"));
    }
}
