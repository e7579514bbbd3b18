//! What would go wrong if a destination's stream began now. Publishes nothing and sends no key.

use super::super::Service;
use super::super::who::Who;
use super::agents::picture_size;
use super::destinations::{OpenKeyError, open_key};
use super::{Result, RosterError};
use crate::draw::Size;
use crate::encode::{AudioCodec, GOP_SECONDS, SAMPLE_RATE, VideoSettings};
use crate::livekit::egress::EgressApi;
use crate::livekit::rooms::Rooms;
use crate::output::key::RtmpTarget;
use crate::output::rtmp::{self, AddressGuard, RtmpOptions};
use crate::secure::ingest_host;
use crate::server::streams::room_name;
use crate::server::turns::Turn;
use crate::store::model::{Agent, AgentDefaults, Destination, DestinationKind, Via};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// All of it together takes at most this long.
const DEADLINE: Duration = Duration::from_secs(20);
/// A room in which nobody is: asking for its Egress jobs shows whether the service answers.
const NO_ROOM: &str = "agentcast-check";

/// Worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckLevel {
    Green,
    /// It will work, but not well.
    Amber,
    /// It will not work.
    Red,
}

/// One line of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckLine {
    pub level: CheckLevel,
    /// What was looked at, for example `DNS`, `TLS`, `stream key`, `bit rate`.
    pub what: String,
    /// How it is.
    pub detail: String,
    /// What to do; null when it is well.
    pub fix: Option<String>,
}

impl CheckLine {
    fn green(what: &str, detail: impl Into<String>) -> CheckLine {
        CheckLine { level: CheckLevel::Green, what: what.into(), detail: detail.into(), fix: None }
    }

    fn amber(what: &str, detail: impl Into<String>, fix: impl Into<String>) -> CheckLine {
        CheckLine { level: CheckLevel::Amber, what: what.into(), detail: detail.into(), fix: Some(fix.into()) }
    }

    fn red(what: &str, detail: impl Into<String>, fix: impl Into<String>) -> CheckLine {
        CheckLine { level: CheckLevel::Red, ..CheckLine::amber(what, detail, fix) }
    }

    /// Words of ours that say what is wrong and, after the last semicolon, what to do.
    fn split(level: CheckLevel, what: &str, words: &str) -> CheckLine {
        let (detail, fix) = match words.rsplit_once("; ") {
            Some((detail, fix)) => (detail, Some(fix.to_owned())),
            None if level == CheckLevel::Green => (words, None),
            None => (words, Some("mend that and check again".to_owned())),
        };
        CheckLine { level, what: what.into(), detail: detail.into(), fix }
    }
}

impl Service {
    /// Looks at a destination step by step. Takes at most 20 s.
    pub async fn check_destination(&self, who: &Who, id: &str) -> Result<Vec<CheckLine>> {
        let store = &self.context().store;
        let destination = store.destination(who.tenant(), id).await?;
        let agent = store.agent(who.tenant(), &destination.agent_id).await?;
        // The probe goes on after its time is up, and holds the turn until it has ended.
        let turn = self.parts.checks.take(&agent.tenant_id).map(Arc::new);
        let busy = || RosterError::Busy("too many checks are running; try again when one has ended".into());
        let turn = turn.ok_or_else(busy)?;
        let mut lines = switches(&agent, &destination, self.flag().await?.enabled);
        let ends = Instant::now() + DEADLINE;
        if destination.kind == DestinationKind::LivekitRoom || destination.via == Via::LivekitEgress {
            self.check_livekit(&destination, ends, &mut lines).await;
        }
        if let Some(ingest) = &destination.ingest {
            self.check_key(&destination, &mut lines).await?;
            self.check_ingest(&destination, ingest, ends, &turn, &mut lines).await;
        }
        lines.extend(rules(destination.kind, &agent.defaults));
        Ok(lines)
    }

    async fn check_key(&self, destination: &Destination, lines: &mut Vec<CheckLine>) -> Result<()> {
        const WHAT: &str = "stream key";
        let set = format!("set it by PUT /v1/destinations/{}/key", destination.id);
        lines.push(match open_key(self.context(), destination).await {
            Ok(_) => {
                let shown = destination.key.as_ref().map_or("", |key| key.fingerprint.as_str());
                CheckLine::green(WHAT, format!("is set and opens (fingerprint {shown})"))
            }
            Err(OpenKeyError::Missing(_)) => CheckLine::red(WHAT, "is not set", set),
            Err(OpenKeyError::Foreign) => {
                CheckLine::red(WHAT, "was set for another host or destination", format!("{set} anew"))
            }
            Err(OpenKeyError::Seal(error)) => CheckLine::red(WHAT, error.to_string(), format!("{set} anew")),
            Err(OpenKeyError::Store(error)) => return Err(RosterError::Store(error)),
        });
        Ok(())
    }

    /// Host, name, addresses, then TCP, TLS and the RTMP handshake.
    async fn check_ingest(
        &self,
        destination: &Destination,
        ingest: &str,
        ends: Instant,
        turn: &Arc<Turn>,
        lines: &mut Vec<CheckLine>,
    ) {
        let config = self.context().config();
        if let Err(error) = config.hosts.ingest(destination.kind, ingest) {
            return lines.push(CheckLine::split(CheckLevel::Red, "host", &error.to_string()));
        }
        lines.push(CheckLine::green("host", format!("{} is allowed", ingest_host(ingest))));
        let target = match RtmpTarget::parse(ingest, None) {
            Ok(target) => target,
            Err(error) => return lines.push(CheckLine::red("host", error.to_string(), "correct `ingest`")),
        };
        let options = RtmpOptions {
            ca_file: config.ca_file.clone(),
            // What a name leads to is its owner's choice.
            guard: Some(AddressGuard::new(config.hosts.judge(target.host()))),
            ..RtmpOptions::default()
        };
        let turn = turn.clone();
        let probe = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            rtmp::probe(&target, &options)
        });
        match tokio::time::timeout(ends.saturating_duration_since(Instant::now()), probe).await {
            Ok(Ok(found)) => {
                // The key is looked at above, in its own way.
                lines.extend(found.into_iter().filter(|line| line.step != "key").map(|line| {
                    let level = match line.level {
                        rtmp::CheckLevel::Ok => CheckLevel::Green,
                        rtmp::CheckLevel::Warn => CheckLevel::Amber,
                        rtmp::CheckLevel::Fail => CheckLevel::Red,
                    };
                    CheckLine::split(level, line.step, &line.words)
                }));
            }
            Ok(Err(_)) => lines.push(CheckLine::red("RTMP", "the check broke off", "try again")),
            Err(_) => lines.push(late("RTMP")),
        }
    }

    async fn check_livekit(&self, destination: &Destination, ends: Instant, lines: &mut Vec<CheckLine>) {
        const WHAT: &str = "LiveKit";
        let Some(server) = &self.context().livekit else {
            let fix = "set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET and restart the service";
            return lines.push(CheckLine::red(WHAT, "the service has no LiveKit server", fix));
        };
        let left = || ends.saturating_duration_since(Instant::now());
        let begun = Instant::now();
        match tokio::time::timeout(left(), Rooms::new(server).list()).await {
            Ok(Ok(_)) => {
                let words =
                    format!("{} answers in {} ms and takes our key", server.host(), begun.elapsed().as_millis());
                lines.push(CheckLine::green(WHAT, words));
            }
            Ok(Err(error)) => return lines.push(CheckLine::split(CheckLevel::Red, WHAT, &error.to_string())),
            Err(_) => return lines.push(late(WHAT)),
        }
        if let Some(room) = &destination.room {
            let name = room_name(&destination.tenant_id, room);
            lines.push(CheckLine::green(
                "room",
                format!("{room:?} is {name:?} on the LiveKit server; viewers join that"),
            ));
        }
        if destination.via == Via::LivekitEgress {
            match tokio::time::timeout(left(), EgressApi::new(server.clone()).running(NO_ROOM)).await {
                Ok(Ok(_)) => lines.push(CheckLine::green(
                    "LiveKit Egress",
                    "the service answers; whether a worker is free shows when a job starts",
                )),
                Ok(Err(error)) => {
                    lines.push(CheckLine::split(CheckLevel::Red, "LiveKit Egress", &error.to_string()));
                }
                Err(_) => lines.push(late("LiveKit Egress")),
            }
        }
    }
}

fn late(what: &str) -> CheckLine {
    CheckLine::red(what, format!("no answer within {} s", DEADLINE.as_secs()), "try again, or check the server")
}

/// What keeps a stream from beginning on purpose.
fn switches(agent: &Agent, destination: &Destination, flag: bool) -> Vec<CheckLine> {
    let mut lines = Vec::new();
    if !flag {
        let fix = "an admin turns it on by PUT /v1/flags/streaming";
        lines.push(CheckLine::amber("flag", "streaming is off for the whole service", fix));
    }
    if !agent.enabled {
        let fix = format!("turn it on by PUT /v1/agents/{}/streaming", agent.id);
        lines.push(CheckLine::amber("switch", "the agent's switch is off", fix));
    }
    if !destination.enabled {
        let fix = format!("PATCH /v1/destinations/{} with {{\"enabled\":true}}", destination.id);
        lines.push(CheckLine::amber("destination", "it is switched off", fix));
    }
    lines
}

/// Twitch: H.264 up to 6,000 kbit/s at 25, 30, 50 or 60 fps (help.twitch.tv, broadcasting guidelines). YouTube: 1080p30 with
/// 4 to 10 Mbit/s, 1080p60 up to 12 (support.google.com/youtube/answer/2853702). Both: a keyframe every 2 s, AAC of at most
/// two channels, on Twitch at most 320 kbit/s.
fn rules(kind: DestinationKind, defaults: &AgentDefaults) -> Vec<CheckLine> {
    let platform = match kind {
        DestinationKind::Twitch => "Twitch",
        DestinationKind::Youtube => "YouTube",
        // What somebody's own server takes is not known; a LiveKit room takes what we make.
        DestinationKind::Rtmp | DestinationKind::LivekitRoom => return Vec::new(),
    };
    let fps = defaults.fps;
    let rate = match (kind, fps) {
        (DestinationKind::Twitch, 24) => {
            CheckLine::amber("frame rate", "24 fps is none that Twitch names", "set defaults.fps to 25, 30, 50 or 60")
        }
        _ => CheckLine::green("frame rate", format!("{fps} fps")),
    };
    // Left to the machine it may be either.
    let sizes = match defaults.size.as_deref().and_then(picture_size) {
        Some(size) => vec![size],
        None => vec![Size::HD, Size::FULL_HD],
    };
    let bits = sizes.into_iter().map(|size| bit_rate(kind, platform, size, defaults)).max_by_key(|line| line.level);
    let audio = AudioCodec::Aac.kbps();
    let mut lines: Vec<_> = bits.into_iter().collect();
    lines.push(rate);
    lines.push(CheckLine::green("keyframes", format!("one every {GOP_SECONDS} s, as {platform} asks")));
    lines.push(CheckLine::green("audio", format!("AAC stereo, {audio} kbit/s, {} kHz", SAMPLE_RATE / 1_000)));
    lines
}

fn bit_rate(kind: DestinationKind, platform: &str, size: Size, defaults: &AgentDefaults) -> CheckLine {
    const WHAT: &str = "bit rate";
    let fast = defaults.fps > 30;
    let kbps = defaults.kbps.unwrap_or(VideoSettings::usual_kbps(size.h, defaults.fps));
    // What it will be is known when the stream starts: 1080p on a real GPU, else 720p.
    let chosen = if defaults.size.is_some() { "" } else { ", if the machine chooses that size" };
    let words = format!("{kbps} kbit/s at {}x{}, {} fps{chosen}", size.w, size.h, defaults.fps);
    let (least, most) = match kind {
        DestinationKind::Twitch => (0, 6_000),
        _ if size.h <= Size::HD.h => (0, 10_000),
        _ => (4_000, if fast { 12_000 } else { 10_000 }),
    };
    if kbps > most {
        let fix = format!("set defaults.kbps to {most} or less, or a smaller defaults.size or defaults.fps");
        return CheckLine::red(WHAT, format!("{words}; {platform} takes at most {most}"), fix);
    }
    if kbps < least {
        let fix = format!("set defaults.kbps to {least} or more, or defaults.size to 1280x720");
        return CheckLine::amber(WHAT, format!("{words}; {platform} wants at least {least}"), fix);
    }
    CheckLine::green(WHAT, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(kind: DestinationKind, size: Option<&str>, fps: u32, kbps: Option<u32>) -> (CheckLevel, Vec<String>) {
        let defaults = AgentDefaults { size: size.map(str::to_owned), fps, kbps, ..AgentDefaults::default() };
        let lines = rules(kind, &defaults);
        assert!(lines.iter().all(|line| (line.level == CheckLevel::Green) == line.fix.is_none()), "{lines:?}");
        let bad = lines.iter().filter(|line| line.level != CheckLevel::Green).map(|line| line.what.clone());
        (lines.iter().map(|line| line.level).max().unwrap(), bad.collect())
    }

    #[test]
    fn what_a_platform_does_not_take_is_red_and_what_it_takes_badly_amber() {
        use DestinationKind::{Twitch, Youtube};
        let bits = vec!["bit rate".to_owned()];
        assert_eq!(level(Twitch, Some("1280x720"), 30, None), (CheckLevel::Green, vec![]));
        assert_eq!(level(Twitch, Some("1920x1080"), 30, Some(6_000)), (CheckLevel::Green, vec![]));
        assert_eq!(level(Twitch, Some("1920x1080"), 30, Some(6_001)), (CheckLevel::Red, bits.clone()));
        assert_eq!(level(Twitch, None, 60, None), (CheckLevel::Red, bits.clone()), "1080p60 is 9,000 unless set");
        assert_eq!(level(Twitch, Some("1280x720"), 24, None), (CheckLevel::Amber, vec!["frame rate".to_owned()]));
        assert_eq!(level(Youtube, Some("1920x1080"), 60, None), (CheckLevel::Green, vec![]));
        assert_eq!(level(Youtube, Some("1920x1080"), 30, Some(3_999)), (CheckLevel::Amber, bits.clone()));
        assert_eq!(level(Youtube, Some("1920x1080"), 30, Some(10_001)), (CheckLevel::Red, bits));
    }

    #[test]
    fn words_are_parted_into_what_is_wrong_and_what_to_do() {
        let line = CheckLine::split(CheckLevel::Red, "TCP", "h:1935 refuses connections; check the port");
        assert_eq!((&*line.detail, line.fix.as_deref()), ("h:1935 refuses connections", Some("check the port")));
    }
}
