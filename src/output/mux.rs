//! Fragmented MP4 (ISO 14496-12) in memory, by libavformat's muxer.

use crate::encode::annexb::{self, nal};
use crate::encode::{EncodedPacket, Packet, StreamInfo, TICKS, Track};
use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::{Dictionary, ffi, format};
use std::io::{self, Write};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

const VIDEO: usize = 0;
const AUDIO: usize = 1;

#[derive(Debug, thiserror::Error)]
#[error("the MP4 muxer failed {doing}: {source}")]
pub struct MuxError {
    doing: &'static str,
    source: ff::Error,
}

/// A `moof` and its `mdat`: both tracks of a short piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub bytes: Bytes,
    /// The first picture is an IDR: decoding can begin here.
    pub starts_with_key: bool,
    /// Of the first packet, [`TICKS`] since the stream began (inside the MP4, time begins with the first fragment).
    pub pts: i64,
    /// To the end of the last packet, [`TICKS`].
    pub duration: i64,
}

/// Cuts packets into fragments.
///
/// A fragment ends before an IDR and where it has become as long as was asked for. The first picture is an IDR: packets
/// before it are left out. Filler data is left out too: MP4 has no use for it, and the decoded pictures are the same.
pub struct Fragmenter {
    output: format::context::Output,
    sink: Sink,
    /// Longest fragment, [`TICKS`].
    longest: i64,
    /// Time of the first IDR, which is zero in the MP4.
    origin: Option<i64>,
    current: Option<Current>,
}

/// The fragment that is being filled.
struct Current {
    key: bool,
    begin: i64,
    end: i64,
}

impl Fragmenter {
    /// Begins an MP4 with fragments of `longest` [`TICKS`] at most. Gives the init segment (`ftyp` and `moov`) beside it.
    ///
    /// `index` makes [`Self::finish`] end with an index of the fragments (`mfra`), which players use to seek.
    pub fn new(info: &StreamInfo, longest: i64, index: bool) -> Result<(Self, Bytes), MuxError> {
        let failed = |source| MuxError { doing: "to begin", source };
        let sink = Sink::default();
        let io = format::context::StreamIo::from_write(sink.clone()).map_err(failed)?;
        let mut output = format::output_to_stream(io, None, Some("mp4")).map_err(failed)?;
        add_streams(&mut output, info).map_err(failed)?;

        let mut options = Dictionary::new();
        // frag_discont: without it both tracks would begin at zero, however far apart their first packets are.
        let flags = "empty_moov+default_base_moof+frag_custom+frag_discont";
        options.set("movflags", &if index { flags.to_owned() } else { format!("{flags}+skip_trailer") });
        options.set("use_editlist", "0");
        options.set("video_track_timescale", &TICKS.to_string());
        output.write_header_with(options).map_err(failed)?;
        let mut fragmenter = Self { output, sink, longest, origin: None, current: None };
        let init = fragmenter.take();
        Ok((fragmenter, init))
    }

    /// Adds a packet. Gives the fragment before it, if it ended there.
    pub fn push(&mut self, packet: &EncodedPacket) -> Result<Option<Fragment>, MuxError> {
        let origin = match (self.origin, packet.track) {
            (Some(origin), _) => origin,
            (None, Track::Video) if packet.key => *self.origin.insert(packet.pts),
            (None, _) => return Ok(None),
        };
        if packet.pts < origin {
            return Ok(None);
        }
        let video_key = packet.track == Track::Video && packet.key;
        let full = self.current.as_ref().is_some_and(|c| video_key || packet.pts - c.begin >= self.longest);
        let done = if full { self.flush()? } else { None };
        self.write(packet, origin)?;
        let end = packet.pts + packet.duration;
        match &mut self.current {
            Some(current) => {
                current.end = current.end.max(end);
                current.begin = current.begin.min(packet.pts);
            }
            none => *none = Some(Current { key: video_key, begin: packet.pts, end }),
        }
        Ok(done)
    }

    /// The fragment so far.
    pub fn flush(&mut self) -> Result<Option<Fragment>, MuxError> {
        let Some(current) = self.current.take() else { return Ok(None) };
        // SAFETY: a context whose header is written; a null packet ends the fragment. The option is the muxer's own, and
        // it clears it with every fragment: unless told so again, it adds up durations and swallows gaps, and sound and
        // picture drift apart with every picture that was never drawn.
        let code = unsafe {
            match ffi::av_write_frame(self.output.as_mut_ptr(), ptr::null_mut()) {
                e if e < 0 => e,
                _ => ffi::av_opt_set(
                    (*self.output.as_mut_ptr()).priv_data,
                    c"movflags".as_ptr(),
                    c"+frag_discont".as_ptr(),
                    0,
                ),
            }
        };
        if code < 0 {
            return Err(MuxError { doing: "to end a fragment", source: code.into() });
        }
        Ok(Some(Fragment {
            bytes: self.take(),
            starts_with_key: current.key,
            pts: current.begin,
            duration: current.end - current.begin,
        }))
    }

    /// The last fragment and the bytes behind it (the index, if one was asked for).
    pub fn finish(mut self) -> Result<(Option<Fragment>, Bytes), MuxError> {
        let last = self.flush()?;
        self.output.write_trailer().map_err(|source| MuxError { doing: "to end", source })?;
        Ok((last, self.take()))
    }

    fn write(&mut self, packet: &Packet, origin: i64) -> Result<(), MuxError> {
        let mut out = match packet.track {
            Track::Video => match annexb::without(&packet.data, &[nal::FILLER]) {
                Some(lean) => ff::Packet::copy(&lean),
                None => ff::Packet::copy(&packet.data),
            },
            Track::Audio => ff::Packet::copy(&packet.data),
        };
        let (stream, rate) = match packet.track {
            Track::Video => (VIDEO, TICKS),
            Track::Audio => (AUDIO, 48_000),
        };
        // The origin is rounded once, so audio packets stay exactly 1,024 samples apart.
        let ts = packet.pts * rate / TICKS - origin * rate / TICKS;
        out.set_stream(stream);
        out.set_pts(Some(ts));
        out.set_dts(Some(ts));
        out.set_duration(packet.duration * rate / TICKS);
        if packet.key {
            out.set_flags(ff::packet::Flags::KEY);
        }
        out.write(&mut self.output).map_err(|source| MuxError { doing: "to take a packet", source })?;
        Ok(())
    }

    /// What the muxer has written since.
    fn take(&mut self) -> Bytes {
        // SAFETY: the custom I/O context lives as long as the output.
        unsafe { ffi::avio_flush((*self.output.as_mut_ptr()).pb) };
        std::mem::take(&mut *self.sink.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn add_streams(output: &mut format::context::Output, info: &StreamInfo) -> Result<(), ff::Error> {
    let none = ff::Error::Other { errno: ff::error::ENOMEM };
    // SAFETY: streams belong to the context, extradata to their parameters; FFmpeg frees both with the context.
    unsafe {
        for (kbps, rate, extradata) in
            [(info.video_kbps, TICKS, &info.video_extradata), (info.audio_kbps, 48_000, &info.audio_extradata)]
        {
            let stream = ffi::avformat_new_stream(output.as_mut_ptr(), ptr::null());
            let copy = ffi::av_mallocz(extradata.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if stream.is_null() || copy.is_null() {
                ffi::av_free(copy.cast());
                return Err(none);
            }
            ptr::copy_nonoverlapping(extradata.as_ptr(), copy, extradata.len());
            (*stream).time_base = ffi::AVRational { num: 1, den: rate as i32 };
            let par = &mut *(*stream).codecpar;
            par.extradata = copy;
            par.extradata_size = extradata.len() as i32;
            par.bit_rate = i64::from(kbps) * 1000;
        }
        let streams = (*output.as_mut_ptr()).streams;
        let video = *streams.add(VIDEO);
        (*video).avg_frame_rate = ffi::AVRational { num: info.fps as i32, den: 1 };
        (*video).r_frame_rate = (*video).avg_frame_rate;
        let par = &mut *(*video).codecpar;
        par.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_VIDEO;
        par.codec_id = ffi::AVCodecID::AV_CODEC_ID_H264;
        par.width = info.width as i32;
        par.height = info.height as i32;
        par.color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
        par.color_primaries = ffi::AVColorPrimaries::AVCOL_PRI_BT709;
        par.color_trc = ffi::AVColorTransferCharacteristic::AVCOL_TRC_BT709;
        par.color_space = ffi::AVColorSpace::AVCOL_SPC_BT709;
        let par = &mut *(**streams.add(AUDIO)).codecpar;
        par.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_AUDIO;
        par.codec_id = ffi::AVCodecID::AV_CODEC_ID_AAC;
        par.sample_rate = info.sample_rate as i32;
        par.frame_size = 1024;
        ffi::av_channel_layout_default(&mut par.ch_layout, i32::from(info.channels));
    }
    Ok(())
}

/// Where the muxer writes to.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
