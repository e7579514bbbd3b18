//! Recordings and the preview's fragments, read back with ffprobe and FFmpeg. Both must be installed.

mod encode_support;

use agentcast::encode::{
    AAC_TICKS, AacEncoder, AudioEncoder, EncodedPacket, H264Encoder, Packet, StreamInfo, TICKS, Track, VideoSettings,
};
use agentcast::output::file::{FileError, FileOutput};
use agentcast::output::mux::Fragmenter;
use agentcast::output::preview::{Preview, PreviewSubscription, Segment};
use agentcast::output::{Destination, State};
use encode_support::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

/// A stream of `seconds` at 320x180 and 30 fps that begins at media time `from`, interleaved as `stream` would send it.
fn stream(seconds: i64, kbps: u32) -> (Arc<StreamInfo>, Vec<EncodedPacket>) {
    let s: VideoSettings = settings(320, 180, 30, kbps);
    let mut video = H264Encoder::open(s.clone()).unwrap();
    let mut audio = AacEncoder::open().unwrap();
    let info = Arc::new(StreamInfo::new(&s, &video, &audio));
    let mut packets = encode(&mut video, &s, 0..seconds * 30, |n| n % 90 < 45);
    for n in 0..seconds * TICKS / AAC_TICKS + 2 {
        packets.extend(audio.encode(&[], n * AAC_TICKS).unwrap());
    }
    packets.sort_by_key(|p| (p.pts, p.track == Track::Audio));
    (info, packets)
}

/// Six seconds, encoded once for all tests.
fn six_seconds() -> (Arc<StreamInfo>, Vec<EncodedPacket>) {
    static STREAM: OnceLock<(Arc<StreamInfo>, Vec<EncodedPacket>)> = OnceLock::new();
    STREAM.get_or_init(|| stream(6, 300)).clone()
}

/// The same packets `by` ticks later.
fn later(packets: &[EncodedPacket], by: i64) -> Vec<EncodedPacket> {
    packets.iter().map(|p| Arc::new(Packet { pts: p.pts + by, ..Packet::clone(p) })).collect()
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("agentcast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tool(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).output().unwrap_or_else(|e| panic!("{name} must be installed: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.trim().is_empty(), "{name} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Packets of a file as (stream, seconds, duration, key).
fn packets(path: &Path) -> Vec<(usize, f64, f64, bool)> {
    let entries = "packet=stream_index,pts_time,duration_time,flags";
    tool("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", path.to_str().unwrap()])
        .lines()
        .map(|line| {
            let f: Vec<_> = line.split(',').collect();
            (f[0].parse().unwrap(), f[1].parse().unwrap(), f[2].parse().unwrap(), f[3].starts_with('K'))
        })
        .collect()
}

fn track(all: &[(usize, f64, f64, bool)], index: usize) -> Vec<(f64, bool)> {
    all.iter().filter(|p| p.0 == index).map(|p| (p.1, p.3)).collect()
}

/// Decodes everything; any complaint of FFmpeg fails the test.
fn decodes(path: &Path) {
    tool("ffmpeg", &["-v", "error", "-xerror", "-i", path.to_str().unwrap(), "-f", "null", "-"]);
}

/// Waits for a thread's work, without an assumption on its speed.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "never: {what}");
        std::thread::yield_now();
    }
}

fn record(path: &Path, overwrite: bool, info: &Arc<StreamInfo>, packets: &[EncodedPacket]) -> Box<FileOutput> {
    let mut output = Box::new(FileOutput::create(path, overwrite).unwrap());
    send(&mut output, info, packets);
    output
}

/// Sends and waits, so that the queue of 4 s is never the limit.
fn send(output: &mut FileOutput, info: &Arc<StreamInfo>, packets: &[EncodedPacket]) {
    output.configure(info.clone());
    for chunk in packets.chunks(60) {
        for p in chunk {
            output.send(p.clone());
        }
        until("queue empty", || output.status().queue_ms == 0 || output.status().state == State::NeedsAttention);
    }
}

#[test]
fn stopped_recording_is_whole_and_exact() {
    let folder = Folder::new("whole");
    let path = folder.file("match.mp4");
    let (info, all) = six_seconds();
    // As in a stream that runs for hours: time in the file begins at zero all the same.
    let output = record(&path, false, &info, &later(&all, 7_777 * 3000));
    let status = output.status();
    assert_eq!((status.name.as_str(), status.state), ("file match.mp4", State::Live));
    output.stop(LONG);
    decodes(&path);
    let read = packets(&path);
    let video = track(&read, 0);
    assert_eq!(video.len(), 180);
    for (n, (pts, key)) in video.iter().enumerate() {
        assert!((pts - n as f64 / 30.0).abs() < 0.0001, "{pts} at {n}");
        assert_eq!(*key, n % 60 == 0);
    }
    let audio: Vec<_> = track(&read, 1).iter().map(|p| p.0).collect();
    assert!(audio[0] < 0.0214 && audio.len() >= 280, "{} from {}", audio.len(), audio[0]);
    assert!(audio.windows(2).all(|w| (w[1] - w[0] - 1024.0 / 48_000.0).abs() < 0.00002));
    let facts = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name,profile,width,height,color_primaries,color_range,r_frame_rate,channels,sample_rate",
            "-of",
            "default=nk=0:nw=1",
            path.to_str().unwrap(),
        ],
    );
    for fact in [
        "codec_name=h264",
        "profile=High",
        "width=320",
        "height=180",
        "color_primaries=bt709",
        "color_range=tv",
        "r_frame_rate=30/1",
        "codec_name=aac",
        "profile=LC",
        "channels=2",
        "sample_rate=48000",
    ] {
        assert!(facts.lines().any(|l| l == fact), "{fact} in {facts}");
    }
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[bytes.len() - 16..][4..8], b"mfro", "ends with an index");
}

#[test]
fn killed_recording_plays_up_to_its_last_half_second() {
    let folder = Folder::new("killed");
    let (info, all) = six_seconds();
    let output = record(&folder.file("live.mp4"), false, &info, &all);
    // What `kill -9` leaves is what the kernel has: copy it under the running recorder.
    let copy = folder.file("copy.mp4");
    let last = |path: &Path| {
        std::fs::copy(folder.file("live.mp4"), path).unwrap();
        track(&packets(path), 0).last().map_or(0.0, |p| p.0)
    };
    until("five and a half seconds on disk", || last(&copy) >= 5.46);
    decodes(&copy);
    // Torn in the middle of a write: everything before the torn fragment still plays.
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, &bytes[..bytes.len() - 700]).unwrap();
    let torn = Command::new("ffprobe")
        .args(["-v", "quiet", "-count_packets", "-select_streams", "v", "-show_entries", "stream=nb_read_packets"])
        .args(["-of", "csv=p=0"])
        .arg(&copy)
        .output()
        .unwrap();
    let count: u32 = String::from_utf8(torn.stdout).unwrap().trim().trim_end_matches(',').parse().unwrap();
    assert!(count >= 150, "{count} pictures");
    output.stop(LONG);
}

#[test]
fn full_disk_ends_the_recording_in_plain_words() {
    let (info, all) = six_seconds();
    let mut output = record(Path::new("/dev/full"), true, &info, &all[..90]);
    until("noticed", || output.status().state == State::NeedsAttention);
    let status = output.status();
    assert!(status.last_error.unwrap().contains("disk is full"));
    assert!(status.dropped > 0);
    // Sending goes on as if nothing had happened, and nothing piles up.
    send(&mut output, &info, &all[90..]);
    assert_eq!(output.status().queue_ms, 0);
    let end = output.stop(LONG);
    assert_eq!(end.state, State::NeedsAttention, "the end does not hide it");
    assert!(end.last_error.unwrap().contains("disk is full"));
}

#[test]
fn a_last_write_that_fails_is_in_the_final_status() {
    let folder = Folder::new("last-write");
    let path = folder.file("pipe.mp4");
    tool("mkfifo", &[path.to_str().unwrap()]);
    let other_end = std::thread::spawn({
        let path = path.clone();
        move || File::open(path).unwrap()
    });
    let (info, all) = six_seconds();
    // Less than a fragment: the rest is written at the end, to nobody.
    let output = record(&path, true, &info, &all[..20]);
    until("the init segment", || output.status().bytes > 0);
    drop(other_end.join().unwrap());
    assert_eq!(output.status().last_error, None);
    let end = output.stop(LONG);
    assert_eq!(end.state, State::NeedsAttention);
    assert!(end.last_error.unwrap().contains("writing failed"));
}

#[test]
fn existing_file_is_kept_unless_overwriting_was_allowed() {
    let folder = Folder::new("exists");
    let path = folder.file("a.mp4");
    std::fs::write(&path, b"precious").unwrap();
    assert!(matches!(FileOutput::create(&path, false), Err(FileError::Exists(p)) if p == path));
    // Not even with permission before there is something to put in its place.
    Box::new(FileOutput::create(&path, true).unwrap()).stop(LONG);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let (info, all) = six_seconds();
    record(&path, true, &info, &all).stop(LONG);
    decodes(&path);

    let error = FileOutput::create(folder.file("no/such/folder.mp4"), true).unwrap_err();
    assert!(matches!(error, FileError::Open { .. }), "{error}");
    let unused = folder.file("unused.mp4");
    Box::new(FileOutput::create(&unused, false).unwrap()).stop(LONG);
    assert!(!unused.exists(), "nothing recorded, no empty file");
}

#[test]
fn other_parameters_begin_a_new_part() {
    let folder = Folder::new("parts");
    std::fs::write(folder.file("m-2.mp4"), b"someone else's").unwrap();
    let (info, all) = six_seconds();
    let (other, more) = stream(2, 500);
    let mut output = record(&folder.file("m.mp4"), false, &info, &all);
    // The same values again are no change.
    output.configure(Arc::new(StreamInfo::clone(&info)));
    send(&mut output, &other, &later(&more, 6 * TICKS));
    output.stop(LONG);
    assert_eq!(track(&packets(&folder.file("m.mp4")), 0).len(), 180);
    let second = folder.file("m-3.mp4");
    decodes(&second);
    let video = track(&packets(&second), 0);
    assert_eq!((video.len(), video[0]), (60, (0.0, true)));
    assert_eq!(std::fs::read(folder.file("m-2.mp4")).unwrap(), b"someone else's");
}

#[test]
fn gap_in_the_video_stays_a_gap_in_the_file() {
    let folder = Folder::new("gap");
    let path = folder.file("gap.mp4");
    let (info, all) = six_seconds();
    // Video from 1.5 s to the IDR at 4 s is lost; audio goes on.
    let lossy: Vec<_> = all
        .iter()
        .filter(|p| p.track == Track::Audio || !(3 * TICKS / 2..4 * TICKS).contains(&p.pts))
        .cloned()
        .collect();
    record(&path, false, &info, &lossy).stop(LONG);
    let read = packets(&path);
    let video = track(&read, 0);
    assert_eq!(video.len(), 105);
    assert!((video[44].0 - 44.0 / 30.0).abs() < 0.001 && (video[45].0 - 4.0).abs() < 0.001, "{:?}", &video[44..46]);
    let audio: Vec<_> = track(&read, 1).iter().map(|p| p.0).collect();
    assert!(audio.windows(2).all(|w| (w[1] - w[0] - 1024.0 / 48_000.0).abs() < 0.00002));
    decodes(&path);
}

#[test]
fn pictures_never_drawn_leave_the_others_at_their_time() {
    let folder = Folder::new("late");
    let path = folder.file("late.mp4");
    let s = settings(320, 180, 30, 300);
    let (mut encoder, audio) = (H264Encoder::open(s.clone()).unwrap(), AacEncoder::open().unwrap());
    let info = Arc::new(StreamInfo::new(&s, &encoder, &audio));
    // Two of every seven frames come too late; fragments end in every possible place among them.
    let drawn: Vec<i64> = (0..150).filter(|n| n % 7 != 3 && n % 7 != 4).collect();
    let packets_in: Vec<_> = drawn.iter().flat_map(|&n| encode(&mut encoder, &s, n..n + 1, |_| true)).collect();
    record(&path, false, &info, &packets_in).stop(LONG);
    let video = track(&packets(&path), 0);
    assert_eq!(video.len(), drawn.len());
    for (p, n) in video.iter().zip(drawn) {
        assert!((p.0 - n as f64 / 30.0).abs() < 0.0001, "frame {n} at {}", p.0);
    }
    decodes(&path);
}

#[test]
fn fragments_are_short_begin_at_idrs_and_carry_no_filler() {
    let (info, all) = six_seconds();
    let (mut fragmenter, init) = Fragmenter::new(&info, TICKS / 5, false).unwrap();
    assert_eq!(&init[4..8], b"ftyp");
    let mut fragments = Vec::new();
    // Audio and a P picture before the first IDR belong to nothing.
    for p in all[1..].iter().chain(&later(&all, 6 * TICKS)) {
        fragments.extend(fragmenter.push(p).unwrap());
    }
    let (last, index) = fragmenter.finish().unwrap();
    fragments.extend(last);
    assert!(index.is_empty());
    assert_eq!(fragments[0].pts, 2 * TICKS);
    assert!(fragments[0].starts_with_key);
    let keys: Vec<_> = fragments.iter().filter(|f| f.starts_with_key).map(|f| f.pts / TICKS).collect();
    assert_eq!(keys, [2, 4, 6, 8, 10]);
    for f in &fragments {
        assert_eq!(&f.bytes[4..8], b"moof");
        assert!(f.duration <= TICKS / 5 + 3000 && f.duration > 0, "{}", f.duration);
    }
    // What was sent from 2 s to 12 s; audio comes through as it is.
    let sent = |track: Track| -> usize {
        let bytes = |from| all.iter().filter(move |p| p.track == track && p.pts >= from).map(|p| p.data.len());
        bytes(2 * TICKS).chain(bytes(0)).sum()
    };
    let muxed = fragments.iter().map(|f| f.bytes.len()).sum::<usize>() - sent(Track::Audio);
    let video = sent(Track::Video);
    assert!(muxed < video * 9 / 10, "{muxed} of {video} bytes of video");
}

/// What a subscription has ready now, by kind: `I` init, `K` a fragment with an IDR, `.` another one.
fn ready(subscription: &mut PreviewSubscription) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut bytes = Vec::new();
    let mut kinds = String::new();
    runtime.block_on(async {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            let next = std::pin::pin!(subscription.next()).as_mut().poll(&mut context);
            match next {
                std::task::Poll::Ready(Some(Segment::Init(init))) => {
                    bytes.extend_from_slice(&init.bytes);
                    kinds.push('I');
                }
                std::task::Poll::Ready(Some(Segment::Fragment(f))) => {
                    bytes.extend_from_slice(&f.bytes);
                    kinds.push(if f.starts_with_key { 'K' } else { '.' });
                }
                std::task::Poll::Ready(None) => {
                    kinds.push('$');
                    break;
                }
                std::task::Poll::Pending => break,
            }
        }
    });
    (kinds, bytes)
}

#[test]
fn joiner_gets_init_and_the_current_gop_and_plays_at_once() {
    let folder = Folder::new("joiner");
    let (info, all) = six_seconds();
    let (mut destination, hub) = Preview::new();
    let mut early = hub.subscribe();
    assert_eq!(destination.status().state, State::Idle);
    destination.configure(info.clone());
    let at = all.iter().position(|p| p.pts > 5 * TICKS).unwrap();
    for p in &all[..at] {
        destination.send(p.clone());
    }
    assert_eq!(destination.status().state, State::Live);
    let mut late = hub.subscribe();
    assert_eq!(hub.subscribers(), 2);
    for p in &all[at..] {
        destination.send(p.clone());
    }
    Box::new(destination).stop(LONG);

    let (kinds, bytes) = ready(&mut early);
    let gop = format!("K{}", ".".repeat(9));
    assert_eq!(kinds.trim_end_matches(['.', '$']), format!("I{gop}{gop}K"));
    assert!(kinds.ends_with('$'));
    let path = folder.file("early.mp4");
    std::fs::write(&path, bytes).unwrap();
    decodes(&path);
    assert_eq!(track(&packets(&path), 0).len(), 180);

    let (kinds, bytes) = ready(&mut late);
    assert!(kinds.starts_with("IK.") && kinds.matches('K').count() == 1, "{kinds}");
    let path = folder.file("late.mp4");
    std::fs::write(&path, bytes).unwrap();
    decodes(&path);
    let video = track(&packets(&path), 0);
    assert_eq!((video.len(), video[0].1), (60, true));
    assert!((video[0].0 - 4.0).abs() < 0.001, "keeps the stream's time: {:?}", video[0]);
    assert_eq!(ready(&mut hub.subscribe()).0, "$");
}

#[test]
fn slow_subscriber_goes_on_at_an_idr_and_gets_a_new_init_it_missed() {
    let (info, all) = six_seconds();
    let (other, more) = stream(2, 500);
    let (mut destination, hub) = Preview::new();
    let mut slow = hub.subscribe();
    destination.configure(info.clone());
    for p in all.iter().chain(&later(&all, 6 * TICKS)) {
        destination.send(p.clone());
    }
    // 60 fragments for a queue of 32: it has lost a part, and begins at an IDR.
    let (kinds, _) = ready(&mut slow);
    assert!(kinds.starts_with("IK"), "{kinds}");
    assert!(slow.lost() > 20, "{}", slow.lost());

    let mut slow = hub.subscribe();
    destination.configure(other);
    for p in (0..6).flat_map(|n| later(&more, (12 + 2 * n) * TICKS)) {
        destination.send(p);
    }
    let (kinds, _) = ready(&mut slow);
    let inits: Vec<_> = kinds.match_indices('I').map(|m| &kinds[m.0..m.0 + 2]).collect();
    assert!(inits == ["IK", "IK"], "{kinds}");
}

#[test]
fn codecs_name_profile_and_level() {
    let (info, all) = six_seconds();
    let (mut destination, hub) = Preview::new();
    let mut subscription = hub.subscribe();
    destination.configure(info);
    all.iter().take(60).for_each(|p| destination.send(p.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Some(Segment::Init(init)) = runtime.block_on(subscription.next()) else { panic!("no init first") };
    assert_eq!(init.mime(), "video/mp4; codecs=\"avc1.640c0d,mp4a.40.2\"");
}
