//! The H.264 that leaves the encoder, read back bit by bit and decoded.

mod encode_support;

use agentcast::encode::{EncodedPacket, H264Encoder, Profile, TICKS, VideoCodec, VideoEncoder, VideoSettings, probe};
use encode_support::*;
use ffmpeg_next as ff;

fn idrs(packets: &[EncodedPacket]) -> Vec<i64> {
    packets.iter().filter(|p| p.key).map(|p| p.pts).collect()
}

/// Decodes the stream and gives the last picture.
fn decode(extradata: &[u8], packets: &[EncodedPacket]) -> (usize, ff::frame::Video) {
    let codec = ff::decoder::find(ff::codec::Id::H264).expect("FFmpeg has an H.264 decoder");
    let mut decoder = ff::codec::context::Context::new_with_codec(codec).decoder().video().unwrap();
    let mut frame = ff::frame::Video::empty();
    let (mut count, mut last) = (0, ff::frame::Video::empty());
    let mut headers = Some(extradata);
    for p in packets {
        let data = [headers.take().unwrap_or_default(), &p.data].concat();
        decoder.send_packet(&ff::Packet::copy(&data)).unwrap();
        while decoder.receive_frame(&mut frame).is_ok() {
            count += 1;
            last = frame.clone();
        }
    }
    decoder.send_eof().unwrap();
    while decoder.receive_frame(&mut frame).is_ok() {
        count += 1;
        last = frame.clone();
    }
    (count, last)
}

/// Luma PSNR in dB of a decoded picture against what was encoded.
fn psnr(decoded: &ff::frame::Video, original: &agentcast::draw::Frame) -> f64 {
    let (w, h) = (original.size.w as usize, original.size.h as usize);
    assert_eq!((decoded.width() as usize, decoded.height() as usize), (w, h));
    let mut sum = 0u64;
    for y in 0..h {
        let a = &decoded.data(0)[y * decoded.stride(0)..][..w];
        let b = &original.data[y * original.stride..][..w];
        sum += a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum::<u64>();
    }
    10.0 * (255.0f64.powi(2) * (w * h) as f64 / sum.max(1) as f64).log10()
}

/// The bounds of a platform's check: any 2 s within 10 % of the rate, any second within half of it, and the decoder's
/// buffer of a quarter second neither empty nor overfull.
fn assert_constant_rate(packets: &[EncodedPacket], fps: usize, kbps: f64) {
    let bits: Vec<f64> = packets.iter().map(|p| p.data.len() as f64 * 8.0 / 1000.0).collect();
    for window in bits.windows(2 * fps) {
        let rate = window.iter().sum::<f64>() / 2.0;
        assert!((rate / kbps - 1.0).abs() <= 0.10, "{rate:.0} kbit/s over 2 s");
    }
    for second in bits.chunks_exact(fps) {
        let rate: f64 = second.iter().sum();
        assert!(rate >= 0.5 * kbps && rate <= 1.5 * kbps, "{rate:.0} kbit/s in a second");
    }
    let (mut level, mut highest, per_frame) = (0f64, 0f64, kbps / fps as f64);
    for b in bits {
        level = (level - per_frame).max(0.0) + b;
        highest = highest.max(level);
    }
    assert!(highest <= 0.25 * kbps, "needs a buffer of {highest:.0} kbit");
}

#[test]
fn moving_and_still_stream_keeps_gop_rate_and_profile() {
    let s = settings(1280, 720, 30, 3000);
    let mut encoder = H264Encoder::open(s.clone()).unwrap();
    // 2.3 s of motion, 2 s of a still, motion again.
    let packets = encode(&mut encoder, &s, 0..210, |n| !(70..130).contains(&n));

    let pts: Vec<_> = packets.iter().map(|p| p.pts).collect();
    assert_eq!(pts, (0..210).map(|n| n * 3000).collect::<Vec<_>>());
    assert!(packets.iter().all(|p| p.duration == 3000));
    assert_eq!(idrs(&packets), [0, 2 * TICKS, 4 * TICKS, 6 * TICKS]);
    for (n, p) in packets.iter().enumerate() {
        let types = types(&p.data);
        assert!(!types.contains(&7) && !types.contains(&8), "parameter sets in band at {n}");
        let slices: Vec<_> = nals(&p.data).into_iter().filter(|u| matches!(u[0] & 31, 1 | 5)).collect();
        assert_eq!(slices.len(), 1, "one slice a picture at {n}");
        assert_eq!(slices[0][0] & 31 == 5, p.key);
        assert_eq!(slice_type(slices[0]), if p.key { 2 } else { 0 }, "I or P at {n}");
        assert!(slices[0][0] & 0x60 != 0, "reference picture at {n}");
    }
    assert!(packets[100..120].iter().any(|p| types(&p.data).contains(&12)), "a still needs filler");
    assert_constant_rate(&packets, 30, 3000.0);

    let extradata = encoder.extradata();
    assert_eq!(types(&extradata), [7, 8]);
    let sps = sps(nals(&extradata)[0]);
    assert_eq!((sps.profile, sps.constraints, sps.level), (100, 0x0c, 31), "Constrained High 3.1");
    assert_eq!((sps.width, sps.height, sps.refs, sps.reorder), (1280, 720, 1, 0));
    assert_eq!((sps.colour, sps.full_range), ((1, 1, 1), 0), "BT.709, limited range");
    assert_eq!(sps.fps, 30.0);
    assert_eq!(sps.hrd.2, 1, "cbr_flag");
    assert!((2_990_000..=3_010_000).contains(&sps.hrd.0), "{} bit/s", sps.hrd.0);
    assert!((700_000..=750_000).contains(&sps.hrd.1), "{} bits of CPB", sps.hrd.1);

    let (count, last) = decode(&extradata, &packets);
    assert_eq!(count, 210);
    let quality = psnr(&last, &picture(1280, 720, 209));
    assert!(quality > 33.0, "{quality:.1} dB");
    let (_, still) = decode(&extradata, &packets[..120]);
    let quality = psnr(&still, &picture(1280, 720, 69));
    assert!(quality > 40.0, "still: {quality:.1} dB");
}

#[test]
fn noise_that_no_rate_would_suffice_for_keeps_the_rate() {
    let s = settings(640, 360, 30, 1000);
    let mut encoder = H264Encoder::open(s.clone()).unwrap();
    let mut random = 1u32;
    let packets: Vec<_> = (0..150)
        .flat_map(|n| {
            let mut frame = picture(640, 360, n);
            let data = &mut std::sync::Arc::get_mut(&mut frame).unwrap().data;
            for p in &mut data[..672 * 360] {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *p = p.wrapping_add((random >> 26) as u8);
            }
            encoder.encode(&frame, i64::from(n) * 3000, true, false).unwrap()
        })
        .collect();
    assert_eq!(idrs(&packets), [0, 2 * TICKS, 4 * TICKS]);
    assert_constant_rate(&packets, 30, 1000.0);
}

#[test]
fn constrained_baseline_has_neither_cabac_nor_high_tools() {
    let s = VideoSettings { profile: Profile::ConstrainedBaseline, ..settings(640, 360, 25, 800) };
    let mut encoder = H264Encoder::open(s.clone()).unwrap();
    let packets = encode(&mut encoder, &s, 0..60, |_| true);
    assert_eq!(idrs(&packets), [0, 2 * TICKS]);
    let extradata = encoder.extradata();
    let sps = sps(nals(&extradata)[0]);
    assert_eq!((sps.profile, sps.constraints & 0xc0, sps.poc_type), (66, 0xc0, 2));
    assert_eq!((sps.width, sps.height), (640, 360), "cropped from 368 rows");
    let mut pps = Bits::new(nals(&extradata)[1]);
    pps.ue();
    pps.ue();
    assert_eq!(pps.u(1), 0, "entropy_coding_mode_flag");
    assert_eq!(decode(&extradata, &packets).0, 60);
}

#[test]
fn upright_stream_at_60_fps_encodes() {
    let s = settings(720, 1280, 60, 4000);
    let mut encoder = H264Encoder::open(s.clone()).unwrap();
    let packets = encode(&mut encoder, &s, 0..10, |_| true);
    assert_eq!(packets[9].pts, 9 * 1500);
    let extradata = encoder.extradata();
    assert_eq!(sps(nals(&extradata)[0]).fps, 60.0);
    assert_eq!(decode(&extradata, &packets).0, 10);
}

#[test]
fn forced_idr_and_new_rate_give_idrs_that_decode_on_their_own() {
    let s = settings(640, 360, 30, 1000);
    let mut encoder = H264Encoder::open(s.clone()).unwrap();
    let mut packets = encode(&mut encoder, &s, 0..20, |_| true);
    packets.extend(encoder.encode(&picture(640, 360, 20), 20 * 3000, true, true).unwrap());
    assert!(packets[20].key);
    assert_eq!(decode(&encoder.extradata(), &packets[20..]).0, 1);

    encoder.set_kbps(2000).unwrap();
    let s = VideoSettings { kbps: 2000, ..s };
    let after = encode(&mut encoder, &s, 21..141, |_| true);
    assert_eq!(idrs(&after), [21 * 3000, 81 * 3000]);
    assert_constant_rate(&after, 30, 2000.0);
    let extradata = encoder.extradata();
    assert!((1_990_000..=2_010_000).contains(&sps(nals(&extradata)[0]).hrd.0));
    assert_eq!(decode(&extradata, &after).0, 120);
}

#[test]
fn auto_without_hardware_falls_back_to_x264() {
    let status = probe();
    let of = |name| status.iter().find(|s| s.name == name).unwrap();
    assert_eq!(of("libx264").problem, None);
    assert_eq!(of("aac").problem, None);
    let hardware = ["h264_nvenc", "h264_vaapi"].into_iter().find(|n| of(n).problem.is_none());
    let encoder =
        H264Encoder::open(VideoSettings { codec: VideoCodec::Auto, ..settings(1280, 720, 30, 3000) }).unwrap();
    assert_eq!(encoder.name(), hardware.unwrap_or("libx264"));
    for s in status.iter().filter(|s| s.problem.is_some()) {
        assert!(!s.required && !s.problem.as_ref().unwrap().is_empty(), "{s:?}");
    }
}

#[test]
fn settings_out_of_range_name_the_field_and_the_limit() {
    for (bad, field) in [
        (VideoSettings { width: 1281, ..settings(1280, 720, 30, 3000) }, "width"),
        (settings(1280, 4000, 30, 3000), "height"),
        (settings(1280, 720, 29, 3000), "fps"),
        (settings(1280, 720, 30, 50), "kbps"),
        (VideoSettings { preset: "fast:qp=0".into(), ..settings(1280, 720, 30, 3000) }, "preset"),
    ] {
        let error = H264Encoder::open(bad).err().unwrap().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}
