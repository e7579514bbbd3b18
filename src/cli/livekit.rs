//! LiveKit on the command line: the server from the environment, `token`, and how the demo is watched.

use super::{Token, usage};
use crate::livekit::Server;
use crate::livekit::token::{Role, TokenError, TokenRequest};
use crate::output::livekit::RoomTarget;
use crate::stream::Joiners;
use anyhow::Context;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// The key's two halves come from the environment alone: arguments can be read by others on the host.
const KEY: &str = "LIVEKIT_API_KEY";
const SECRET: &str = "LIVEKIT_API_SECRET";
/// A token does not say which server it is for; signing needs none.
const ANY_SERVER: &str = "ws://127.0.0.1:7880";

#[derive(Args, Debug)]
pub struct ServerArgs {
    /// LiveKit server: wss://HOST. Its key is read from LIVEKIT_API_KEY and LIVEKIT_API_SECRET
    #[arg(long, value_name = "URL", env = "LIVEKIT_URL", hide_env_values = true)]
    livekit_url: Option<String>,
}

impl ServerArgs {
    /// The server with its key; what is missing is named.
    pub fn server(&self) -> anyhow::Result<Server> {
        let url = self.livekit_url.as_deref().filter(|url| !url.trim().is_empty());
        server(url)
    }

    /// Whether anything of it is set.
    pub fn given(&self) -> bool {
        self.livekit_url.as_ref().is_some_and(|url| !url.trim().is_empty()) || variable(KEY).is_some()
    }
}

#[derive(Args, Debug)]
pub struct RoomArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Publish into this LiveKit room
    #[arg(long, value_name = "ROOM")]
    pub livekit_room: Option<String>,
    /// Who the stream is in the room. A second stream of one identity takes the first one's place
    #[arg(long, value_name = "IDENTITY", default_value = "agentcast")]
    livekit_identity: String,
    /// Name that others see of the stream in the room: the agent
    #[arg(long, value_name = "NAME", default_value = "agentcast")]
    livekit_name: String,
    /// Whoever joins the room beside an RTMP destination waits for the next key frame (up to 2 s), or is served at once,
    /// against the constant distance of key frames that RTMP platforms ask for
    #[arg(long, value_name = "HOW", default_value = "wait", value_parser = joiners)]
    pub livekit_joiners: Joiners,
    /// Who sends to the RTMP addresses: agentcast itself (direct), or the Egress service of the LiveKit server
    /// (livekit-egress), which takes the stream from --livekit-room and encodes it once more. Once for all addresses, or once
    /// for each --rtmp in their order. Default: direct
    #[arg(long, value_name = "WHO", value_parser = via)]
    rtmp_via: Vec<Via>,
    /// Take the LiveKit server's webhooks here, at /webhooks/livekit: what becomes of egress jobs is known sooner. Without
    /// it the server is asked every 20 s
    #[arg(long, value_name = "ADDRESS:PORT", requires = "livekit_room")]
    pub livekit_webhooks: Option<SocketAddr>,
    /// Print how to watch the room.
    #[arg(skip)]
    pub how_to_watch: bool,
}

/// Who sends to RTMP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Direct,
    LivekitEgress,
}

impl RoomArgs {
    /// The room, if one is named, with everything about it checked.
    pub fn target(&self) -> anyhow::Result<Option<RoomTarget>> {
        let Some(room) = self.livekit_room.clone() else {
            if self.rtmp_via.contains(&Via::LivekitEgress) {
                return Err(
                    usage("--rtmp-via livekit-egress takes the stream from a room: name it by --livekit-room").into()
                );
            }
            return Ok(None);
        };
        let server = self.server.server()?;
        let identity = self.livekit_identity.clone();
        // Signed only to have the names checked before anything starts.
        server.token(&TokenRequest::new(Role::Publisher, &room, &identity)).map_err(|error| match error {
            TokenError::Field { field, problem } => usage(format!("--livekit-{field}: {problem}")),
            TokenError::Sign => usage(error.to_string()),
        })?;
        // Without a title of our own the room has the match's, and follows it.
        Ok(Some(RoomTarget { server, room, identity, name: self.livekit_name.clone(), title: String::new() }))
    }

    /// Who sends to each of so many RTMP addresses.
    pub fn vias(&self, addresses: usize) -> anyhow::Result<Vec<Via>> {
        match self.rtmp_via[..] {
            [] => Ok(vec![Via::Direct; addresses]),
            [all] => Ok(vec![all; addresses]),
            ref each if each.len() == addresses => Ok(each.to_vec()),
            ref each => {
                let words =
                    format!("--rtmp-via: {} given for {addresses} addresses; name one, or one for each", each.len());
                Err(usage(words).into())
            }
        }
    }
}

fn joiners(text: &str) -> Result<Joiners, String> {
    match text {
        "wait" => Ok(Joiners::WaitForGop),
        "at-once" => Ok(Joiners::AtOnce),
        _ => Err("wait or at-once".into()),
    }
}

fn via(text: &str) -> Result<Via, String> {
    match text {
        "direct" => Ok(Via::Direct),
        "livekit-egress" => Ok(Via::LivekitEgress),
        _ => Err("direct or livekit-egress".into()),
    }
}

fn server(url: Option<&str>) -> anyhow::Result<Server> {
    let (key, secret) = (variable(KEY), variable(SECRET));
    match (url, key, secret) {
        (Some(url), Some(key), Some(secret)) => {
            let server = Server::new(url, &key, SecretString::from(secret));
            server.map_err(|error| usage(error.to_string()).into())
        }
        (url, key, secret) => {
            let missing = [(url.is_none(), "LIVEKIT_URL"), (key.is_none(), KEY), (secret.is_none(), SECRET)];
            let missing: Vec<_> = missing.into_iter().filter_map(|(missing, name)| missing.then_some(name)).collect();
            let words = format!("not set: {}; your LiveKit server's configuration has them", missing.join(", "));
            Err(usage(words).into())
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// Prints a join token, and nothing else, on standard output.
pub fn token(args: Token) -> anyhow::Result<ExitCode> {
    if args.chat && !matches!(args.role, Role::Viewer | Role::Guest) {
        return Err(usage("--chat is for viewers and guests").into());
    }
    if args.approved && args.role != Role::Guest {
        return Err(usage("--approved is for guests").into());
    }
    let server = server(Some(ANY_SERVER))?;
    let request = TokenRequest {
        name: args.name.unwrap_or_default(),
        chat: args.chat,
        approved: args.approved,
        ttl: args.ttl,
        ..TokenRequest::new(args.role, args.room, args.identity)
    };
    // Its errors begin with the field, which is called as the argument is.
    let token = server.token(&request).map_err(|error| usage(format!("--{error}")))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", token.expose_secret()).and_then(|()| out.flush()).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// A viewer's token for the room, and a command that watches.
///
/// The command opens LiveKit's own viewer page: everybody who has a screen has a browser, while `lk room join` shows no
/// picture and the SDKs have to be installed first. Address and token are pasted there, not put into the page's address: a
/// token does not belong into arguments and logs. A page of https may talk to ws:// on this machine only; elsewhere browsers
/// ask for wss://, as LiveKit does.
pub fn how_to_watch(server: &Server, room: &str) -> anyhow::Result<String> {
    // A second viewer of the same name would throw the first one out.
    let identity = format!("viewer-{:06x}", fastrand::u32(..1 << 24));
    let token = server.token(&TokenRequest::new(Role::Viewer, room, identity)).map_err(|e| usage(e.to_string()))?;
    let token = token.expose_secret();
    let open = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let address = server.ws_url();
    Ok(format!(
        "token of a viewer, good for an hour:\n{token}\n\
         watch, with that token and the server {address}:\n{open} 'https://meet.livekit.io/?tab=custom'"
    ))
}

/// `90s`, `30m` or `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let words = || "a number with s, m or h: 90s, 30m, 2h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(words)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(words()),
    };
    // `parse` takes a plus sign.
    let number = number.parse::<u64>().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit())).ok_or_else(words)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for text in ["", "30", "m", "+3m", "-3m", "1.5h", "3 m", "3µ", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn watching_takes_the_address_of_the_server_and_a_token() {
        let server = Server::new("wss://[::1]:7880", "k", SecretString::from("watch-canary-secret")).unwrap();
        let text = how_to_watch(&server, "final").unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("eyJ") && lines[2].contains("wss://[::1]:7880"), "{text}");
        assert!(!lines[3].contains("eyJ"), "no token in arguments: {text}");
        assert!(!text.contains("canary"));
    }
}
