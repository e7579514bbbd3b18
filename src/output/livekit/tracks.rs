//! The two tracks of a stay: how they are announced, what the server did to them.

use super::ends::{self, End};
use crate::encode::StreamInfo;
use livekit_protocol as proto;
use proto::request_response::Reason;
use str0m::media::{MediaKind, Mid};

/// What the server's side made of a track. Kept over a rejoin: who muted a stream meant the stream, not the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Held {
    #[default]
    No,
    Muted,
    Unpublished,
}

/// [`Held`] of both tracks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    pub picture: Held,
    pub sound: Held,
}

impl Holds {
    pub fn of(&self, kind: MediaKind) -> Held {
        match kind {
            MediaKind::Video => self.picture,
            MediaKind::Audio => self.sound,
        }
    }

    fn of_mut(&mut self, kind: MediaKind) -> &mut Held {
        match kind {
            MediaKind::Video => &mut self.picture,
            MediaKind::Audio => &mut self.sound,
        }
    }

    /// For the status; None while both tracks flow.
    pub fn words(&self) -> Option<String> {
        let named = |held| {
            let both = [(self.picture, "picture"), (self.sound, "sound")];
            both.iter().filter(|(h, _)| *h == held).map(|(_, name)| *name).collect::<Vec<_>>().join(" and ")
        };
        let (muted, gone) = (named(Held::Muted), named(Held::Unpublished));
        let mut words = Vec::new();
        if !muted.is_empty() {
            words.push(format!("muted by the server: {muted}; unmute it there, or start the stream again"));
        }
        if !gone.is_empty() {
            words.push(format!("unpublished by the server: {gone}; start the stream again to publish it anew"));
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}

pub(super) fn name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Video => "picture",
        MediaKind::Audio => "sound",
    }
}

/// A track on its way to being published, or published.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub kind: MediaKind,
    /// Ties AddTrack to the section of our offer.
    pub cid: String,
    /// The server's answer to AddTrack.
    pub info: Option<proto::TrackInfo>,
    pub mid: Option<Mid>,
}

/// The tracks of one stay.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks(Vec<Track>);

/// What a message of the server changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Stopped(MediaKind),
    /// Flows again; a picture begins with an IDR.
    Flows(MediaKind),
}

impl Tracks {
    /// The tracks to publish, and the AddTrack of each. What the server had unpublished stays away, what it had muted is
    /// announced as muted. `unique`: no two stays may share it.
    pub fn announce(info: &StreamInfo, holds: &Holds, unique: &str) -> (Tracks, Vec<proto::AddTrackRequest>) {
        let kinds = [MediaKind::Video, MediaKind::Audio];
        // A microphone that never says anything would be tied to the picture by players and waited for by egress jobs.
        let there = |kind: &MediaKind| *kind == MediaKind::Video || info.audio_kbps > 0;
        let kinds = kinds.into_iter().filter(|kind| there(kind) && holds.of(*kind) != Held::Unpublished);
        let (tracks, requests) = kinds
            .map(|kind| {
                let cid = format!("{}-{unique}", name(kind));
                let mut request = match kind {
                    MediaKind::Video => picture_request(info, &cid),
                    MediaKind::Audio => sound_request(&cid),
                };
                request.muted = holds.of(kind) == Held::Muted;
                (Track { kind, cid, info: None, mid: None }, request)
            })
            .unzip();
        (Tracks(tracks), requests)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Track> {
        self.0.iter()
    }

    pub fn mid(&self, kind: MediaKind) -> Option<Mid> {
        self.0.iter().find(|t| t.kind == kind)?.mid
    }

    pub fn sid(&self, kind: MediaKind) -> Option<&str> {
        Some(&self.0.iter().find(|t| t.kind == kind)?.info.as_ref()?.sid)
    }

    pub fn is_picture(&self, mid: Mid) -> bool {
        self.mid(MediaKind::Video) == Some(mid)
    }

    pub fn set_mid(&mut self, kind: MediaKind, mid: Mid) {
        if let Some(track) = self.0.iter_mut().find(|t| t.kind == kind) {
            track.mid = Some(mid);
        }
    }

    /// The server took a track. True when it was the last one that had been waited for.
    pub fn published(&mut self, response: proto::TrackPublishedResponse) -> bool {
        let waited = !self.all_published();
        if let Some(track) = self.0.iter_mut().find(|t| t.cid == response.cid) {
            track.info = response.track;
        }
        waited && self.all_published()
    }

    pub fn all_published(&self) -> bool {
        self.0.iter().all(|t| t.info.is_some())
    }

    /// What the server still holds of us: part of SyncState.
    pub fn for_sync(&self) -> Vec<proto::TrackPublishedResponse> {
        let published = self.0.iter().filter(|t| t.info.is_some());
        published.map(|t| proto::TrackPublishedResponse { cid: t.cid.clone(), track: t.info.clone() }).collect()
    }

    fn kind_of(&self, sid: &str) -> Option<MediaKind> {
        self.0.iter().find(|t| t.info.as_ref().is_some_and(|i| i.sid == sid)).map(|t| t.kind)
    }

    pub fn muted(&self, request: &proto::MuteTrackRequest, holds: &mut Holds) -> Change {
        let Some(kind) = self.kind_of(&request.sid) else { return Change::Nothing };
        let held = holds.of_mut(kind);
        match (*held, request.muted) {
            (Held::No, true) => {
                *held = Held::Muted;
                Change::Stopped(kind)
            }
            (Held::Muted, false) => {
                *held = Held::No;
                Change::Flows(kind)
            }
            _ => Change::Nothing,
        }
    }

    /// The server took a track away. Nothing of it is left: naming it in a resume would end the stay.
    pub fn unpublished(&mut self, sid: &str, holds: &mut Holds) -> Change {
        let Some(kind) = self.kind_of(sid) else { return Change::Nothing };
        self.0.retain(|t| t.kind != kind);
        *holds.of_mut(kind) = Held::Unpublished;
        Change::Stopped(kind)
    }

    /// A RequestResponse about AddTrack that is no success. Which track it means is in the request where the server repeats it.
    pub fn refused(response: &proto::RequestResponse) -> Option<End> {
        use proto::request_response::Request;
        let track = match &response.request {
            Some(Request::AddTrack(request)) => &*request.name,
            // The other requests of ours can fail without harm.
            _ => return None,
        };
        match response.reason() {
            Reason::Ok | Reason::Queued => None,
            reason => Some(ends::track_refused(track, reason, &response.message)),
        }
    }
}

fn picture_request(info: &StreamInfo, cid: &str) -> proto::AddTrackRequest {
    let layer = proto::VideoLayer {
        quality: proto::VideoQuality::High as i32,
        width: info.width,
        height: info.height,
        bitrate: info.video_kbps.saturating_mul(1_000),
        ..Default::default()
    };
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        name: name(MediaKind::Video).to_owned(),
        r#type: proto::TrackType::Video as i32,
        width: info.width,
        height: info.height,
        // ParticipantEgress takes a camera and a microphone, or a shared screen: the pair of the two must fit.
        source: proto::TrackSource::Camera as i32,
        layers: vec![layer.clone()],
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: "h264".to_owned(),
            cid: cid.to_owned(),
            layers: vec![layer],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn sound_request(cid: &str) -> proto::AddTrackRequest {
    use proto::AudioTrackFeature as Feature;
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        name: name(MediaKind::Audio).to_owned(),
        r#type: proto::TrackType::Audio as i32,
        source: proto::TrackSource::Microphone as i32,
        // The packets are plain Opus with in-band FEC.
        disable_red: true,
        audio_features: vec![Feature::TfStereo as i32, Feature::TfNoDtx as i32],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::AudioCodec;
    use bytes::Bytes;

    fn info() -> StreamInfo {
        StreamInfo {
            width: 1280,
            height: 720,
            fps: 30,
            video_kbps: 2_500,
            video_extradata: Bytes::new(),
            audio_codec: AudioCodec::Opus,
            audio_kbps: 96,
            sample_rate: 48_000,
            channels: 2,
            audio_extradata: Bytes::new(),
        }
    }

    /// Both published, as `TR_picture…` and `TR_sound…`.
    fn published(holds: &Holds) -> Tracks {
        let (mut tracks, requests) = Tracks::announce(&info(), holds, "1");
        for (n, request) in requests.iter().enumerate() {
            let info = proto::TrackInfo { sid: format!("TR_{}", request.name), ..Default::default() };
            let last = tracks.published(proto::TrackPublishedResponse { cid: request.cid.clone(), track: Some(info) });
            assert_eq!(last, n + 1 == requests.len());
        }
        tracks
    }

    fn mute(sid: &str, muted: bool) -> proto::MuteTrackRequest {
        proto::MuteTrackRequest { sid: sid.into(), muted }
    }

    #[test]
    fn tracks_are_announced_by_name_size_rate_and_codec() {
        let (tracks, requests) = Tracks::announce(&info(), &Holds::default(), "7");
        let [picture, sound] = &requests[..] else { panic!("two tracks") };
        assert_eq!((&*picture.name, picture.width, picture.height), ("picture", 1280, 720));
        assert_eq!((picture.layers[0].bitrate, &*picture.simulcast_codecs[0].codec), (2_500_000, "h264"));
        assert_eq!((&*sound.name, sound.audio_features[0]), ("sound", proto::AudioTrackFeature::TfStereo as i32));
        assert!(tracks.iter().zip(&requests).all(|(t, r)| t.cid == r.cid) && picture.cid != sound.cid);
    }

    #[test]
    fn a_stream_without_sound_announces_none() {
        let mute = StreamInfo { audio_kbps: 0, ..info() };
        let (_, requests) = Tracks::announce(&mute, &Holds::default(), "1");
        assert!(matches!(&requests[..], [picture] if picture.name == "picture"));
    }

    #[test]
    fn a_muted_track_stops_until_it_is_unmuted() {
        let mut holds = Holds::default();
        let tracks = published(&holds);
        assert_eq!(tracks.muted(&mute("TR_picture", true), &mut holds), Change::Stopped(MediaKind::Video));
        assert_eq!(tracks.muted(&mute("TR_picture", true), &mut holds), Change::Nothing, "said twice");
        assert_eq!(holds.words().unwrap(), "muted by the server: picture; unmute it there, or start the stream again");
        assert_eq!(tracks.muted(&mute("TR_picture", false), &mut holds), Change::Flows(MediaKind::Video));
        assert_eq!((holds.words(), tracks.muted(&mute("TR_other", true), &mut holds)), (None, Change::Nothing));
    }

    #[test]
    fn what_the_server_held_stays_held_over_a_rejoin() {
        let mut holds = Holds::default();
        let mut tracks = published(&holds);
        tracks.muted(&mute("TR_sound", true), &mut holds);
        tracks.unpublished("TR_picture", &mut holds);
        let synced: Vec<_> = tracks.for_sync().into_iter().filter_map(|t| t.track).map(|t| t.sid).collect();
        assert_eq!(synced, ["TR_sound"], "a resume names what the server still has");
        assert_eq!(tracks.muted(&mute("TR_picture", false), &mut holds), Change::Nothing, "gone is gone");
        let words = holds.words().unwrap();
        assert!(words.contains("muted by the server: sound") && words.contains("unpublished by the server: picture"));
        let (_, requests) = Tracks::announce(&info(), &holds, "2");
        assert!(matches!(&requests[..], [sound] if sound.name == "sound" && sound.muted));
    }

    #[test]
    fn a_refused_track_is_told_by_name_and_other_refusals_are_not_ends() {
        let refusal = |request, reason: Reason| proto::RequestResponse {
            reason: reason as i32,
            message: "no".into(),
            request: Some(request),
            ..Default::default()
        };
        let add = proto::request_response::Request::AddTrack(sound_request("1"));
        let end = Tracks::refused(&refusal(add.clone(), Reason::NotAllowed));
        assert!(matches!(end, Some(End::Final(words)) if words.contains("publish sound")));
        assert!(matches!(Tracks::refused(&refusal(add.clone(), Reason::LimitExceeded)), Some(End::Lost(_))));
        assert_eq!(Tracks::refused(&refusal(add, Reason::Queued)), None);
        let metadata = proto::request_response::Request::UpdateMetadata(Default::default());
        assert_eq!(Tracks::refused(&refusal(metadata, Reason::NotAllowed)), None);
    }
}
