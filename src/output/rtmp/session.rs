//! One RTMP connection: libavformat's FLV muxer on its RTMP protocol, every call under a deadline.
//!
//! ffmpeg-next offers interrupt callbacks for inputs only, so the output context is handled by FFI here, and only here.

use super::RtmpOptions;
use super::interleave::Interleaver;
use super::reason::{Doing, Evidence, Failure, RtmpError, classify};
use super::trust::Trust;
use crate::encode::{EncodedPacket, StreamInfo, TICKS, Track};
use crate::output::key::RtmpTarget;
use crate::output::log;
use ffmpeg_next::{Dictionary, ffi};
use secrecy::ExposeSecret;
use std::ffi::{CString, c_int, c_void};
use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a failed connection may still take to say goodbye.
const ABANDON: Duration = Duration::from_millis(250);
/// FFmpeg asks its callback every 100 ms.
const POLL: Duration = Duration::from_millis(100);
const NEVER: u64 = u64::MAX;

const OPENING: u8 = 0;
const WRITING: u8 = 1;
const CLOSING: u8 = 2;

/// The moment at which the running FFmpeg call must give up. Shared with the thread that stops the destination.
#[derive(Debug)]
pub(super) struct Deadline {
    epoch: Instant,
    /// All in ms since `epoch`.
    call: AtomicU64,
    drain_end: AtomicU64,
    stop_end: AtomicU64,
    phase: AtomicU8,
}

impl Deadline {
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
            call: AtomicU64::new(NEVER),
            drain_end: AtomicU64::new(NEVER),
            stop_end: AtomicU64::new(NEVER),
            phase: AtomicU8::new(OPENING),
        }
    }

    /// A connection begins to be made: `time` from now for all of it.
    pub fn begin_opening(&self, time: Duration) {
        self.arm(OPENING, time);
    }

    fn arm(&self, phase: u8, time: Duration) {
        self.phase.store(phase, Ordering::Relaxed);
        self.call.store(self.ms(Instant::now() + time), Ordering::Relaxed);
    }

    /// The destination must be gone by then: opening is broken off at once, what is queued may use the first part of
    /// the time, the goodbye the rest. Said again, the sooner one counts.
    pub fn stop_by(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).saturating_sub(POLL);
        self.drain_end.fetch_min(self.ms(Instant::now() + left.mul_f32(0.6)), Ordering::Relaxed);
        self.stop_end.fetch_min(self.ms(Instant::now() + left.mul_f32(0.9)), Ordering::Relaxed);
    }

    pub fn expired(&self) -> bool {
        let now = self.ms(Instant::now());
        let stop = match self.phase.load(Ordering::Relaxed) {
            OPENING if self.stop_end.load(Ordering::Relaxed) != NEVER => return true,
            WRITING => self.drain_end.load(Ordering::Relaxed),
            _ => self.stop_end.load(Ordering::Relaxed),
        };
        now >= self.call.load(Ordering::Relaxed).min(stop)
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_millis()).unwrap_or(NEVER)
    }

    /// The callback that FFmpeg polls in its blocking calls. `self` must outlive the context that gets it.
    fn interrupt(self: &Arc<Self>) -> ffi::AVIOInterruptCB {
        unsafe extern "C" fn expired(opaque: *mut c_void) -> c_int {
            // SAFETY: opaque is the Deadline below, kept alive by the Session that owns the context.
            unsafe { (*opaque.cast::<Deadline>()).expired().into() }
        }
        ffi::AVIOInterruptCB { callback: Some(expired), opaque: Arc::as_ptr(self).cast_mut().cast() }
    }
}

/// A published stream.
pub(super) struct Session {
    /// Owned; `pb` in it too.
    context: *mut ffi::AVFormatContext,
    packet: *mut ffi::AVPacket,
    deadline: Arc<Deadline>,
    write_deadline: Duration,
    info: Arc<StreamInfo>,
    /// The decoder must be told new parameter sets with the next IDR.
    new_extradata: bool,
    row: Interleaver,
    /// Time of the IDR that began the connection, [`TICKS`].
    origin: Option<i64>,
    /// Last timestamp a track was given, ms.
    last: [Option<i64>; 2],
    tls: bool,
    host: String,
    address: String,
}

impl Session {
    /// Connects within `time`, publishes, and writes onMetaData and the sequence headers. `at`: the address to connect to in
    /// place of the host's.
    pub fn open(
        target: &RtmpTarget,
        at: Option<IpAddr>,
        time: Duration,
        options: &RtmpOptions,
        info: &Arc<StreamInfo>,
        trust: Option<&Trust>,
        deadline: &Arc<Deadline>,
    ) -> Result<Self, Failure> {
        log::begin_capture();
        deadline.begin_opening(time);
        let mut session = Self {
            context: ptr::null_mut(),
            packet: ptr::null_mut(),
            deadline: deadline.clone(),
            write_deadline: options.write_deadline,
            info: info.clone(),
            new_extradata: false,
            row: Interleaver::default(),
            origin: None,
            last: [None; 2],
            tls: target.tls(),
            host: target.host().to_owned(),
            address: target.address(),
        };
        session.create()?;
        session.connect(target, at, options, trust)?;
        session.write_header()?;
        Ok(session)
    }

    fn create(&mut self) -> Result<(), Failure> {
        // SAFETY: plain allocation; the context is freed in Drop. No address goes in, so no log line can name one.
        unsafe {
            let code =
                ffi::avformat_alloc_output_context2(&mut self.context, ptr::null(), c"flv".as_ptr(), ptr::null());
            self.packet = ffi::av_packet_alloc();
            if code < 0 || self.context.is_null() || self.packet.is_null() {
                return Err(self.other("this FFmpeg has no FLV muxer, or memory has run out"));
            }
            (*self.context).interrupt_callback = self.deadline.interrupt();
            (*self.context).flags |= ffi::AVFMT_FLAG_FLUSH_PACKETS;
            let video = self.add_stream(Track::Video)?;
            let info = &self.info;
            let rate = ffi::AVRational { num: i32::try_from(info.fps).unwrap_or(i32::MAX), den: 1 };
            (*video).avg_frame_rate = rate;
            (*video).r_frame_rate = rate;
            let v = &mut *(*video).codecpar;
            v.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_VIDEO;
            v.codec_id = ffi::AVCodecID::AV_CODEC_ID_H264;
            v.width = i32::try_from(info.width).unwrap_or(i32::MAX);
            v.height = i32::try_from(info.height).unwrap_or(i32::MAX);
            v.bit_rate = meta_rate(info.video_kbps);
            let audio = self.add_stream(Track::Audio)?;
            let a = &mut *(*audio).codecpar;
            a.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_AUDIO;
            a.codec_id = ffi::AVCodecID::AV_CODEC_ID_AAC;
            a.sample_rate = i32::try_from(self.info.sample_rate).unwrap_or(i32::MAX);
            a.frame_size = 1_024;
            a.bit_rate = meta_rate(self.info.audio_kbps);
            ffi::av_channel_layout_default(&mut a.ch_layout, self.info.channels.into());
        }
        Ok(())
    }

    /// # Safety
    /// The context exists and no header is written yet.
    unsafe fn add_stream(&self, track: Track) -> Result<*mut ffi::AVStream, Failure> {
        let data = match track {
            Track::Video => &self.info.video_extradata,
            Track::Audio => &self.info.audio_extradata,
        };
        // SAFETY: see above; extradata is allocated by libavutil with the padding it asks for, and freed with the stream.
        unsafe {
            let stream = ffi::avformat_new_stream(self.context, ptr::null());
            let size = data.len();
            let extra = ffi::av_mallocz(size + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if stream.is_null() || extra.is_null() {
                return Err(self.other("memory has run out"));
            }
            ptr::copy_nonoverlapping(data.as_ptr(), extra, size);
            (*(*stream).codecpar).extradata = extra;
            (*(*stream).codecpar).extradata_size = i32::try_from(size).unwrap_or(0);
            (*stream).time_base = ffi::AVRational { num: 1, den: 1_000 };
            Ok(stream)
        }
    }

    fn connect(
        &mut self,
        target: &RtmpTarget,
        at: Option<IpAddr>,
        options: &RtmpOptions,
        trust: Option<&Trust>,
    ) -> Result<(), Failure> {
        let mut settings = Dictionary::new();
        settings.set("rtmp_app", target.app());
        settings.set("rtmp_playpath", target.key().map_or("", |k| k.expose()));
        settings.set("rtmp_tcurl", &target.tc_url());
        // Look for the server's messages after every packet, not every tenth: a refusal may follow `publish`.
        settings.set("rtmp_flush_interval", "1");
        settings.set("tcp_nodelay", "1");
        // libavformat hands what RTMP does not know down to TLS and TCP.
        settings.set("send_buffer_size", &options.send_buffer.to_string());
        if let Some(trust) = trust {
            trust.apply(&mut settings);
        }
        let url = CString::new(target.connect_url(at).expose_secret()).map_err(|_| self.other("bad address"))?;
        // SAFETY: the context lives; the dictionary goes over to FFmpeg and what it leaves of it is freed.
        let code = unsafe {
            let mut raw = settings.disown();
            let interrupt = self.deadline.interrupt();
            let code =
                ffi::avio_open2(&mut (*self.context).pb, url.as_ptr(), ffi::AVIO_FLAG_WRITE, &interrupt, &mut raw);
            drop(Dictionary::own(raw));
            code
        };
        if code < 0 { Err(self.failure(Doing::Opening, code)) } else { Ok(()) }
    }

    fn write_header(&mut self) -> Result<(), Failure> {
        self.deadline.arm(WRITING, self.write_deadline);
        let mut settings = Dictionary::new();
        // A live stream has neither; the muxer would want to seek back for them.
        settings.set("flvflags", "no_duration_filesize");
        // SAFETY: streams and pb are set.
        let code = unsafe {
            let mut raw = settings.disown();
            let code = ffi::avformat_write_header(self.context, &mut raw);
            drop(Dictionary::own(raw));
            code
        };
        if code < 0 { Err(self.failure(Doing::Writing, code)) } else { Ok(()) }
    }

    /// Takes over new stream parameters where a running FLV stream can: parameter sets travel with the next IDR. False
    /// when it takes a new connection (picture size, frame rate or sound changed).
    pub fn follow(&mut self, info: &Arc<StreamInfo>) -> bool {
        if Arc::ptr_eq(info, &self.info) {
            return true;
        }
        let old = &self.info;
        let same = (info.width, info.height, info.fps) == (old.width, old.height, old.fps)
            && (info.sample_rate, info.channels) == (old.sample_rate, old.channels)
            && info.audio_extradata == old.audio_extradata;
        if same {
            self.new_extradata |= info.video_extradata != old.video_extradata;
            self.info = info.clone();
        }
        same
    }

    /// Sends a packet, and what waited for it to keep the order of timestamps.
    pub fn write(&mut self, packet: &EncodedPacket) -> Result<(), Failure> {
        let origin = match self.origin {
            Some(origin) => origin,
            None if packet.track == Track::Video && packet.key => *self.origin.insert(packet.pts),
            None => return Ok(()),
        };
        if packet.pts < origin {
            return Ok(());
        }
        self.row.push(packet.clone());
        while let Some(packet) = self.row.pop() {
            self.write_now(&packet, origin)?;
        }
        Ok(())
    }

    /// Sends what still waits.
    pub fn flush(&mut self) -> Result<(), Failure> {
        while let Some(packet) = self.row.flush() {
            self.write_now(&packet, self.origin.unwrap_or(packet.pts))?;
        }
        Ok(())
    }

    fn write_now(&mut self, packet: &EncodedPacket, origin: i64) -> Result<(), Failure> {
        let time = to_ms(packet.pts - origin);
        let index = usize::from(packet.track == Track::Audio);
        // The muxer refuses a timestamp that goes back; a millisecond holds one packet of a track.
        if self.last[index].is_some_and(|last| time <= last) {
            return Ok(());
        }
        self.last[index] = Some(time);
        self.deadline.arm(WRITING, self.write_deadline);
        // SAFETY: the packet borrows the data for the length of av_write_frame, which copies what it keeps.
        let code = unsafe {
            let p = &mut *self.packet;
            p.stream_index = index as c_int;
            p.pts = time;
            p.dts = time;
            p.duration = to_ms(packet.duration);
            p.flags = if packet.key { ffi::AV_PKT_FLAG_KEY as c_int } else { 0 };
            p.data = packet.data.as_ptr().cast_mut();
            p.size = i32::try_from(packet.data.len()).unwrap_or(0);
            if self.new_extradata && packet.track == Track::Video && packet.key {
                let data = &self.info.video_extradata;
                let side =
                    ffi::av_packet_new_side_data(p, ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA, data.len());
                if !side.is_null() {
                    ptr::copy_nonoverlapping(data.as_ptr(), side, data.len());
                    self.new_extradata = false;
                }
            }
            let code = ffi::av_write_frame(self.context, p);
            p.data = ptr::null_mut();
            p.size = 0;
            ffi::av_packet_unref(p);
            code
        };
        if code < 0 { Err(self.failure(Doing::Writing, code)) } else { Ok(()) }
    }

    /// Ends the stream the way servers expect (end of sequence, FCUnpublish, deleteStream): one deadline for all of it.
    pub fn finish(mut self, time: Duration) -> Result<(), Failure> {
        self.deadline.arm(CLOSING, time);
        // SAFETY: the header was written.
        let trailer = unsafe { ffi::av_write_trailer(self.context) };
        let close = self.close();
        match trailer.min(close) {
            code if code < 0 => Err(self.failure(Doing::Writing, code)),
            _ => Ok(()),
        }
    }

    /// Closes a connection that has failed.
    pub fn abandon(mut self) {
        self.deadline.arm(CLOSING, ABANDON);
        self.close();
    }

    fn close(&mut self) -> c_int {
        // SAFETY: the context lives until Drop; avio_closep clears the pointer, so a second call does nothing.
        unsafe { if self.context.is_null() { 0 } else { ffi::avio_closep(&mut (*self.context).pb) } }
    }

    fn failure(&self, doing: Doing, code: i32) -> Failure {
        classify(Evidence {
            doing,
            code,
            timed_out: code == ffi::AVERROR_EXIT || self.deadline.expired(),
            tls: self.tls,
            host: &self.host,
            address: self.address.clone(),
            captured: log::captured(),
        })
    }

    fn other(&self, detail: &str) -> Failure {
        RtmpError::Other { address: self.address.clone(), detail: detail.to_owned() }.into()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: both pointers are ours or null; an open connection is closed within its deadline.
        unsafe {
            if !self.context.is_null() {
                if !(*self.context).pb.is_null() {
                    self.deadline.arm(CLOSING, ABANDON);
                    self.close();
                }
                ffi::avformat_free_context(self.context);
            }
            ffi::av_packet_free(&mut self.packet);
        }
    }
}

/// A TLS connection with nothing on it, for [`super::probe`].
pub(super) struct IoStream {
    io: *mut ffi::AVIOContext,
    deadline: Arc<Deadline>,
    time: Duration,
}

/// Connects by TLS with the certificate checked.
pub(super) fn io_stream(
    target: &RtmpTarget,
    trust: &Trust,
    deadline: &Arc<Deadline>,
    time: Duration,
) -> Result<IoStream, Failure> {
    log::begin_capture();
    deadline.arm(OPENING, time);
    let address = target.address();
    let failure = |code| {
        classify(Evidence {
            doing: Doing::Opening,
            code,
            timed_out: code == ffi::AVERROR_EXIT || deadline.expired(),
            tls: true,
            host: target.host(),
            address: address.clone(),
            captured: log::captured(),
        })
    };
    let url = CString::new(format!("tls://{address}")).map_err(|_| failure(-libc::EINVAL))?;
    let mut settings = Dictionary::new();
    trust.apply(&mut settings);
    let mut io = ptr::null_mut();
    // SAFETY: the dictionary goes over to FFmpeg and what it leaves of it is freed.
    let code = unsafe {
        let mut raw = settings.disown();
        let interrupt = deadline.interrupt();
        let code = ffi::avio_open2(&mut io, url.as_ptr(), ffi::AVIO_FLAG_READ_WRITE, &interrupt, &mut raw);
        drop(Dictionary::own(raw));
        code
    };
    if code < 0 { Err(failure(code)) } else { Ok(IoStream { io, deadline: deadline.clone(), time }) }
}

impl IoStream {
    fn result(&self, code: c_int) -> std::io::Result<usize> {
        match usize::try_from(code) {
            Ok(n) => Ok(n),
            Err(_) if code == ffi::AVERROR_EXIT || self.deadline.expired() => Err(std::io::ErrorKind::TimedOut.into()),
            Err(_) if code == ffi::AVERROR_EOF => Ok(0),
            Err(_) => Err(std::io::Error::from_raw_os_error(-code)),
        }
    }
}

impl std::io::Read for IoStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.deadline.arm(WRITING, self.time);
        let size = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: the buffer is at least as long as told.
        let code = unsafe { ffi::avio_read_partial(self.io, buffer.as_mut_ptr(), size) };
        self.result(code)
    }
}

impl std::io::Write for IoStream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.deadline.arm(WRITING, self.time);
        let size = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: the buffer is at least as long as told.
        let code = unsafe {
            ffi::avio_write(self.io, buffer.as_ptr(), size);
            (*self.io).error
        };
        if code < 0 { self.result(code) } else { Ok(size as usize) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // SAFETY: the context lives.
        let code = unsafe {
            ffi::avio_flush(self.io);
            (*self.io).error
        };
        if code < 0 { self.result(code).map(|_| ()) } else { Ok(()) }
    }
}

impl Drop for IoStream {
    fn drop(&mut self) {
        self.deadline.arm(CLOSING, ABANDON);
        // SAFETY: ours, closed once.
        unsafe { ffi::avio_closep(&mut self.io) };
    }
}

/// The FLV muxer divides by 1,024 for onMetaData, where receivers read kbit/s of 1,000 bit.
fn meta_rate(kbps: u32) -> i64 {
    i64::from(kbps) * 1_024
}

fn to_ms(ticks: i64) -> i64 {
    (ticks * 1_000 + TICKS / 2).div_euclid(TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_expires_at_its_own_deadline() {
        let deadline = Deadline::new();
        deadline.arm(WRITING, Duration::from_secs(60));
        assert!(!deadline.expired());
        deadline.arm(WRITING, Duration::ZERO);
        assert!(deadline.expired());
    }

    #[test]
    fn stopping_breaks_opening_off_at_once_but_lets_the_queue_drain() {
        let deadline = Deadline::new();
        deadline.stop_by(Instant::now() + Duration::from_secs(60));
        deadline.arm(OPENING, Duration::from_secs(10));
        assert!(deadline.expired());
        deadline.arm(WRITING, Duration::from_secs(10));
        assert!(!deadline.expired());
        deadline.stop_by(Instant::now());
        assert!(deadline.expired());
        deadline.stop_by(Instant::now() + Duration::from_secs(60));
        assert!(deadline.expired(), "the sooner one counts");
    }

    #[test]
    fn milliseconds_round_to_the_nearest() {
        assert_eq!([0, 3_000, 6_000, 1_920, 3_840].map(to_ms), [0, 33, 67, 21, 43]);
    }
}
