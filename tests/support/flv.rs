//! Reads FLV and judges a stream by the rules of the platforms' ingests.

use std::collections::BTreeMap;
use std::path::Path;

pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const SCRIPT: u8 = 18;

#[derive(Clone, Debug, PartialEq)]
pub enum Amf {
    Number(f64),
    Bool(bool),
    Text(String),
    Object(Vec<(String, Amf)>),
    List(Vec<Amf>),
    Null,
}

impl Amf {
    pub fn text(&self) -> Option<&str> {
        if let Amf::Text(t) = self { Some(t) } else { None }
    }

    pub fn number(&self) -> Option<f64> {
        if let Amf::Number(n) = self { Some(*n) } else { None }
    }

    pub fn get(&self, name: &str) -> Option<&Amf> {
        if let Amf::Object(o) = self { o.iter().find(|(k, _)| k == name).map(|(_, v)| v) } else { None }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let short = |out: &mut Vec<u8>, t: &str| {
            out.extend((t.len() as u16).to_be_bytes());
            out.extend(t.as_bytes());
        };
        match self {
            Amf::Number(n) => {
                out.push(0);
                out.extend(n.to_be_bytes());
            }
            Amf::Bool(b) => out.extend([1, u8::from(*b)]),
            Amf::Text(t) => {
                out.push(2);
                short(out, t);
            }
            Amf::Object(o) => {
                out.push(3);
                for (name, value) in o {
                    short(out, name);
                    value.write(out);
                }
                out.extend([0, 0, 9]);
            }
            Amf::List(l) => {
                out.push(10);
                out.extend((l.len() as u32).to_be_bytes());
                l.iter().for_each(|v| v.write(out));
            }
            Amf::Null => out.push(5),
        }
    }

    pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Amf>, String> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            all.push(Self::read(&mut bytes)?);
        }
        Ok(all)
    }

    fn read(bytes: &mut &[u8]) -> Result<Amf, String> {
        Ok(match take(bytes, 1)?[0] {
            0 => Amf::Number(f64::from_be_bytes(take(bytes, 8)?.try_into().expect("8 bytes"))),
            1 => Amf::Bool(take(bytes, 1)?[0] != 0),
            2 => Amf::Text(Self::short(bytes)?),
            kind @ (3 | 8) => {
                if kind == 8 {
                    take(bytes, 4)?;
                }
                let mut fields = Vec::new();
                loop {
                    let name = Self::short(bytes)?;
                    if name.is_empty() && bytes.first() == Some(&9) {
                        take(bytes, 1)?;
                        break Amf::Object(fields);
                    }
                    fields.push((name, Self::read(bytes)?));
                }
            }
            5 | 6 => Amf::Null,
            10 => {
                let n = u32::from_be_bytes(take(bytes, 4)?.try_into().expect("4 bytes"));
                Amf::List((0..n).map(|_| Self::read(bytes)).collect::<Result<_, _>>()?)
            }
            other => return Err(format!("AMF0 type {other}")),
        })
    }

    fn short(bytes: &mut &[u8]) -> Result<String, String> {
        let n = u16::from_be_bytes(take(bytes, 2)?.try_into().expect("2 bytes"));
        Ok(String::from_utf8_lossy(take(bytes, n.into())?).into_owned())
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (head, tail) = bytes.split_at_checked(n).ok_or("ends too early")?;
    *bytes = tail;
    Ok(head)
}

#[derive(Clone, Debug)]
pub struct Tag {
    pub kind: u8,
    /// ms
    pub time: i64,
    pub data: Vec<u8>,
}

impl Tag {
    /// A coded picture or AAC frame, neither sequence header nor end of sequence.
    pub fn is_media(&self) -> bool {
        matches!(self.kind, VIDEO | AUDIO) && self.data.get(1) == Some(&1)
    }

    pub fn is_sequence_header(&self) -> bool {
        matches!(self.kind, VIDEO | AUDIO) && self.data.get(1) == Some(&0)
    }

    pub fn is_key(&self) -> bool {
        self.kind == VIDEO && self.is_media() && self.data[0] >> 4 == 1
    }

    /// NAL unit types of a picture.
    pub fn nal_types(&self) -> Result<Vec<u8>, String> {
        let mut rest = self.data.get(5..).ok_or("short video tag")?;
        let mut types = Vec::new();
        while !rest.is_empty() {
            let n = u32::from_be_bytes(take(&mut rest, 4)?.try_into().expect("4 bytes")) as usize;
            types.push(take(&mut rest, n)?.first().ok_or("empty NAL unit")? & 31);
        }
        Ok(types)
    }
}

/// Reads a file; a last tag that was cut off (a server that was killed) is left out.
pub fn read(path: &Path) -> Vec<Tag> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn parse(bytes: &[u8]) -> Result<Vec<Tag>, String> {
    let mut rest = bytes;
    if take(&mut rest, 13)?[..5].split_at(3).0 != b"FLV" {
        return Err("no FLV signature".into());
    }
    let mut tags = Vec::new();
    while rest.len() >= 11 {
        let head = take(&mut rest, 11)?;
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let (Ok(data), Ok(back)) = (take(&mut rest, size), take(&mut rest, 4)) else { break };
        if u32::from_be_bytes(back.try_into().expect("4 bytes")) as usize != size + 11 {
            return Err("PreviousTagSize does not fit".into());
        }
        tags.push(Tag { kind: head[0], time: i64::from(time as i32), data: data.to_vec() });
    }
    Ok(tags)
}

pub fn write(path: &Path, tags: &[Tag]) {
    let mut out = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    for tag in tags {
        let size = (tag.data.len() as u32).to_be_bytes();
        let time = (tag.time as u32).to_be_bytes();
        out.extend([tag.kind, size[1], size[2], size[3], time[1], time[2], time[3], time[0], 0, 0, 0]);
        out.extend(&tag.data);
        out.extend((tag.data.len() as u32 + 11).to_be_bytes());
    }
    std::fs::write(path, out).expect("the capture can be written");
}

/// What a stream should be.
#[derive(Clone, Debug)]
pub struct Expect {
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub video_kbps: u32,
    pub audio_kbps: u32,
    /// Frames from IDR to IDR.
    pub gop: usize,
    /// Largest deviation of a second's video bytes from the mean, as a share; `None`: not a constant rate.
    pub cbr: Option<f64>,
    /// False for files that nginx recorded: it drops onMetaData.
    pub metadata: bool,
}

/// Everything that is wrong with a stream, in words. Empty: good.
pub fn problems(tags: &[Tag], expect: &Expect) -> Vec<String> {
    let mut bad = Vec::new();
    let mut check = |good: bool, words: String| {
        if !good {
            bad.push(words);
        }
    };
    if expect.metadata {
        match metadata(tags) {
            None => check(false, "no onMetaData".into()),
            Some(meta) => {
                check(tags[0].kind == SCRIPT, "onMetaData is not first".into());
                for (name, wanted) in [
                    ("width", expect.width),
                    ("height", expect.height),
                    ("framerate", expect.fps),
                    ("videodatarate", expect.video_kbps),
                    ("audiodatarate", expect.audio_kbps),
                    ("videocodecid", 7),
                    ("audiocodecid", 10),
                    ("audiosamplerate", 48_000),
                ] {
                    let is = meta.get(name).and_then(Amf::number);
                    check(is == Some(f64::from(wanted)), format!("onMetaData {name} is {is:?}, not {wanted}"));
                }
                check(meta.get("stereo") == Some(&Amf::Bool(true)), "onMetaData says not stereo".into());
            }
        }
    }
    for (kind, name) in [(VIDEO, "AVC"), (AUDIO, "AAC")] {
        let header = tags.iter().position(|t| t.kind == kind && t.is_sequence_header());
        let first = tags.iter().position(|t| t.kind == kind && t.is_media());
        check(header.is_some() && header < first, format!("no {name} sequence header before the first {name} tag"));
    }
    let video: Vec<&Tag> = tags.iter().filter(|t| t.kind == VIDEO && t.is_media()).collect();
    let audio: Vec<&Tag> = tags.iter().filter(|t| t.kind == AUDIO && t.is_media()).collect();
    let (Some(first_video), Some(first_audio)) = (video.first(), audio.first()) else {
        check(false, format!("{} video and {} audio tags", video.len(), audio.len()));
        return bad;
    };
    check(first_video.is_key(), "does not begin on a keyframe".into());
    check(first_video.time == 0, format!("the first picture is at {} ms", first_video.time));
    check((0..=43).contains(&first_audio.time), format!("the first sound is at {} ms", first_audio.time));

    for (n, tag) in video.iter().enumerate() {
        let due = (n as f64 * 1_000.0 / f64::from(expect.fps)).round() as i64;
        check((tag.time - due).abs() <= 1, format!("picture {n} is at {} ms instead of {due}", tag.time));
        check(tag.is_key() == (n % expect.gop == 0), format!("picture {n}: keyframe flag {}", tag.is_key()));
        check(tag.data[2..5] == [0, 0, 0], format!("picture {n} has a composition time: B-frames"));
        match tag.nal_types() {
            Err(e) => check(false, format!("picture {n}: {e}")),
            Ok(types) => {
                check(types.contains(&5) == tag.is_key(), format!("picture {n}: NAL units {types:?}"));
                check(types.contains(&1) != types.contains(&5), format!("picture {n}: NAL units {types:?}"));
            }
        }
    }
    for (n, pair) in audio.windows(2).enumerate() {
        let step = pair[1].time - pair[0].time;
        check((20..=23).contains(&step), format!("sound steps {step} ms after frame {n}"));
    }
    let skew = video[video.len() - 1].time - audio[audio.len() - 1].time;
    check(skew.abs() <= 100, format!("the ends of picture and sound are {skew} ms apart"));
    let media: Vec<&Tag> = tags.iter().filter(|t| t.is_media()).collect();
    let back = media.windows(2).filter(|w| w[1].time < w[0].time).count();
    check(back == 0, format!("{back} tags are earlier than the one before"));

    if let Some(share) = expect.cbr {
        let mut seconds: BTreeMap<i64, usize> = BTreeMap::new();
        for tag in &video {
            *seconds.entry(tag.time / 1_000).or_default() += tag.data.len();
        }
        seconds.pop_last(); // not a whole one
        let mean = seconds.values().sum::<usize>() as f64 / seconds.len().max(1) as f64;
        for (second, bytes) in &seconds {
            let off = *bytes as f64 / mean - 1.0;
            check(off.abs() <= share, format!("second {second} has {:.0} % of the mean rate", (off + 1.0) * 100.0));
        }
        let kbps = mean * 8.0 / 1_000.0;
        check(
            (kbps / f64::from(expect.video_kbps) - 1.0).abs() <= 0.1,
            format!("{kbps:.0} kbit/s instead of {}", expect.video_kbps),
        );
    }
    bad
}

/// What is wrong with a stream made in real time, where a late picture may be missing: its IDRs are still 2 s apart, its
/// rate constant, its pictures on the grid of the frame rate and its sound without a gap.
pub fn live_problems(tags: &[Tag], fps: u32, video_kbps: u32) -> Vec<String> {
    let mut bad = Vec::new();
    let video: Vec<&Tag> = tags.iter().filter(|t| t.kind == VIDEO && t.is_media()).collect();
    let audio: Vec<&Tag> = tags.iter().filter(|t| t.kind == AUDIO && t.is_media()).collect();
    if video.is_empty() || audio.is_empty() {
        return vec![format!("{} video and {} audio tags", video.len(), audio.len())];
    }
    let frame = 1_000.0 / f64::from(fps);
    for tag in &video {
        let on_grid = (tag.time as f64 / frame).round() * frame;
        if (tag.time as f64 - on_grid).abs() > 1.01 {
            bad.push(format!("a picture at {} ms", tag.time));
        }
        if tag.data[2..5] != [0, 0, 0] {
            bad.push(format!("the picture at {} ms has a composition time: B-frames", tag.time));
        }
    }
    bad.extend(gop_problems(tags, fps));
    for pair in audio.windows(2) {
        let step = pair[1].time - pair[0].time;
        if !(20..=23).contains(&step) {
            bad.push(format!("sound steps {step} ms at {} ms", pair[1].time));
        }
    }
    let first = video[0].time;
    let whole = (video[video.len() - 1].time - first) / 2_000;
    for window in 0..whole {
        let from = first + window * 2_000;
        let inside: Vec<_> = video.iter().filter(|t| (from..from + 2_000).contains(&t.time)).collect();
        let bytes: usize = inside.iter().map(|t| t.data.len()).sum();
        // Every picture has its share of the rate; one that a busy machine left out has none.
        let kbps = bytes as f64 * 8.0 / (inside.len().max(1) as f64 * frame);
        if (kbps / f64::from(video_kbps) - 1.0).abs() > 0.1 {
            bad.push(format!("{kbps:.0} kbit/s from {from} ms on"));
        }
    }
    bad
}

/// GOPs of a stream made in real time that are not the 2 s they should be.
pub fn gop_problems(tags: &[Tag], fps: u32) -> Vec<String> {
    let video: Vec<&Tag> = tags.iter().filter(|t| t.kind == VIDEO && t.is_media()).collect();
    let keys: Vec<i64> = video.iter().filter(|t| t.is_key()).map(|t| t.time).collect();
    let mut bad = Vec::new();
    for pair in keys.windows(2) {
        // The first picture that is due: a busy machine may have left some out just there.
        let soonest = pair[0] as f64 + 2_000.0 - 500.0 / f64::from(fps);
        let due = video.iter().map(|t| t.time).find(|t| *t as f64 >= soonest);
        if due != Some(pair[1]) {
            bad.push(format!("a GOP of {} ms at {} ms", pair[1] - pair[0], pair[0]));
        }
    }
    bad
}

pub fn metadata(tags: &[Tag]) -> Option<Amf> {
    tags.iter().filter(|t| t.kind == SCRIPT).find_map(|t| {
        let values = Amf::read_all(&t.data).ok()?;
        let at = values.iter().position(|v| v.text() == Some("onMetaData"))?;
        values.into_iter().nth(at + 1)
    })
}

/// What FFmpeg's decoder has to say about a file; empty: it decodes without a word.
pub fn decode_errors(path: &Path) -> String {
    let out = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-i"])
        .arg(path)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .expect("the tests need the ffmpeg program");
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { words } else { format!("{} {words}", out.status) }
}
