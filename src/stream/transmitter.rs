use super::Picture;
use crate::encode::{
    AudioClock, AudioCodec, AudioEncoder, EncodeError, StreamInfo, TICKS, VideoEncoder, VideoSettings,
};
use crate::game::MatchState;
use crate::output::{Destination, Hurry, State, Status};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Names a destination within its stream.
pub type OutputId = u32;

/// Opens an audio encoder when the first destination asks for its codec.
pub type OpenAudio = Box<dyn FnMut() -> Result<Box<dyn AudioEncoder>, EncodeError> + Send>;

/// What a viewer who joins a LiveKit room does until an IDR comes, while an RTMP(S) destination gets the same encode. A
/// stream that goes to rooms alone always answers at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joiners {
    /// Waits for the next regular IDR: 225 to 1,776 ms measured, at most [`GOP_SECONDS`](crate::encode::GOP_SECONDS). The
    /// GOP stays constant, as Twitch and YouTube ask for.
    #[default]
    WaitForGop,
    /// Gets an IDR at once: 26 to 58 ms measured. Each breaks the constant GOP of the RTMP(S) destinations too (YouTube shows a
    /// warning, Twitch advises against it) and eats the bit rate of the pictures after it: their quality fell to 23 dB in
    /// a burst. At most one in 500 ms.
    AtOnce,
}

/// Media time between two IDRs that viewers asked for, ticks: a viewer repeats its request until a picture comes.
const IDR_PAUSE: i64 = TICKS / 2;

/// How much earlier than the picture a room's sound is sent, ticks (60 ms). A WebRTC receiver plays a picture when it has it
/// and holds sound for about 60 ms, and Opus is whole only 26 ms after its beginning: without a lead the sound was heard 70 ms
/// after its picture (LiveKit's Python SDK). A receiver's own correction begins at 30 ms and takes half a minute.
const ROOM_LEAD: i64 = TICKS * 60 / 1000;

/// Encodes a stream's pictures and sound once and hands every packet to every destination, the sound in the codec that
/// each takes. Knows no clock.
pub struct Transmitter {
    video: Box<dyn VideoEncoder>,
    settings: VideoSettings,
    aac: Sound,
    /// While a destination takes it.
    opus: Option<Sound>,
    open_opus: OpenAudio,
    outputs: Vec<Output>,
    joiners: Joiners,
    idr_wanted: bool,
    /// When a viewer last got an IDR out of turn.
    joined: Option<i64>,
    /// What the pictures show.
    state: Option<Arc<MatchState>>,
    trouble: [Option<String>; 3],
}

/// What can go wrong by itself; index of `trouble`.
#[derive(Clone, Copy, Debug)]
enum Part {
    Video,
    Aac,
    Opus,
}

/// The stream's sound in one codec.
struct Sound {
    /// None: it does not open.
    encoder: Option<Box<dyn AudioEncoder>>,
    clock: AudioClock,
    /// What the destinations that take it were told.
    info: Arc<StreamInfo>,
}

struct Output {
    id: OutputId,
    takes: AudioCodec,
    to: Box<dyn Destination>,
}

impl Transmitter {
    /// `audio` makes AAC.
    pub fn new(video: Box<dyn VideoEncoder>, audio: Box<dyn AudioEncoder>, settings: VideoSettings) -> Transmitter {
        let info = Arc::new(StreamInfo::new(&settings, &*video, &*audio));
        Transmitter {
            video,
            settings,
            aac: Sound { encoder: Some(audio), clock: AudioClock::default(), info },
            opus: None,
            open_opus: Box::new(|| Err(EncodeError::Missing("Opus", "libopus"))),
            outputs: Vec::new(),
            joiners: Joiners::default(),
            idr_wanted: false,
            joined: None,
            state: None,
            trouble: Default::default(),
        }
    }

    /// How the Opus encoder is opened, once a destination takes Opus.
    pub fn opus(&mut self, open: OpenAudio) {
        self.open_opus = open;
    }

    /// Whether an IDR may break the constant GOP of the destinations that need one.
    pub fn joiners(&mut self, joiners: Joiners) {
        self.joiners = joiners;
    }

    /// Adds a destination; it begins with the next IDR. Alone, it gets one at once.
    ///
    /// A destination whose sound cannot be encoded gets the picture alone, and [`Self::trouble`] says why.
    pub fn add(&mut self, id: OutputId, mut output: Box<dyn Destination>) {
        let takes = output.audio_codec();
        if takes == AudioCodec::Opus {
            self.need_opus();
        }
        output.configure(self.in_codec(takes).unwrap_or(&self.aac).info.clone());
        if let Some(state) = &self.state {
            output.show(state);
        }
        // An extra IDR would break the constant GOP of those who already receive.
        self.idr_wanted |= self.outputs.is_empty();
        self.outputs.push(Output { id, takes, to: output });
    }

    /// Takes a destination out; stop it with its own deadline.
    pub fn remove(&mut self, id: OutputId) -> Option<Box<dyn Destination>> {
        let i = self.outputs.iter().position(|o| o.id == id)?;
        let removed = self.outputs.remove(i).to;
        if self.outputs.iter().all(|o| o.takes != AudioCodec::Opus) {
            self.opus = None;
            self.trouble[Part::Opus as usize] = None;
        }
        Some(removed)
    }

    /// The next picture becomes an IDR.
    pub fn want_idr(&mut self) {
        self.idr_wanted = true;
    }

    /// Changes the bit rate; the next picture becomes an IDR.
    pub fn set_kbps(&mut self, kbps: u32) -> Result<(), EncodeError> {
        self.video.set_kbps(kbps)?;
        self.settings.kbps = kbps;
        self.reconfigure();
        Ok(())
    }

    /// Encodes a picture shown at `pts` ticks and all sound up to it. Returns the bytes sent to the destination that got
    /// most.
    pub fn picture(&mut self, picture: &Picture, pts: i64) -> usize {
        if let Some(state) = &picture.state {
            self.outputs.iter_mut().for_each(|o| o.to.show(state));
            self.state = Some(state.clone());
        }
        let joins = self.joiner_gets_idr(pts);
        let mut bytes = 0;
        match self.video.encode(&picture.frame, pts, picture.changed, self.idr_wanted || joins) {
            Ok(packets) => {
                self.idr_wanted = false;
                if joins {
                    self.joined = Some(pts);
                }
                if self.works_again(Part::Video) {
                    self.reconfigure();
                }
                for packet in packets {
                    bytes += packet.data.len();
                    self.outputs.iter_mut().for_each(|o| o.to.send(packet.clone()));
                }
            }
            Err(error) => self.fail(Part::Video, &error),
        }
        let mut sound = [0, 0];
        for (codec, lead, bytes) in [(AudioCodec::Aac, 0, 0), (AudioCodec::Opus, ROOM_LEAD, 1)] {
            let Some(of) = self.in_codec_mut(codec) else { continue };
            for pts in of.clock.due(pts + lead) {
                sound[bytes] += self.sound(codec, pts);
            }
        }
        bytes + sound[0].max(sound[1])
    }

    /// Encodes the sound at `pts` in one codec and sends it to whom it is for; how many bytes each of them got.
    fn sound(&mut self, codec: AudioCodec, pts: i64) -> usize {
        let part = if codec == AudioCodec::Aac { Part::Aac } else { Part::Opus };
        let Some(encoder) = self.in_codec_mut(codec).and_then(|sound| sound.encoder.as_mut()) else { return 0 };
        let packets = match encoder.encode(&[], pts) {
            Ok(packets) => packets,
            Err(error) => {
                self.fail(part, &error);
                return 0;
            }
        };
        self.works_again(part);
        let mut taken = self.outputs.is_empty();
        for output in self.outputs.iter_mut().filter(|o| o.takes == codec) {
            packets.iter().for_each(|packet| output.to.send(packet.clone()));
            taken = true;
        }
        if taken { packets.iter().map(|p| p.data.len()).sum() } else { 0 }
    }

    fn in_codec(&self, codec: AudioCodec) -> Option<&Sound> {
        if codec == AudioCodec::Aac { Some(&self.aac) } else { self.opus.as_ref() }
    }

    fn in_codec_mut(&mut self, codec: AudioCodec) -> Option<&mut Sound> {
        if codec == AudioCodec::Aac { Some(&mut self.aac) } else { self.opus.as_mut() }
    }

    /// Whether a viewer waits for an IDR and may have one.
    fn joiner_gets_idr(&self, pts: i64) -> bool {
        if self.joined.is_some_and(|last| pts - last < IDR_PAUSE) || !self.outputs.iter().any(|o| o.to.wants_idr()) {
            return false;
        }
        let receives = |o: &Output| !matches!(o.to.status().state, State::NeedsAttention | State::Stopped);
        self.joiners == Joiners::AtOnce || !self.outputs.iter().any(|o| o.to.needs_constant_gop() && receives(o))
    }

    /// Opens the Opus encoder if it is not open; one that failed is tried again with every destination that comes.
    fn need_opus(&mut self) {
        if self.opus.as_ref().is_some_and(|sound| sound.encoder.is_some()) {
            return;
        }
        let encoder = match (self.open_opus)() {
            Ok(encoder) => {
                self.works_again(Part::Opus);
                Some(encoder)
            }
            Err(error) => {
                let words = format!("LiveKit rooms get no sound: {error}");
                tracing::error!("{words}");
                self.trouble[Part::Opus as usize] = Some(words);
                None
            }
        };
        self.opus = Some(Sound { encoder, clock: self.aac.clock.clone(), info: self.aac.info.clone() });
        self.reconfigure();
    }

    /// Whether everything before a picture at `pts` is a whole GOP.
    pub fn begins_gop(&self, pts: i64) -> bool {
        self.video.begins_gop(pts)
    }

    /// What is wrong with encoding at the moment.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.iter().flatten().next().map(String::as_str)
    }

    pub fn statuses(&self) -> Vec<Status> {
        self.outputs.iter().map(|o| o.to.status()).collect()
    }

    /// Names of the destinations, in the order of [`Self::statuses`].
    pub fn ids(&self) -> Vec<OutputId> {
        self.outputs.iter().map(|o| o.id).collect()
    }

    /// What shortens [`Self::stop`].
    pub fn hurries(&self) -> Vec<Hurry> {
        self.outputs.iter().filter_map(|o| o.to.hurry()).collect()
    }

    /// Stops every destination at the same time, within `deadline`. Returns how each ended, in the order of
    /// [`Self::statuses`].
    pub fn stop(self, deadline: Duration) -> Vec<Status> {
        std::thread::scope(|scope| {
            let end = |output: Output| {
                let before = output.to.status();
                (before, scope.spawn(move || output.to.stop(deadline)))
            };
            let ending: Vec<_> = self.outputs.into_iter().map(end).collect();
            let ended = ending.into_iter().map(|(before, thread)| {
                thread.join().unwrap_or_else(|_| {
                    tracing::error!(destination = before.name, "a destination's end panicked");
                    let last_error = Some("its end failed by a fault of the program".to_owned());
                    Status { state: State::NeedsAttention, last_error, ..before }
                })
            });
            ended.collect()
        })
    }

    fn fail(&mut self, part: Part, error: &EncodeError) {
        let words = error.to_string();
        let trouble = &mut self.trouble[part as usize];
        if trouble.as_deref() != Some(&words) {
            tracing::error!("{words}; the encoder is being rebuilt, destinations see a gap");
            *trouble = Some(words);
        }
    }

    /// Whether it did not before.
    fn works_again(&mut self, part: Part) -> bool {
        let again = self.trouble[part as usize].take().is_some();
        if again {
            tracing::info!(?part, "the encoder works again");
        }
        again
    }

    /// Tells the destinations when the parameters are no longer those they have.
    fn reconfigure(&mut self) {
        for codec in [AudioCodec::Aac, AudioCodec::Opus] {
            let Some(info) = self.in_codec(codec).map(|sound| self.info(codec, sound)) else { continue };
            let Some(sound) = self.in_codec_mut(codec).filter(|sound| *sound.info != info) else { continue };
            let info = Arc::new(info);
            sound.info = info.clone();
            for output in self.outputs.iter_mut().filter(|o| o.takes == codec) {
                output.to.configure(info.clone());
            }
        }
    }

    /// What destinations of this sound must know now.
    fn info(&self, codec: AudioCodec, sound: &Sound) -> StreamInfo {
        match &sound.encoder {
            Some(encoder) => StreamInfo::new(&self.settings, &*self.video, &**encoder),
            None => StreamInfo {
                audio_codec: codec,
                audio_kbps: 0,
                audio_extradata: Bytes::new(),
                ..self.info(AudioCodec::Aac, &self.aac)
            },
        }
    }
}
