use super::Picture;
use crate::encode::{
    AudioClock, AudioEncoder, EncodeError, EncodedPacket, StreamInfo, Track, VideoEncoder, VideoSettings,
};
use crate::output::{Destination, State, Status};
use std::sync::Arc;
use std::time::Duration;

/// Names a destination within its stream.
pub type OutputId = u32;

/// Encodes a stream's pictures and sound once and hands every packet to every destination. Knows no clock.
pub struct Transmitter {
    video: Box<dyn VideoEncoder>,
    audio: Box<dyn AudioEncoder>,
    settings: VideoSettings,
    info: Arc<StreamInfo>,
    outputs: Vec<(OutputId, Box<dyn Destination>)>,
    sound: AudioClock,
    idr_wanted: bool,
    /// What is wrong with the picture, and with the sound.
    trouble: [Option<String>; 2],
}

impl Transmitter {
    pub fn new(video: Box<dyn VideoEncoder>, audio: Box<dyn AudioEncoder>, settings: VideoSettings) -> Transmitter {
        let info = Arc::new(StreamInfo::new(&settings, &*video, &*audio));
        Transmitter {
            video,
            audio,
            settings,
            info,
            outputs: Vec::new(),
            sound: AudioClock::default(),
            idr_wanted: false,
            trouble: [None, None],
        }
    }

    /// Adds a destination; it begins with the next IDR. Alone, it gets one at once.
    pub fn add(&mut self, id: OutputId, mut output: Box<dyn Destination>) {
        output.configure(self.info.clone());
        // An extra IDR would break the constant GOP of those who already receive.
        self.idr_wanted |= self.outputs.is_empty();
        self.outputs.push((id, output));
    }

    /// Takes a destination out; stop it with its own deadline.
    pub fn remove(&mut self, id: OutputId) -> Option<Box<dyn Destination>> {
        let i = self.outputs.iter().position(|(o, _)| *o == id)?;
        Some(self.outputs.remove(i).1)
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

    /// Encodes a picture shown at `pts` ticks and all sound up to it. Returns the bytes sent to each destination.
    pub fn picture(&mut self, picture: &Picture, pts: i64) -> usize {
        let mut bytes = 0;
        match self.video.encode(&picture.frame, pts, picture.changed, self.idr_wanted) {
            Ok(packets) => {
                self.idr_wanted = false;
                if self.works_again(Track::Video) {
                    self.reconfigure();
                }
                for packet in packets {
                    bytes += packet.data.len();
                    self.send(packet);
                }
            }
            Err(error) => self.fail(Track::Video, &error),
        }
        for audio_pts in self.sound.due(pts) {
            match self.audio.encode(&[], audio_pts) {
                Ok(packets) => {
                    self.works_again(Track::Audio);
                    for packet in packets {
                        bytes += packet.data.len();
                        self.send(packet);
                    }
                }
                Err(error) => self.fail(Track::Audio, &error),
            }
        }
        bytes
    }

    /// What is wrong with encoding at the moment.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.iter().flatten().next().map(String::as_str)
    }

    pub fn statuses(&self) -> Vec<Status> {
        self.outputs.iter().map(|(_, o)| o.status()).collect()
    }

    /// Stops every destination at the same time, within `deadline`. Returns how each ended, in the order of
    /// [`Self::statuses`].
    pub fn stop(self, deadline: Duration) -> Vec<Status> {
        std::thread::scope(|scope| {
            let end = |(_, output): (OutputId, Box<dyn Destination>)| {
                let before = output.status();
                (before, scope.spawn(move || output.stop(deadline)))
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

    fn send(&mut self, packet: EncodedPacket) {
        for (_, output) in &mut self.outputs {
            output.send(packet.clone());
        }
    }

    fn fail(&mut self, track: Track, error: &EncodeError) {
        let words = error.to_string();
        let trouble = &mut self.trouble[track as usize];
        if trouble.as_deref() != Some(&words) {
            tracing::error!("{words}; the encoder is being rebuilt, destinations see a gap");
            *trouble = Some(words);
        }
    }

    /// Whether it did not before.
    fn works_again(&mut self, track: Track) -> bool {
        let again = self.trouble[track as usize].take().is_some();
        if again {
            tracing::info!(?track, "the encoder works again");
        }
        again
    }

    /// Tells the destinations when the parameters are no longer those they have.
    fn reconfigure(&mut self) {
        let info = StreamInfo::new(&self.settings, &*self.video, &*self.audio);
        if info != *self.info {
            self.info = Arc::new(info);
            for (_, output) in &mut self.outputs {
                output.configure(self.info.clone());
            }
        }
    }
}
