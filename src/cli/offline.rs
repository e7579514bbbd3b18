//! `render`: the same broadcast without a clock, as fast as the machine can.

use super::status::say;
use super::{Render, usage};
use crate::draw::Size;
use crate::encode::TICKS;
use crate::output::State;
use crate::output::file::FileOutput;
use crate::overlay::{MediaMs, OnAir};
use crate::render::RenderError;
use crate::stream::{Director, Picture, Replay, ReplayOptions, Transmitter};
use crate::studio::Studio;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The closing scene's length in a rendered file, ms.
const OVER_MS: i64 = 5_000;

/// How long a lost graphics device may take to come back.
const DEVICE_BACK: Duration = Duration::from_secs(30);
/// The recording's end takes at most this long.
const STOP: Duration = Duration::from_secs(30);

pub fn render(args: Render) -> anyhow::Result<ExitCode> {
    let kind = args.output.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let kind = kind
        .filter(|kind| kind == "png" || kind == "mp4")
        .ok_or_else(|| usage(format!("--output {}: the name must end in .mp4 or .png", args.output.display())))?;
    let record = args.record.read(&args.file)?;
    if let Some(words) = &record.truncated {
        say!("note: {words}; rendering what there is");
    }
    let name = args.file.file_stem().map_or("match".into(), |s| s.to_string_lossy().into_owned());
    let settings = args.picture.settings(&name)?;
    let options =
        ReplayOptions { speed: args.speed, lead_in_ms: i64::from(args.lead_in) * 1000, repeat_after_ms: None };
    let pictures = args.picture.pictures()?;
    let show_pictures = |director: &mut Director| -> anyhow::Result<()> {
        for (name, bytes) in &pictures {
            director.set_picture(name, crate::raster::decode(name, bytes).context("--pictures")?);
        }
        Ok(())
    };
    let studio = Studio::open(args.picture.adapter.clone().into())?;
    let replay = Replay::new(record, options);
    // Nobody receives a file: no LIVE badge.
    let on_air = OnAir::default();
    match kind.as_str() {
        "png" => {
            let size = studio.size(&settings);
            let mut director = studio.director(&settings, size, Box::new(replay))?;
            show_pictures(&mut director)?;
            let until = (args.at * 1000.0) as i64;
            let rgba = patiently(|| director.grab(until, &on_air)).context("drawing the picture")?;
            save_png(&args.output, size, &rgba)?;
            say!("{}: {}x{} at {:.2} s", args.output.display(), size.w, size.h, args.at);
        }
        _ => {
            let total_ms = replay.duration_ms() + OVER_MS + settings.delay_ms;
            let (mut director, mut transmitter) = studio.assemble(&settings, Box::new(replay))?;
            show_pictures(&mut director)?;
            transmitter.add(1, Box::new(FileOutput::create(&args.output, true)?));
            let fps = i64::from(settings.fps);
            let total = (total_ms * fps + 999) / 1000;
            let bar = ProgressBar::new(total as u64).with_style(ProgressStyle::with_template(
                "{bar:40} {percent:>3} %  {pos}/{len} frames  {per_sec}  {eta} left",
            )?);
            let began = Instant::now();
            for n in 0..total {
                let picture = frame(&mut director, n * 1000 / fps, &on_air).with_context(|| format!("frame {n}"))?;
                // Nothing may be dropped here: there is no clock to keep up with.
                wait_for_room(&transmitter)?;
                transmitter.picture(&picture, n * TICKS / fps);
                if let Some(words) = transmitter.trouble() {
                    bail!("frame {n}: {words}");
                }
                bar.inc(1);
            }
            let ended = transmitter.stop(STOP);
            bar.finish_and_clear();
            if let Some(status) = ended.into_iter().find(|status| status.state == State::NeedsAttention) {
                bail!("{}: {}", args.output.display(), status.last_error.unwrap_or_default());
            }
            let (seconds, took) = (total as f64 / fps as f64, began.elapsed().as_secs_f64());
            say!(
                "{}: {seconds:.1} s of video in {took:.1} s ({:.1}x real time)",
                args.output.display(),
                seconds / took
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The picture at media time `t`, itself and no repeated one.
fn frame(director: &mut Director, t: MediaMs, on_air: &OnAir) -> Result<Picture, RenderError> {
    patiently(|| {
        let mut picture = director.frame(t, on_air);
        picture.trouble.take().map_or(Ok(picture), Err)
    })
}

/// Draws again while the graphics device is being rebuilt: a film has no other picture to show meanwhile.
fn patiently<T>(mut draw: impl FnMut() -> Result<T, RenderError>) -> Result<T, RenderError> {
    let limit = Instant::now() + DEVICE_BACK;
    loop {
        match draw() {
            Err(RenderError::DeviceLost(_)) if Instant::now() < limit => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Waits until the recording has little left to write.
fn wait_for_room(transmitter: &Transmitter) -> anyhow::Result<()> {
    let limit = Instant::now() + Duration::from_secs(30);
    while transmitter.statuses().iter().any(|s| s.queue_ms > 1_000) {
        if Instant::now() > limit {
            bail!("the disk took nothing for 30 s");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn save_png(path: &std::path::Path, size: Size, rgba: &[u8]) -> anyhow::Result<()> {
    let opaque: Vec<u8> = rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    image::save_buffer(path, &opaque, size.w, size.h, image::ExtendedColorType::Rgb8)
        .with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::adapters;
    use crate::render::AdapterChoice;
    use crate::studio::StreamSettings;

    #[test]
    fn a_device_lost_in_mid_render_costs_no_frame_and_changes_no_picture() {
        let record = adapters::read(include_bytes!("../../assets/demo/chess.pgn"), None).unwrap();
        let studio = Studio::open(AdapterChoice::Auto).unwrap();
        let settings = StreamSettings::default();
        let director = || {
            let replay = Replay::new(record.clone(), ReplayOptions::default());
            studio.director(&settings, Size::HD, Box::new(replay)).unwrap()
        };
        let on_air = OnAir::default();
        let film = |director: &mut Director, lost_at: Option<i64>| -> Vec<_> {
            let picture = |n: i64| {
                if lost_at == Some(n) {
                    studio.gpu().simulate_loss();
                }
                frame(director, n * 100, &on_air).unwrap().frame
            };
            (0..20).map(picture).collect()
        };
        let whole = film(&mut director(), None);
        assert!(film(&mut director(), Some(8)) == whole);
        assert_eq!(studio.gpu().generation(), 1);
        studio.gpu().simulate_loss();
        let mut begun_without_a_device = director();
        assert!(patiently(|| begun_without_a_device.grab(0, &on_air)).is_ok());
    }

    #[test]
    fn a_frame_that_the_device_refuses_is_not_tried_again() {
        let mut tries = 0;
        let refused = patiently(|| {
            tries += 1;
            Err::<(), _>(RenderError::Device("too large".into()))
        });
        assert_eq!((refused, tries), (Err(RenderError::Device("too large".into())), 1));
    }
}
