//! Requests to LiveKit's Egress service: a worker joins the room, encodes once more and sends to RTMP(S) addresses.
//!
//! Stream keys: an address with its key exists only inside a call (`RtmpTarget::full_url`). The server's answers carry
//! addresses whose key is shortened (`{e...A}`), and shortened is not secret enough: [`JobInfo`] takes none of them, and
//! which result belongs to which address is told by the order in which they were given.
//!
//! `twitch://KEY` is no address here ([`RtmpTarget::parse`] takes `rtmp` and `rtmps`). For hosts under
//! `contribute.live-video.net` the worker asks Twitch for its list of ingest servers and sends to the first one, not to the
//! host that the address names (livekit/egress 1.14.1, `pkg/config/urls.go`).

use super::rooms::Rooms;
use super::{ApiError, Server};
use crate::encode::VideoSettings;
use crate::output::key::RtmpTarget;
use crate::output::log::scrub;
use livekit_api::services::ServiceError;
use livekit_api::services::egress::{
    EgressClient, EgressListFilter, EgressListOptions, EgressOutput as Output, ParticipantEgressOptions,
    TrackCompositeOptions, encoding,
};
use livekit_protocol as proto;
use secrecy::ExposeSecret;
use std::fmt;
use std::time::Duration;

/// Starting without a worker takes the server 22 to 24 s to refuse, and stopping a job whose worker hangs takes up to 30 s.
const LONG: Duration = Duration::from_secs(40);
/// Lists come out of the server's store.
const SHORT: Duration = Duration::from_secs(10);
/// Longest text of the worker that is passed on, in characters.
const LONGEST_TEXT: usize = 200;

/// What the worker encodes: H.264 High with a key frame every 2 s, AAC 160 kbit/s at 48 kHz. Everything is said in every
/// request: what is left out becomes Main, 4 s and 44.1 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// px
    pub width: u32,
    /// px
    pub height: u32,
    pub fps: u32,
    pub video_kbps: u32,
}

impl Encoding {
    /// With the bit rate of the streams that we encode ourselves.
    #[must_use]
    pub fn preset(width: u32, height: u32, fps: u32) -> Self {
        Self { width, height, fps, video_kbps: VideoSettings::usual_kbps(height, fps) }
    }

    fn options(self) -> encoding::EncodingOptions {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        encoding::EncodingOptions {
            width: number(self.width),
            height: number(self.height),
            depth: 24,
            framerate: number(self.fps),
            audio_codec: proto::AudioCodec::Aac,
            audio_bitrate: 160,
            audio_frequency: 48_000,
            video_codec: proto::VideoCodec::H264High,
            video_bitrate: number(self.video_kbps),
            keyframe_interval: 2.0,
            audio_quality: 0,
            video_quality: 0,
        }
    }
}

/// Whose picture and sound a job takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Camera and microphone of one participant, whatever their track ids are by now.
    Participant { identity: String },
    /// Two tracks of any participants, by their server-side ids (`TR_…`).
    Tracks { video: String, audio: String },
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobStatus {
    #[default]
    Starting,
    /// The worker is in the room. Says nothing of RTMP: it comes before the first connection.
    Active,
    /// Told to stop, or its source has left.
    Ending,
    Complete,
    Failed,
    Aborted,
    LimitReached,
}

impl JobStatus {
    #[must_use]
    pub fn is_over(self) -> bool {
        self > JobStatus::Ending
    }
}

/// How one address of a job does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlStatus {
    /// The normal state, before the connection too.
    #[default]
    Active,
    Finished,
    Failed,
}

/// The worker's report on one address of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlReport {
    pub status: UrlStatus,
    /// When it began to send; 0 before. Unix time in ns, as all times here: the worker's clock.
    pub started_at: i64,
    /// Reconnections so far.
    pub retries: u32,
    pub last_retry_at: i64,
    /// The worker's words, without secrets.
    pub error: String,
}

/// One job as the server tells of it: by webhook, in a list, as an answer. Holds no path and no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobInfo {
    /// `EG_…`; also the identity under which the worker is in the room.
    pub id: String,
    pub room: String,
    /// Of the participant whose tracks it takes, where it was started so.
    pub identity: String,
    /// Host and port of the addresses that it was started with, in their order.
    pub addresses: Vec<String>,
    pub status: JobStatus,
    /// Grows with every report of the worker.
    pub updated_at: i64,
    /// In the order in which the addresses were given, those added later at the end. Those that ended stay.
    pub urls: Vec<UrlReport>,
    /// The worker's words, without secrets.
    pub error: String,
    /// As HTTP: 500 when the worker's process died.
    pub error_code: i32,
    /// Why it ended: `End reason: …`.
    pub details: String,
}

impl From<proto::EgressInfo> for JobInfo {
    fn from(info: proto::EgressInfo) -> Self {
        use proto::egress_info::Request;
        use proto::{EgressStatus as S, stream_info::Status as U};
        let (identity, outputs) = match info.request {
            Some(Request::Participant(request)) => (request.identity, request.stream_outputs),
            Some(Request::TrackComposite(request)) => (String::new(), request.stream_outputs),
            _ => (String::new(), Vec::new()),
        };
        let addresses = outputs.iter().flat_map(|output| &output.urls).map(|url| address(url)).collect();
        // A status that this version does not know is taken for a job under way: the next list tells more.
        let status = match S::try_from(info.status) {
            Ok(S::EgressStarting) => JobStatus::Starting,
            Ok(S::EgressActive) | Err(_) => JobStatus::Active,
            Ok(S::EgressEnding) => JobStatus::Ending,
            Ok(S::EgressComplete) => JobStatus::Complete,
            Ok(S::EgressFailed) => JobStatus::Failed,
            Ok(S::EgressAborted) => JobStatus::Aborted,
            Ok(S::EgressLimitReached) => JobStatus::LimitReached,
        };
        let urls = info.stream_results.into_iter().map(|url| UrlReport {
            status: match U::try_from(url.status) {
                Ok(U::Failed) => UrlStatus::Failed,
                Ok(U::Finished) => UrlStatus::Finished,
                Ok(U::Active) | Err(_) => UrlStatus::Active,
            },
            started_at: url.started_at,
            retries: url.retries,
            last_retry_at: url.last_retry_at,
            error: clean(&url.error),
        });
        JobInfo {
            id: info.egress_id,
            room: info.room_name,
            identity,
            addresses,
            status,
            updated_at: info.updated_at.max(info.started_at).max(info.ended_at),
            urls: urls.collect(),
            error: clean(&info.error),
            error_code: info.error_code,
            details: clean(&info.details),
        }
    }
}

/// Host and port of an RTMP address.
fn address(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A port follows the last colon, unless that one is inside an IPv6 address.
    match host.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => host.to_owned(),
        _ => format!("{host}:{}", if scheme.eq_ignore_ascii_case("rtmps") { 443 } else { 1935 }),
    }
}

/// Words of the worker: scrubbed, on one line, of a bounded length.
fn clean(text: &str) -> String {
    let text: String = scrub(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => text[..end].to_owned() + " …",
        None => text,
    }
}

/// Who is in a room, as far as Egress cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomView {
    /// The participant asked for is there and publishes a picture.
    pub publishing: bool,
    /// Egress workers in the room, by the id of their job.
    pub workers: Vec<String>,
}

/// The Egress service of one server. Failing over to other regions is off: a job started twice sends twice with one key.
pub struct EgressApi {
    server: Server,
    long: EgressClient,
    short: EgressClient,
    rooms: Rooms,
}

impl fmt::Debug for EgressApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressApi").field("server", &self.server).finish_non_exhaustive()
    }
}

impl EgressApi {
    #[must_use]
    pub fn new(server: Server) -> Self {
        super::install_crypto();
        let (url, key, secret) = (server.http_url(), server.key(), server.secret().expose_secret());
        let client =
            |timeout| EgressClient::with_api_key(&url, key, secret).with_failover(false).with_request_timeout(timeout);
        let (long, short) = (client(LONG), client(SHORT));
        let rooms = Rooms::new(&server);
        Self { server, long, short, rooms }
    }

    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Starts one job that sends to all `targets`. Takes up to 24 s where no worker is connected.
    ///
    /// # Errors
    /// See [`ApiError`]. After [`ApiError::Timeout`] and [`ApiError::Unreachable`] the job may have begun all the same.
    pub async fn start(
        &self,
        room: &str,
        source: &Source,
        targets: &[RtmpTarget],
        encoding: Encoding,
    ) -> Result<JobInfo, ApiError> {
        let urls = targets.iter().map(|target| target.full_url().expose_secret().to_owned()).collect();
        let output = Output::Stream(proto::StreamOutput { protocol: proto::StreamProtocol::Rtmp.into(), urls });
        let encoding = encoding.options();
        let answer = match source {
            Source::Participant { identity } => {
                let options = ParticipantEgressOptions { screenshare: false, encoding };
                self.long.start_participant_egress(room, identity, vec![output], options).await
            }
            Source::Tracks { video, audio } => {
                let options =
                    TrackCompositeOptions { encoding, audio_track_id: audio.clone(), video_track_id: video.clone() };
                self.long.start_track_composite_egress(room, vec![output], options).await
            }
        };
        self.job(answer, LONG).await
    }

    /// Adds an address to a running job.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn add(&self, id: &str, target: &RtmpTarget) -> Result<JobInfo, ApiError> {
        let url = target.full_url().expose_secret().to_owned();
        self.job(self.long.update_stream(id, vec![url], Vec::new()).await, LONG).await
    }

    /// Takes an address from a running job. The job ends with its last address.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn remove(&self, id: &str, target: &RtmpTarget) -> Result<JobInfo, ApiError> {
        let url = target.full_url().expose_secret().to_owned();
        self.job(self.long.update_stream(id, Vec::new(), vec![url]).await, LONG).await
    }

    /// Asks the worker itself how a running job does, by an UpdateStream that changes nothing. A list cannot tell: it repeats
    /// the worker's last report, and the worker reports its first reconnection and then none for a minute (livekit/egress
    /// 1.14.1, `trackStreamRetry`).
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::NoEgressWorker`], [`ApiError::Timeout`] or [`ApiError::Failed`] when nobody runs the job.
    pub async fn probe(&self, id: &str) -> Result<JobInfo, ApiError> {
        self.job(self.long.update_stream(id, Vec::new(), Vec::new()).await, LONG).await
    }

    /// Tells a job to stop. The answer comes before its end, which takes up to 30 s where the receiver hangs.
    ///
    /// # Errors
    /// See [`ApiError`]; [`ApiError::Refused`] when it has ended already.
    pub async fn stop(&self, id: &str) -> Result<JobInfo, ApiError> {
        self.job(self.long.stop_egress(id).await, LONG).await
    }

    /// The job with this id; None when the server knows none.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn get(&self, id: &str) -> Result<Option<JobInfo>, ApiError> {
        let filter = EgressListFilter::Egress(id.to_owned());
        let jobs = match self.list(filter, false).await {
            Err(ApiError::NotFound(_)) => return Ok(None),
            jobs => jobs?,
        };
        Ok(jobs.into_iter().find(|job| job.id == id))
    }

    /// The jobs of a room that have not ended.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn running(&self, room: &str) -> Result<Vec<JobInfo>, ApiError> {
        self.list(EgressListFilter::Room(room.to_owned()), true).await
    }

    /// Who is in the room, where `identity` is the publisher. A room that does not exist is an empty one.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn look(&self, room: &str, identity: &str) -> Result<RoomView, ApiError> {
        let people = self.rooms.participants(room).await?;
        let mut view = RoomView::default();
        for person in people {
            if person.kind == i32::from(proto::participant_info::Kind::Egress) {
                view.workers.push(person.identity);
            } else if person.identity == identity {
                view.publishing = person.tracks.iter().any(|t| t.r#type == i32::from(proto::TrackType::Video));
            }
        }
        Ok(view)
    }

    async fn list(&self, filter: EgressListFilter, active: bool) -> Result<Vec<JobInfo>, ApiError> {
        let options = EgressListOptions { filter, active, page_token: None };
        match self.short.list_egress(options).await {
            Ok(jobs) => Ok(jobs.into_iter().map(JobInfo::from).collect()),
            Err(error) => Err(self.server.explain(error, SHORT).await),
        }
    }

    async fn job(&self, answer: Result<proto::EgressInfo, ServiceError>, after: Duration) -> Result<JobInfo, ApiError> {
        match answer {
            Ok(info) => Ok(info.into()),
            Err(error) => Err(self.server.explain(error, after).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::key::StreamKey;

    #[test]
    fn bit_rates_follow_the_picture_like_those_of_our_own_encoder() {
        let kbps = |w, h, fps| Encoding::preset(w, h, fps).video_kbps;
        assert_eq!((kbps(1280, 720, 30), kbps(1920, 1080, 30)), (3_000, 6_000));
        assert_eq!((kbps(1280, 720, 60), kbps(1920, 1080, 50)), (4_500, 9_000));
    }

    #[test]
    fn addresses_are_whole_with_key_user_port_and_query() {
        let url = |url: &str, key: Option<&str>| {
            let key = key.map(|key| StreamKey::new(key).unwrap());
            RtmpTarget::parse(url, key).unwrap().full_url().expose_secret().to_owned()
        };
        assert_eq!(url("rtmp://h/app", Some("egress-k1")), "rtmp://h/app/egress-k1");
        assert_eq!(
            url("rtmps://joe:pw22@h:444/a/b", Some("egress-k2?x=1")),
            "rtmps://joe:pw22@h:444/a/b/egress-k2?x=1"
        );
        assert_eq!(url("rtmps://[::1]/live2?backup=1", Some("egress-k3")), "rtmps://[::1]/live2?backup=1/egress-k3");
        assert_eq!(url("rtmp://h/app", None), "rtmp://h/app/");
    }

    #[test]
    fn host_and_port_of_an_address_read_as_our_own_do() {
        for url in ["rtmp://h/app/k", "rtmps://joe:pw22@h/app/k", "rtmps://[::1]/a/b/k", "rtmp://[::1]:1936/a/k"] {
            let key = StreamKey::new("address-test-key").unwrap();
            assert_eq!(address(url), RtmpTarget::parse(url, Some(key)).unwrap().address(), "{url}");
        }
        assert_eq!(address(""), ":1935");
    }

    #[test]
    fn what_a_worker_says_is_taken_without_addresses_and_keys() {
        let url = "rtmp://h/app/words-canary-key-1".to_owned();
        let _target = RtmpTarget::parse(&url, None).unwrap();
        let stream = proto::StreamInfo {
            url: url.clone(),
            status: 2,
            error: format!("no {url}\nx {}", "y".repeat(900)),
            ..Default::default()
        };
        let info = proto::EgressInfo {
            egress_id: "EG_1".into(),
            error: format!("invalid url {url}"),
            details: "words-canary-key-1".into(),
            stream_results: vec![stream],
            status: 77,
            ..Default::default()
        };
        let job = JobInfo::from(info);
        let shown = format!("{job:?}");
        assert!(!shown.contains("canary") && shown.len() < 900, "{shown}");
        assert_eq!((job.status, job.urls[0].status), (JobStatus::Active, UrlStatus::Failed));
    }
}
