//! AAC as a decoder hears it.

use agentcast::encode::{AAC_SAMPLES, AAC_TICKS, AacEncoder, AudioEncoder, EncodeError, TICKS, Track};
use ffmpeg_next as ff;

/// A 440 Hz tone on the left, nothing on the right.
fn tone(frame: i64) -> Vec<f32> {
    (0..AAC_SAMPLES as i64)
        .flat_map(|i| {
            [((frame * AAC_SAMPLES as i64 + i) as f32 * 440.0 * std::f32::consts::TAU / 48_000.0).sin() * 0.5, 0.0]
        })
        .collect()
}

fn decoder(encoder: &AacEncoder) -> ff::decoder::Audio {
    let codec = ff::decoder::find(ff::codec::Id::AAC).unwrap();
    let mut decoder = ff::codec::context::Context::new_with_codec(codec).decoder();
    // SAFETY: FFmpeg frees extradata with av_free, so it is allocated with av_malloc; the padding is zeroed.
    unsafe {
        let data = encoder.extradata();
        let p = ff::ffi::av_mallocz(data.len() + 64).cast::<u8>();
        std::ptr::copy_nonoverlapping(data.as_ptr(), p, data.len());
        (*decoder.as_mut_ptr()).extradata = p;
        (*decoder.as_mut_ptr()).extradata_size = data.len() as i32;
    }
    decoder.audio().unwrap()
}

#[test]
fn packets_are_continuous_and_two_frames_behind() {
    let mut encoder = AacEncoder::open().unwrap();
    let mut pts = Vec::new();
    let mut bytes = 0;
    for n in 0..470 {
        let samples = if n < 94 { vec![] } else { tone(n) };
        for p in encoder.encode(&samples, n * AAC_TICKS).unwrap() {
            assert!(p.key && p.track == Track::Audio && p.duration == 1920);
            pts.push(p.pts);
            bytes += p.data.len();
        }
    }
    assert_eq!(pts, (0..468).map(|n| n * AAC_TICKS).collect::<Vec<_>>());
    assert!(bytes * 8 / 10 < 200_000, "{} bit/s", bytes * 8 / 10);
    // ISO 14496-3: object type 2 (LC), frequency index 3 (48 kHz), 2 channels.
    let config = u16::from_be_bytes([encoder.extradata()[0], encoder.extradata()[1]]);
    assert_eq!((config >> 11, config >> 7 & 15, config >> 3 & 15), (2, 3, 2));
}

#[test]
fn decoded_sound_sits_at_its_pts() {
    let mut encoder = AacEncoder::open().unwrap();
    let mut decoder = decoder(&encoder);
    let mut frame = ff::frame::Audio::empty();
    let mut energy = Vec::new();
    for n in 0..20 {
        // One loud frame among silent ones.
        let samples = if n == 8 { tone(n) } else { vec![] };
        for p in encoder.encode(&samples, n * AAC_TICKS).unwrap() {
            decoder.send_packet(&ff::Packet::copy(&p.data)).unwrap();
            while decoder.receive_frame(&mut frame).is_ok() {
                let sum: f32 = frame.plane::<f32>(0).iter().map(|s| s * s).sum();
                energy.push((p.pts / AAC_TICKS, sum));
            }
        }
    }
    let loudest = energy.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(loudest.0, 8, "{energy:?}");
}

#[test]
fn bad_input_is_refused_and_the_encoder_goes_on() {
    let mut encoder = AacEncoder::open().unwrap();
    assert!(matches!(encoder.encode(&[0.0; 100], 0), Err(EncodeError::Samples { got: 100 })));
    encoder.encode(&[], 0).unwrap();
    assert!(matches!(encoder.encode(&[], 0), Err(EncodeError::Order { .. })));
    let wild: Vec<f32> = [f32::NAN, f32::INFINITY, -7.0, 1e30].into_iter().cycle().take(2048).collect();
    for n in 1..10 {
        encoder.encode(&wild, n * AAC_TICKS).unwrap();
    }
    assert_eq!(encoder.encode(&[], TICKS).unwrap().len(), 1);
}

#[test]
fn quiet_stream_has_its_full_rate_and_nobody_hears_it() {
    let mut encoder = AacEncoder::open().unwrap();
    let mut decoder = decoder(&encoder);
    let mut frame = ff::frame::Audio::empty();
    let (mut bytes, mut energy, mut peak, mut samples) = (0, 0.0f64, 0.0f32, 0u32);
    for n in 0..472 {
        for p in encoder.encode(&[], n * AAC_TICKS).unwrap() {
            bytes += p.data.len();
            decoder.send_packet(&ff::Packet::copy(&p.data)).unwrap();
            while decoder.receive_frame(&mut frame).is_ok() {
                for s in frame.plane::<f32>(0) {
                    energy += f64::from(s * s);
                    peak = peak.max(s.abs());
                    samples += 1;
                }
            }
        }
    }
    let kbps = bytes as f64 * 8.0 / 470.0 * 48_000.0 / 1024.0 / 1000.0;
    assert!((152.0..168.0).contains(&kbps), "{kbps} kbit/s");
    let mean = 10.0 * (energy / f64::from(samples)).log10();
    assert!((-70.0..-60.0).contains(&mean), "{mean} dB");
    assert!(peak < 0.01, "no click where the tone repeats: {peak}");
}

#[test]
fn words_between_pauses_are_heard_whole_and_in_their_place() {
    let mut encoder = AacEncoder::open().unwrap();
    let mut decoder = decoder(&encoder);
    let mut frame = ff::frame::Audio::empty();
    let said = |n: i64| (20..30).contains(&n) || (60..62).contains(&n);
    let mut heard = Vec::new();
    for n in 0..90 {
        let samples = if said(n) { tone(n) } else { vec![] };
        for p in encoder.encode(&samples, n * AAC_TICKS).unwrap() {
            decoder.send_packet(&ff::Packet::copy(&p.data)).unwrap();
            while decoder.receive_frame(&mut frame).is_ok() {
                let sum: f32 = frame.plane::<f32>(0).iter().map(|s| s * s).sum();
                heard.push((p.pts / AAC_TICKS, sum / AAC_SAMPLES as f32));
            }
        }
    }
    assert_eq!(heard.iter().map(|h| h.0).collect::<Vec<_>>(), (0..88).collect::<Vec<_>>(), "no gap at a seam");
    for (n, power) in heard {
        // A sine of 0.5 has a power of 0.125. A frame beside a word may hear its attack.
        match said(n) {
            true => assert!(power > 0.06, "frame {n}: {power}"),
            false if said(n - 1) || said(n + 1) => {}
            false => assert!(power < 1e-5, "frame {n}: {power}"),
        }
    }
}
