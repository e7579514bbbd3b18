//! Synthetic pictures, a NAL splitter and an SPS reader of the tests' own.
#![allow(dead_code)]

use agentcast::draw::{Frame, Nv12, Size};
use agentcast::encode::{EncodedPacket, H264Encoder, Profile, TICKS, VideoCodec, VideoEncoder, VideoSettings};
use std::sync::Arc;

pub fn settings(width: u32, height: u32, fps: u32, kbps: u32) -> VideoSettings {
    VideoSettings {
        width,
        height,
        fps,
        kbps,
        codec: VideoCodec::X264,
        profile: Profile::ConstrainedHigh,
        preset: "veryfast".into(),
    }
}

/// A soft background with a textured box that moves by `step` pixels a frame.
pub fn picture(width: u32, height: u32, step: u32) -> Frame {
    let (w, h) = (width as usize, height as usize);
    let stride = w + 32;
    let mut data = vec![0u8; stride * h * 3 / 2];
    for (y, row) in data.chunks_exact_mut(stride).take(h).enumerate() {
        for (x, p) in row.iter_mut().take(w).enumerate() {
            *p = 40 + (x * 60 / w + y * 40 / h) as u8;
        }
    }
    for (y, row) in data[stride * h..].chunks_exact_mut(stride).enumerate() {
        for (x, p) in row.iter_mut().take(w).enumerate() {
            *p = 108 + (x * 20 / w + y * 40 / h) as u8;
        }
    }
    let (box_w, box_h) = (w / 4, h / 4);
    let left = step as usize * 7 % (w - box_w);
    for y in h / 3..h / 3 + box_h {
        for x in 0..box_w {
            let texture = (x * 31 + y * 17 + (x * y) % 91) % 97;
            data[y * stride + left + x] = 60 + texture as u8;
        }
    }
    Arc::new(Nv12 { size: Size { w: width, h: height }, stride, data })
}

/// Encodes frames `from..to`; a picture that moves where `moving` says so.
pub fn encode(
    encoder: &mut H264Encoder,
    s: &VideoSettings,
    frames: std::ops::Range<i64>,
    moving: impl Fn(i64) -> bool,
) -> Vec<EncodedPacket> {
    let mut out = Vec::new();
    let mut last = None;
    for n in frames {
        let changed = moving(n) || last.is_none();
        let frame = match last.take() {
            Some(old) if !changed => old,
            _ => picture(s.width, s.height, n as u32),
        };
        let packets = encoder.encode(&frame, n * TICKS / i64::from(s.fps), changed, false).unwrap();
        assert_eq!(packets.len(), 1, "one packet a picture, at once");
        out.extend(packets);
        last = Some(frame);
    }
    out
}

/// NAL units of an Annex B access unit.
pub fn nals(data: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..data.len().saturating_sub(2)).filter(|&i| data[i..i + 3] == [0, 0, 1]).collect();
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&from, to)| {
            let unit = &data[from + 3..to];
            &unit[..unit.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1)]
        })
        .collect()
}

pub fn types(data: &[u8]) -> Vec<u8> {
    nals(data).iter().map(|n| n[0] & 31).collect()
}

/// Reads an RBSP bit by bit.
pub struct Bits {
    data: Vec<u8>,
    at: usize,
}

impl Bits {
    pub fn new(nal: &[u8]) -> Self {
        let mut data = Vec::new();
        let mut zeros = 0;
        for &b in &nal[1..] {
            if zeros >= 2 && b == 3 {
                zeros = 0;
                continue;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            data.push(b);
        }
        Self { data, at: 0 }
    }
    pub fn u(&mut self, n: usize) -> u32 {
        (0..n).fold(0, |v, _| {
            let bit = self.data[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            v << 1 | u32::from(bit)
        })
    }
    pub fn ue(&mut self) -> u32 {
        let zeros = (0..).take_while(|_| self.u(1) == 0).count();
        (1 << zeros) - 1 + self.u(zeros)
    }
}

#[derive(Debug, Default)]
pub struct Sps {
    pub profile: u32,
    pub constraints: u32,
    pub level: u32,
    pub poc_type: u32,
    pub refs: u32,
    pub width: u32,
    pub height: u32,
    pub full_range: u32,
    pub colour: (u32, u32, u32),
    pub fps: f64,
    /// bit/s, bits, cbr_flag of the NAL HRD.
    pub hrd: (u32, u32, u32),
    pub reorder: u32,
}

/// Rec. ITU-T H.264 7.3.2.1.1 and E.1.1, as far as our encoders go.
pub fn sps(nal: &[u8]) -> Sps {
    let mut b = Bits::new(nal);
    let mut s = Sps { profile: b.u(8), constraints: b.u(8), level: b.u(8), ..Sps::default() };
    b.ue();
    if s.profile == 100 {
        assert_eq!((b.ue(), b.ue(), b.ue(), b.u(1), b.u(1)), (1, 0, 0, 0, 0), "4:2:0, 8 bit, no matrices");
    }
    b.ue();
    s.poc_type = b.ue();
    assert_eq!(s.poc_type, 2);
    s.refs = b.ue();
    b.u(1);
    s.width = (b.ue() + 1) * 16;
    s.height = (b.ue() + 1) * 16;
    assert_eq!(b.u(1), 1, "frame_mbs_only_flag");
    b.u(1);
    if b.u(1) == 1 {
        let crop = [b.ue(), b.ue(), b.ue(), b.ue()];
        s.width -= 2 * (crop[0] + crop[1]);
        s.height -= 2 * (crop[2] + crop[3]);
    }
    assert_eq!(b.u(1), 1, "vui_parameters_present_flag");
    if b.u(1) == 1 && b.u(8) == 255 {
        b.u(32);
    }
    if b.u(1) == 1 {
        b.u(1);
    }
    if b.u(1) == 1 {
        b.u(3);
        s.full_range = b.u(1);
        if b.u(1) == 1 {
            s.colour = (b.u(8), b.u(8), b.u(8));
        }
    }
    if b.u(1) == 1 {
        b.ue();
        b.ue();
    }
    if b.u(1) == 1 {
        let (tick, scale) = (b.u(32), b.u(32));
        s.fps = f64::from(scale) / f64::from(tick) / 2.0;
        b.u(1);
    }
    let nal_hrd = b.u(1);
    if nal_hrd == 1 {
        assert_eq!(b.ue(), 0, "one schedule");
        let (rate_scale, size_scale) = (b.u(4), b.u(4));
        s.hrd = ((b.ue() + 1) << (6 + rate_scale), (b.ue() + 1) << (4 + size_scale), b.u(1));
        b.u(20);
    }
    assert_eq!(b.u(1), 0, "vcl_hrd_parameters_present_flag");
    if nal_hrd == 1 {
        b.u(1);
    }
    b.u(1);
    if b.u(1) == 1 {
        b.u(1);
        for _ in 0..4 {
            b.ue();
        }
        s.reorder = b.ue();
    }
    s
}

/// `slice_type` of a slice, 0 to 4: P, B, I, SP, SI.
pub fn slice_type(nal: &[u8]) -> u32 {
    let mut b = Bits::new(nal);
    b.ue();
    b.ue() % 5
}
