//! Requests to the Egress service: what stands in them, what a server without redis and without a worker answers, and that
//! no key gets out. The life of jobs is in `egress.rs`.

mod support;

use agentcast::livekit::egress::{EgressApi, Encoding, JobStatus, Source};
use agentcast::livekit::{ApiError, Server};
use agentcast::output::egress::job::Rules;
use agentcast::output::egress::{EgressOutput, EgressSettings, TargetId};
use agentcast::output::key::{RtmpTarget, StreamKey};
use agentcast::output::{Destination, State, Status};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::Uri;
use livekit_protocol as proto;
use prost::Message;
use secrecy::SecretString;
use std::io::Write;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};
use support::livekit::LiveKit;
use tokio::sync::watch;

const CANARY: &str = "canary-7b1f-egress-key";
const SECRET: &str = "egress-api-canary-secret-0123456789";

/// All log lines of this program, those of libraries too.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn record_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).init();
    });
}

/// Nothing secret in the log so far, nor in `shown`.
fn assert_no_secret(shown: &str) {
    let log = String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned();
    for (place, text) in [("log", &*log), ("status", shown)] {
        for secret in [CANARY, SECRET, "eyJ"] {
            let at = text.find(secret).map(|at| &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
            assert_eq!(at, None, "{secret} in the {place}");
        }
    }
}

/// A recorder of requests, which answers as a server with a healthy worker does. It shows what we ask, not what a server does.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    /// (method, body), without lists.
    requests: Vec<(String, Vec<u8>)>,
    job: proto::EgressInfo,
    /// A stop is taken and never comes to its end.
    hangs: bool,
    /// A start is taken and not answered before this is true.
    starts: Option<watch::Receiver<bool>>,
}

impl Recorder {
    async fn serve(&self) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Server::new(&format!("http://127.0.0.1:{port}"), "APIegress", SecretString::from(SECRET)).unwrap()
    }

    fn requests<M: Message + Default>(&self, method: &str) -> Vec<M> {
        let recorded = self.0.lock().unwrap();
        let bodies = recorded.requests.iter().filter(|(m, _)| m == method);
        bodies.map(|(_, body)| M::decode(&**body).unwrap()).collect()
    }
}

async fn answer(Shared(recorder): Shared<Recorder>, uri: Uri, body: Bytes) -> Vec<u8> {
    let method = uri.path().rsplit('/').next().unwrap().to_owned();
    let starts = recorder.0.lock().unwrap().starts.clone().filter(|_| method == "StartParticipantEgress");
    if let Some(mut starts) = starts {
        starts.wait_for(|begun| *begun).await.unwrap();
    }
    let mut recorded = recorder.0.lock().unwrap();
    let recorded = &mut *recorded;
    if !method.starts_with("List") {
        recorded.requests.push((method.clone(), body.to_vec()));
    }
    let job = &mut recorded.job;
    let url = || proto::StreamInfo { url: "rtmp://h/app/{c...y}".into(), started_at: 5, ..Default::default() };
    job.updated_at += 1;
    match &*method {
        "ListParticipants" => {
            let track = proto::TrackInfo { r#type: proto::TrackType::Video.into(), ..Default::default() };
            let publisher =
                proto::ParticipantInfo { identity: "agent".into(), tracks: vec![track], ..Default::default() };
            let kind = proto::participant_info::Kind::Egress.into();
            let worker = proto::ParticipantInfo { identity: job.egress_id.clone(), kind, ..Default::default() };
            return proto::ListParticipantsResponse { participants: vec![publisher, worker] }.encode_to_vec();
        }
        "ListEgress" => {
            return proto::ListEgressResponse { items: vec![job.clone()], ..Default::default() }.encode_to_vec();
        }
        "StopEgress" if recorded.hangs => job.status = proto::EgressStatus::EgressEnding.into(),
        "StopEgress" => job.status = proto::EgressStatus::EgressComplete.into(),
        "UpdateStream" => {
            let request = proto::UpdateStreamRequest::decode(&*body).unwrap();
            job.stream_results.extend(request.add_output_urls.iter().map(|_| url()));
            for _ in request.remove_output_urls {
                job.stream_results.last_mut().unwrap().status = proto::stream_info::Status::Finished.into();
            }
        }
        _ => {
            job.egress_id = "EG_1".into();
            job.status = proto::EgressStatus::EgressActive.into();
            job.stream_results = vec![url()];
        }
    }
    job.encode_to_vec()
}

fn target(host: &str) -> RtmpTarget {
    RtmpTarget::parse(&format!("rtmps://{host}/app"), Some(StreamKey::new(CANARY).unwrap())).unwrap()
}

fn url(host: &str) -> String {
    format!("rtmps://{host}/app/{CANARY}")
}

fn settings() -> EgressSettings {
    let encoding = Encoding::preset(1280, 720, 30);
    EgressSettings { room: "room".into(), identity: "agent".into(), source: None, encoding }
}

/// Live at once.
fn quick() -> Rules {
    Rules { settle: Duration::from_millis(50), ..Rules::default() }
}

fn wait_for(output: &EgressOutput, what: &str, is: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = output.status();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "no {what}: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_start_says_every_field_of_the_encoding() {
    record_log();
    let recorder = Recorder::default();
    let api = EgressApi::new(recorder.serve().await);
    let targets = [target("a.example.com"), target("b.example.com:444")];
    let agent = Source::Participant { identity: "agent".into() };
    let job = api.start("room", &agent, &targets, Encoding::preset(1920, 1080, 60)).await.unwrap();
    assert_eq!((job.id.as_str(), job.status), ("EG_1", JobStatus::Active));
    let request = &recorder.requests::<proto::ParticipantEgressRequest>("StartParticipantEgress")[0];
    assert_eq!((request.room_name.as_str(), request.identity.as_str()), ("room", "agent"));
    assert!(!request.screen_share && request.file_outputs.is_empty() && request.segment_outputs.is_empty());
    let wanted = proto::StreamOutput {
        protocol: proto::StreamProtocol::Rtmp.into(),
        urls: vec![url("a.example.com"), url("b.example.com:444")],
    };
    assert_eq!(request.stream_outputs, [wanted]);
    let encoding = proto::EncodingOptions {
        width: 1920,
        height: 1080,
        depth: 24,
        framerate: 60,
        audio_codec: proto::AudioCodec::Aac.into(),
        audio_bitrate: 160,
        audio_frequency: 48_000,
        video_codec: proto::VideoCodec::H264High.into(),
        video_bitrate: 9_000,
        key_frame_interval: 2.0,
        ..Default::default()
    };
    assert_eq!(request.options, Some(proto::participant_egress_request::Options::Advanced(encoding)));

    let tracks = Source::Tracks { video: "TR_v".into(), audio: "TR_a".into() };
    api.start("room", &tracks, &targets, Encoding::preset(1280, 720, 30)).await.unwrap();
    let request = &recorder.requests::<proto::TrackCompositeEgressRequest>("StartTrackCompositeEgress")[0];
    assert_eq!((request.video_track_id.as_str(), request.audio_track_id.as_str()), ("TR_v", "TR_a"));
    let Some(proto::track_composite_egress_request::Options::Advanced(encoding)) = &request.options else {
        panic!("no encoding")
    };
    assert_eq!((encoding.video_bitrate, encoding.key_frame_interval, encoding.audio_frequency), (3_000, 2.0, 48_000));
    assert_no_secret(&format!("{api:?} {job:?} {targets:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_starts_adds_removes_and_stops_without_telling_its_keys() {
    record_log();
    let recorder = Recorder::default();
    let api = EgressApi::new(recorder.serve().await);
    let mut output = EgressOutput::spawn(api, settings(), vec![target("a.example.com")], quick()).unwrap();
    let status = wait_for(&output, "job", |s| s.state == State::Live);
    assert_eq!((status.name.as_str(), status.last_error), ("rtmps a.example.com via livekit-egress", None));

    let second = output.add_target(target("b.example.com")).unwrap();
    let updates = || recorder.requests::<proto::UpdateStreamRequest>("UpdateStream");
    wait_for(&output, "added address", |_| updates().iter().any(|u| u.add_output_urls == [url("b.example.com")]));
    assert_eq!(
        (second, output.status().name),
        (TargetId(2), "rtmps a.example.com, rtmps b.example.com via livekit-egress".into())
    );
    assert!(output.remove_target(second) && !output.remove_target(second));
    wait_for(&output, "removed address", |_| updates().iter().any(|u| u.remove_output_urls == [url("b.example.com")]));

    // A webhook shows at once.
    let observer = output.observer();
    let mut failed = recorder.0.lock().unwrap().job.clone();
    failed.updated_at += 1_000;
    failed.status = proto::EgressStatus::EgressFailed.into();
    failed.error_code = 503;
    failed.stream_results[0].status = proto::stream_info::Status::Failed.into();
    failed.stream_results[0].error = format!("no {} there: timed out", url("a.example.com"));
    assert!(observer.observe(failed.clone()));
    let status = wait_for(&output, "failure", |s| s.last_error.is_some());
    assert!(
        status.last_error.as_ref().unwrap().starts_with("a.example.com:443 takes nothing in any more"),
        "{status:?}"
    );
    wait_for(&output, "second start", |_| {
        recorder.requests::<proto::ParticipantEgressRequest>("StartParticipantEgress").len() == 2
    });
    wait_for(&output, "second job", |s| s.state == State::Live);
    let shown = format!("{output:?} {status:?} {}", output.words());
    let status = Box::new(output).stop(Duration::from_secs(20));
    assert_eq!((status.state, status.last_error), (State::Stopped, None));
    assert_eq!(recorder.requests::<proto::StopEgressRequest>("StopEgress")[0].egress_id, "EG_1");
    assert!(!observer.observe(failed), "nobody listens any more");
    assert_no_secret(&shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_does_not_end_is_left_at_the_deadline_and_told() {
    record_log();
    let recorder = Recorder::default();
    recorder.0.lock().unwrap().hangs = true;
    let api = EgressApi::new(recorder.serve().await);
    let output = EgressOutput::spawn(api, settings(), vec![target("a.example.com")], quick()).unwrap();
    wait_for(&output, "job", |s| s.state == State::Live);
    let begun = Instant::now();
    let status = Box::new(output).stop(Duration::from_secs(2));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(recorder.requests::<proto::StopEgressRequest>("StopEgress").len(), 1);
    assert_eq!(status.state, State::Stopped);
    let words = status.last_error.unwrap();
    assert!(words.contains("has not said within") && words.contains("that the job has stopped"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_stopped_while_its_job_starts_has_it_stopped_once_it_runs() {
    record_log();
    let recorder = Recorder::default();
    let (begin, starts) = watch::channel(false);
    recorder.0.lock().unwrap().starts = Some(starts);
    let api = EgressApi::new(recorder.serve().await);
    let output = EgressOutput::spawn(api, settings(), vec![target("a.example.com")], quick()).unwrap();
    wait_for(&output, "start", |_| output.words().contains("was asked to start"));
    let job = output.observer();
    let status = Box::new(output).stop(Duration::from_millis(100));
    assert_eq!(status.state, State::Stopped);
    assert!(status.last_error.is_some_and(|words| words.contains("may go on sending")));
    assert!(!job.is_gone() && tokio::time::timeout(Duration::from_millis(10), job.told()).await.is_err());
    begin.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(60), job.told()).await.expect("LiveKit is told to stop it");
    assert_eq!(recorder.requests::<proto::StopEgressRequest>("StopEgress")[0].egress_id, "EG_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_does_not_hold_up_the_end() {
    record_log();
    // Takes connections in and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let server = Server::new(&address, "APIegress", SecretString::from(SECRET)).unwrap();
    let begun = Instant::now();
    let output = EgressOutput::spawn(EgressApi::new(server), settings(), vec![target("a.example.com")], quick());
    let status = Box::new(output.unwrap()).stop(Duration::from_secs(20));
    assert_eq!((status.state, status.last_error), (State::Stopped, None), "no job was begun");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_without_redis_and_worker_is_explained_and_no_key_gets_out() {
    record_log();
    let livekit = LiveKit::start();
    let api = EgressApi::new(livekit.server());
    let agent = Source::Participant { identity: "agent".into() };
    let encoding = Encoding::preset(1280, 720, 30);
    let targets = [target("a.example.com")];

    let no_room = api.start("nowhere", &agent, &targets, encoding).await.unwrap_err();
    assert_eq!(no_room, ApiError::NoRoom);
    let no_redis = api.running("nowhere").await.unwrap_err();
    assert!(no_redis.to_string().contains("without redis, which its egress service needs"), "{no_redis}");
    for refused in
        [api.get("EG_1").await.map(|_| ()), api.stop("EG_1").await.map(|_| ()), api.probe("EG_1").await.map(|_| ())]
    {
        assert_eq!(refused, Err(ApiError::NoRedis { service: "egress" }));
    }
    assert_eq!(api.look("nowhere", "agent").await.unwrap(), Default::default());

    agentcast::livekit::rooms::Rooms::new(&livekit.server()).ensure("somewhere", "{}").await.unwrap();
    let no_worker = api.start("somewhere", &agent, &targets, encoding).await.unwrap_err();
    assert!(no_worker.to_string().contains("no egress worker is connected to this LiveKit server"), "{no_worker}");

    let url = format!("http://127.0.0.1:{}", livekit.http_port());
    let wrong = Server::new(&url, livekit.key(), SecretString::from(SECRET)).unwrap();
    let refused = EgressApi::new(wrong).start("somewhere", &agent, &targets, encoding).await.unwrap_err();
    assert_eq!(refused, ApiError::KeyRefused);
    assert_no_secret(&format!("{no_room} {no_redis} {no_worker} {refused} {api:?}"));
}

/// Against a worker that is really there. See the docs of `output::egress`.
#[tokio::test(flavor = "multi_thread")]
async fn real_worker_sends_and_stops() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("LIVEKIT_EGRESS_TEST also needs {name}"));
    if std::env::var_os("LIVEKIT_EGRESS_TEST").is_none() {
        println!(
            "no egress worker is configured: set LIVEKIT_EGRESS_TEST=1, LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET, \
             LIVEKIT_ROOM and LIVEKIT_IDENTITY (of somebody who publishes there) and EGRESS_RTMP_URL (with its key, as the \
             worker sees it)"
        );
        return;
    }
    let secret = SecretString::from(variable("LIVEKIT_API_SECRET"));
    let server = Server::new(&variable("LIVEKIT_URL"), &variable("LIVEKIT_API_KEY"), secret).unwrap();
    let settings = EgressSettings {
        room: variable("LIVEKIT_ROOM"),
        identity: variable("LIVEKIT_IDENTITY"),
        source: None,
        encoding: Encoding::preset(1280, 720, 30),
    };
    let target = RtmpTarget::parse(&variable("EGRESS_RTMP_URL"), None).unwrap();
    let api = EgressApi::new(server);
    let output = EgressOutput::spawn(api, settings, vec![target], Rules::default()).unwrap();
    let status = wait_for(&output, "job", |s| s.state == State::Live);
    assert_eq!((status.reconnects, status.last_error), (0, None));
    // Past the first question to the worker, which has to leave the job as it is.
    let until = Instant::now() + Duration::from_secs(50);
    wait_for(&output, "healthy minute", |s| s.state != State::Live || Instant::now() > until);
    let status = Box::new(output).stop(Duration::from_secs(45));
    assert_eq!((status.state, status.reconnects, status.last_error), (State::Stopped, 0, None));
}
