//! `check`, the LiveKit part: the server, its key, the ways that media can take, its Egress service, webhooks that arrive.

use super::check::Report;
use super::usage;
use crate::livekit::egress::{EgressApi, Encoding, Source};
use crate::livekit::rooms::{RoomMetadata, Rooms};
use crate::livekit::{ApiError, SECRET_BYTES, Server};
use crate::output::key::{RtmpTarget, StreamKey};
use crate::output::livekit::{IcePolicy, PathReport, probe};
use crate::output::rtmp::CheckLevel as Level;
use anyhow::Context;
use livekit_api::services::egress::{EgressClient, EgressListFilter, EgressListOptions};
use livekit_net::HttpClientExt as _;
use secrecy::ExposeSecret;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The server sends a webhook for everything that happens in a room, and for nothing else.
const FIX_WEBHOOK: &str =
    "join a room once, then look at webhook.urls and webhook.api_key in the LiveKit server's configuration";

/// Server and key; media paths and the Egress service only when the key is accepted.
pub async fn server(report: &mut Report, server: &Server, start_egress: bool) {
    crate::livekit::install_crypto();
    if server.secret().expose_secret().len() < SECRET_BYTES {
        let words = format!("the API secret has less than {SECRET_BYTES} bytes");
        report.line(Level::Warn, "livekit", &words, "make a longer one: livekit-server generate-keys");
    }
    let rooms = Rooms::new(server);
    let start = Instant::now();
    match rooms.list().await {
        Ok(list) => {
            let words = format!("{} answers in {} ms", server.host(), start.elapsed().as_millis());
            report.line(Level::Ok, "livekit", &words, "");
            report.line(Level::Ok, "  key", &format!("accepted; {} rooms open", list.len()), "");
        }
        Err(error @ (ApiError::KeyRefused | ApiError::NotAllowed)) => {
            report.line(Level::Ok, "livekit", &format!("{} answers", server.host()), "");
            report.line(Level::Fail, "  key", &error.to_string(), "");
            return;
        }
        Err(error) => {
            report.line(Level::Fail, "livekit", &error.to_string(), "");
            return;
        }
    }
    let (udp, tcp, turn) =
        tokio::join!(probe(server, IcePolicy::Udp), probe(server, IcePolicy::Tcp), probe(server, IcePolicy::Relay));
    paths(report, [("udp", udp), ("tcp", tcp), ("turn", turn)]);
    egress(report, server, &rooms, start_egress).await;
}

/// The ways that media can take, best first. UDP is what a stream wants; the others are for networks that block it. Red only
/// when none works: one is enough to be on air.
fn paths(report: &mut Report, paths: [(&str, Result<PathReport, String>); 3]) {
    let any = paths.iter().any(|(_, found)| found.is_ok());
    for (way, found) in paths {
        let name = format!("  {way}");
        match found {
            Ok(path) => {
                let trip = path.round_trip.map_or("no round trip measured yet".into(), |trip| {
                    format!("round trip {:.1} ms", trip.as_secs_f64() * 1e3)
                });
                report.line(Level::Ok, &name, &format!("media goes by {}, {trip}", path.path), "");
            }
            Err(words) => {
                let fix = match way {
                    "udp" => "open rtc.udp_port (or the port range) of the LiveKit server, both ways",
                    "tcp" => "only for networks that block UDP: open rtc.tcp_port of the LiveKit server",
                    _ => "only for networks that block both: set turn in the LiveKit server's configuration",
                };
                report.line(if any { Level::Warn } else { Level::Fail }, &name, &words, fix);
            }
        }
    }
}

/// Whether the Egress service is there.
///
/// Redis shows by a list. A worker does not: nothing lists workers, and a start in a room that does not exist is refused
/// before any is asked. So a worker shows only by a job that it runs, or, where the user asks for it, by one that is started
/// for nobody and stopped at once.
async fn egress(report: &mut Report, server: &Server, rooms: &Rooms, start: bool) {
    let api = EgressApi::new(server.clone());
    let client = EgressClient::with_api_key(&server.http_url(), server.key(), server.secret().expose_secret())
        .with_failover(false)
        .with_request_timeout(TIMEOUT);
    let active = EgressListOptions { active: true, filter: EgressListFilter::All, ..EgressListOptions::default() };
    let jobs = match client.list_egress(active).await {
        Ok(jobs) => jobs,
        Err(error) => {
            // Without redis a start would only repeat what it says of a missing worker.
            let level = if start { Level::Fail } else { Level::Warn };
            let error = server.explain(error, TIMEOUT).await;
            return report.line(level, "  egress", &error.to_string(), "only --rtmp-via livekit-egress needs it");
        }
    };
    if start {
        return match try_egress(&api, rooms).await {
            Ok(()) => report.line(Level::Ok, "  egress", "a worker took a job and was told to stop it", ""),
            Err(error) => report.line(Level::Fail, "  egress", &error.to_string(), ""),
        };
    }
    for job in &jobs {
        // The list repeats what a worker said last, also after its end; so it is asked itself.
        if api.probe(&job.egress_id).await.is_ok() {
            let words = format!("a worker is there, {} jobs run", jobs.len());
            return report.line(Level::Ok, "  egress", &words, "");
        }
    }
    report.line(
        Level::Warn,
        "  egress",
        "the service answers; whether a worker is connected shows only when a job starts",
        "agentcast check --egress starts one with nothing to send and stops it",
    );
}

/// Starts a job for a participant who never comes, in a room of its own, and takes both away again.
async fn try_egress(api: &EgressApi, rooms: &Rooms) -> Result<(), ApiError> {
    let room = format!("agentcast-check-{:08x}", fastrand::u32(..));
    let key = StreamKey::new("check").map_err(|_| ApiError::Sign)?;
    // Nothing is sent there: there is nobody in the room whose picture it could be.
    let target = RtmpTarget::parse("rtmp://127.0.0.1/agentcast-check", Some(key)).map_err(|_| ApiError::Sign)?;
    rooms.ensure(&room, &RoomMetadata::default().to_json()).await?;
    let source = Source::Participant { identity: "nobody".into() };
    let started = api.start(&room, &source, &[target], Encoding::preset(1280, 720, 30)).await;
    let stopped = match &started {
        Ok(job) => api.stop(&job.id).await.map(drop),
        Err(_) => Ok(()),
    };
    let deleted = rooms.delete(&room).await;
    started?;
    stopped?;
    deleted
}

/// Whether webhooks of the server arrive at `agentcast serve`.
pub async fn webhooks(report: &mut Report, service: &str) -> anyhow::Result<()> {
    crate::livekit::install_crypto();
    let base = service.strip_suffix('/').unwrap_or(service);
    if !base.starts_with("http://") && !base.starts_with("https://") {
        return Err(usage("--service: http://HOST:PORT").into());
    }
    let client = livekit_net::http_client().context("no HTTP client")?;
    let answer = tokio::time::timeout(TIMEOUT, client.get(format!("{base}/status.json"), Vec::new())).await;
    let body = match answer {
        Ok(Ok(answer)) if answer.status == 200 => answer.body,
        Ok(Ok(answer)) => {
            let words = format!("the service answers HTTP {}", answer.status);
            let fix = "--service takes the address of a running `agentcast serve`, asked from its own host";
            report.line(Level::Fail, "webhook", &words, fix);
            return Ok(());
        }
        Ok(Err(_)) | Err(_) => {
            report.line(Level::Fail, "webhook", "the service does not answer", "start it: agentcast serve");
            return Ok(());
        }
    };
    let (level, words, fix) = judge(&serde_json::from_slice(&body).unwrap_or_default());
    report.line(level, "webhook", &words, fix);
    Ok(())
}

/// What the service's counts say.
fn judge(status: &serde_json::Value) -> (Level, String, &'static str) {
    let webhooks = &status["webhooks"];
    if status.get("webhooks").is_some_and(serde_json::Value::is_null) {
        let fix = "give the service LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET, and start it again";
        return (Level::Fail, "the service has no LiveKit server".into(), fix);
    }
    let Some(verified) = webhooks["verified"].as_u64() else {
        return (Level::Fail, "the service's answer is not that of agentcast".into(), "--service: of agentcast serve");
    };
    let refused = webhooks["refused"].as_u64().unwrap_or_default();
    match webhooks["last"].as_str() {
        Some(last) if verified > 0 => (Level::Ok, format!("{verified} seen, the last one {last}"), ""),
        _ if refused > 0 => (
            Level::Fail,
            format!("{refused} came and all were refused"),
            "webhook.api_key of the LiveKit server must be the key that the service has in LIVEKIT_API_KEY",
        ),
        _ => (Level::Warn, "none seen yet".into(), FIX_WEBHOOK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn webhooks_are_green_once_seen_amber_before_and_red_when_all_are_refused() {
        let of = |webhooks: serde_json::Value| judge(&json!({ "webhooks": webhooks }));
        let (level, words, _) = of(json!({"verified": 3, "refused": 1, "last": "2026-01-02T03:04:05Z"}));
        assert_eq!((level, &*words), (Level::Ok, "3 seen, the last one 2026-01-02T03:04:05Z"));
        assert_eq!(of(json!({"verified": 0, "refused": 0, "last": null})).0, Level::Warn);
        let (level, words, fix) = of(json!({"verified": 0, "refused": 2, "last": null}));
        assert!(level == Level::Fail && words.contains('2') && fix.contains("webhook.api_key"));
        let (level, _, fix) = of(json!(null));
        assert!(level == Level::Fail && fix.contains("LIVEKIT_URL"));
        assert_eq!(judge(&json!("hello")).0, Level::Fail);
    }
}
