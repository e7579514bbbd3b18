//! Opus as a decoder hears it.

use agentcast::encode::{
    AAC_SAMPLES, AAC_TICKS, AudioCodec, AudioEncoder, EncodeError, EncodedPacket, OPUS_SAMPLES, OPUS_TICKS,
    OpusEncoder, Track,
};
use ffmpeg_next as ff;

const RATE: f32 = 48_000.0;

/// A 440 Hz tone on the left, nothing on the right.
fn tone(frame: i64) -> Vec<f32> {
    let phase = |i| (frame * AAC_SAMPLES as i64 + i) as f32 * 440.0 * std::f32::consts::TAU / RATE;
    (0..AAC_SAMPLES as i64).flat_map(|i| [phase(i).sin() * 0.5, 0.0]).collect()
}

/// Something like a voice in both channels: a hum whose pitch and loudness move, with overtones.
fn voice(frame: i64) -> Vec<f32> {
    let sample = |i: i64| {
        let t = (frame * AAC_SAMPLES as i64 + i) as f32 / RATE;
        let pitch = 140.0 + 30.0 * (t * 9.0).sin();
        let overtones = (1..20).map(|n| (t * pitch * n as f32 * std::f32::consts::TAU).sin() / n as f32).sum::<f32>();
        overtones * 0.15 * (0.6 + 0.4 * (t * 25.0).sin())
    };
    (0..AAC_SAMPLES as i64).flat_map(|i| [sample(i), sample(i) * 0.9]).collect()
}

fn encode(
    encoder: &mut OpusEncoder,
    frames: std::ops::Range<i64>,
    said: impl Fn(i64) -> Vec<f32>,
) -> Vec<EncodedPacket> {
    frames.flat_map(|n| encoder.encode(&said(n), n * AAC_TICKS).unwrap()).collect()
}

/// Both channels as libopus decodes them, which is what browsers have: 960 samples a packet from the first one's pts on.
fn decode(packets: &[EncodedPacket]) -> Vec<[f32; 2]> {
    let codec = ff::decoder::find_by_name("libopus").unwrap();
    let mut decoder = ff::codec::context::Context::new_with_codec(codec).decoder();
    // SAFETY: the context is not open yet; ffmpeg-next has no setters for a decoder's input.
    unsafe {
        (*decoder.as_mut_ptr()).sample_rate = 48_000;
        (*decoder.as_mut_ptr()).request_sample_fmt = ff::ffi::AVSampleFormat::AV_SAMPLE_FMT_FLT;
    }
    let mut decoder = decoder.audio().unwrap();
    let mut frame = ff::frame::Audio::empty();
    let mut out = Vec::new();
    for p in packets {
        decoder.send_packet(&ff::Packet::copy(&p.data)).unwrap();
        while decoder.receive_frame(&mut frame).is_ok() {
            assert_eq!(frame.samples(), OPUS_SAMPLES);
            out.extend(frame.plane::<(f32, f32)>(0).iter().map(|&(l, r)| [l, r]));
        }
    }
    out
}

fn power(samples: &[[f32; 2]]) -> f32 {
    samples.iter().map(|s| s[0] * s[0]).sum::<f32>() / samples.len() as f32
}

#[test]
fn packets_are_continuous_and_as_small_as_promised() {
    let mut encoder = OpusEncoder::open().unwrap();
    assert_eq!((encoder.codec(), encoder.extradata().len()), (AudioCodec::Opus, 0));
    let packets = encode(&mut encoder, 0..940, |n| if n < 470 { vec![] } else { voice(n) });
    for (n, p) in packets.iter().enumerate() {
        assert!(p.key && p.track == Track::Audio && p.duration == OPUS_TICKS && !p.data.is_empty());
        assert_eq!(p.pts, n as i64 * OPUS_TICKS);
        // TOC byte, RFC 6716 section 3.1: stereo, one 20 ms frame in the packet.
        assert_eq!(p.data[0] & 0b111, 0b100, "packet {n}");
    }
    // At most two packets behind what went in.
    assert!(packets.last().unwrap().pts + 3 * OPUS_TICKS > 940 * AAC_TICKS);
    let kbps =
        |from: usize| packets[from..from + 400].iter().map(|p| p.data.len()).sum::<usize>() as f32 * 8.0 / 8_000.0;
    assert!((15.0..40.0).contains(&kbps(0)), "quiet: {} kbit/s", kbps(0));
    assert!((64.0..140.0).contains(&kbps(560)), "speech: {} kbit/s", kbps(560));
    assert!(packets.iter().all(|p| p.data.len() <= 1_000), "each fits into one RTP packet");
}

#[test]
fn decoded_sound_sits_at_its_pts() {
    let mut encoder = OpusEncoder::open().unwrap();
    // A click: a few loud samples at a known place, long after the encoder has opened.
    let click = 30 * AAC_SAMPLES + 500;
    let packets = encode(&mut encoder, 0..60, |n| {
        let mut samples = vec![0.0; 2 * AAC_SAMPLES];
        if n == 30 {
            samples[1_000..1_008].fill(0.9);
        }
        samples
    });
    let heard = decode(&packets);
    let loudest = (0..heard.len()).max_by(|&a, &b| heard[a][0].abs().total_cmp(&heard[b][0].abs())).unwrap();
    assert!(loudest.abs_diff(click) <= 24, "the click of sample {click} is heard at {loudest}");
}

#[test]
fn words_between_pauses_are_heard_whole_and_in_their_place() {
    let mut encoder = OpusEncoder::open().unwrap();
    let said = |n: i64| (20..40).contains(&n) || (90..93).contains(&n);
    let packets = encode(&mut encoder, 0..140, |n| if said(n) { tone(n) } else { vec![] });
    for pair in packets.windows(2) {
        assert_eq!(pair[1].pts - pair[0].pts, OPUS_TICKS, "no gap at a seam");
    }
    let heard = decode(&packets);
    for (n, frame) in heard.chunks_exact(AAC_SAMPLES).enumerate() {
        let (n, power) = (n as i64, power(frame));
        // A sine of 0.5 has a power of 0.125. A frame beside a word may hear its attack.
        match said(n) {
            true => assert!(power > 0.1, "frame {n}: {power}"),
            false if said(n - 1) || said(n + 1) => {}
            false => assert!(power < 1e-5, "frame {n}: {power}"),
        }
    }
    // The wave itself, once the encoder has settled.
    let wave = (22 * AAC_SAMPLES..38 * AAC_SAMPLES).map(|i| {
        let said = (i as f32 * 440.0 * std::f32::consts::TAU / RATE).sin() * 0.5;
        (heard[i][0] - said).powi(2)
    });
    let noise = wave.sum::<f32>() / (16 * AAC_SAMPLES) as f32;
    // The speech modes take the lowest tones out and so turn the phase of others a little.
    assert!(noise < 0.125 / 20.0, "signal to noise under 13 dB: {noise}");
}

#[test]
fn speech_carries_a_copy_of_the_packet_before() {
    let mut encoder = OpusEncoder::open().unwrap();
    let packets = encode(&mut encoder, 0..200, |n| if n < 50 { vec![] } else { voice(n) });
    let spoken: Vec<_> = packets.iter().filter(|p| p.pts > 60 * AAC_TICKS).collect();
    // RFC 6716: configurations 0 to 15 have a SILK layer (section 3.1), whose header begins with a voice flag and a LBRR
    // flag for the mid channel, then for the side channel (section 4.2.3).
    let with_copy = spoken.iter().filter(|p| p.data[0] >> 3 < 16 && p.data[1] & 0b0101_0000 != 0).count();
    assert!(with_copy * 10 > spoken.len() * 9, "{with_copy} of {} packets", spoken.len());
}

#[test]
fn quiet_stream_is_never_digital_silence_and_nobody_hears_it() {
    let mut encoder = OpusEncoder::open().unwrap();
    let heard = decode(&encode(&mut encoder, 0..470, |_| vec![]));
    let mean = 10.0 * power(&heard[4_800..]).log10();
    let peak = heard.iter().flatten().fold(0.0f32, |peak, s| peak.max(s.abs()));
    assert!((-75.0..-60.0).contains(&mean), "{mean} dB");
    assert!(peak < 0.01, "no click where the tone repeats: {peak}");
}

#[test]
fn encoder_opened_in_the_middle_of_a_stream_keeps_the_grid() {
    let mut encoder = OpusEncoder::open().unwrap();
    let packets = encode(&mut encoder, 1_007..1_100, |_| vec![]);
    let first = packets[0].pts;
    assert!(first % OPUS_TICKS == 0 && (0..OPUS_TICKS).contains(&(first - 1_007 * AAC_TICKS)), "{first}");
}

#[test]
fn sound_that_was_left_out_is_a_gap_of_its_own_length() {
    let mut encoder = OpusEncoder::open().unwrap();
    encode(&mut encoder, 0..50, tone);
    let after = encode(&mut encoder, 150..200, tone);
    assert_eq!(after[0].pts, (150 * AAC_TICKS + OPUS_TICKS - 1) / OPUS_TICKS * OPUS_TICKS);
    assert!(after.windows(2).all(|w| w[1].pts - w[0].pts == OPUS_TICKS));
    assert!(power(&decode(&after)[9_600..]) > 0.1);
}

#[test]
fn bad_input_is_refused_and_the_encoder_goes_on() {
    let mut encoder = OpusEncoder::open().unwrap();
    assert!(matches!(encoder.encode(&[0.0; 100], 0), Err(EncodeError::Samples { got: 100 })));
    encoder.encode(&[], 0).unwrap();
    assert!(matches!(encoder.encode(&[], 0), Err(EncodeError::Order { .. })));
    let wild: Vec<f32> = [f32::NAN, f32::INFINITY, -7.0, 1e30].into_iter().cycle().take(2 * AAC_SAMPLES).collect();
    let packets = encode(&mut encoder, 1..60, |n| if n < 10 { wild.clone() } else { vec![] });
    assert!(packets.windows(2).all(|w| w[1].pts - w[0].pts == OPUS_TICKS));
    assert!(power(&decode(&packets)[40 * AAC_SAMPLES..]) < 1e-5, "quiet again");
}

#[test]
fn check_knows_that_only_rooms_need_libopus() {
    let status = agentcast::encode::probe();
    let opus = status.iter().find(|s| s.name == "libopus").expect("listed");
    assert_eq!((&opus.problem, opus.required), (&None, false));
    assert!(opus.without.contains("LiveKit rooms"), "{}", opus.without);
}
