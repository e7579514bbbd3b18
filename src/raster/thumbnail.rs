use crate::draw::Nv12;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// JPEG's quality: 20 to 40 kB a picture.
const QUALITY: u8 = 75;

/// A picture as JPEG, `width` px wide, each pixel the mean of those it covers. None: the picture is smaller than that, or
/// its data shorter than it says.
pub fn thumbnail(picture: &Nv12, width: u32) -> Option<Vec<u8>> {
    let (w, h, stride) = (picture.size.w as usize, picture.size.h as usize, picture.stride);
    let out_w = width as usize;
    let out_h = (h * out_w).checked_div(w)?;
    if out_w == 0 || out_h == 0 || out_w > w || stride < w || picture.data.len() < stride * h * 3 / 2 {
        return None;
    }
    let (luma, chroma) = picture.data.split_at(stride * h);
    let mut rgb = Vec::with_capacity(out_w * out_h * 3);
    for y in 0..out_h {
        let rows = y * h / out_h..(y + 1) * h / out_h;
        for x in 0..out_w {
            let (from, to) = (x * w / out_w, (x + 1) * w / out_w);
            let sum: u32 =
                rows.clone().flat_map(|r| &luma[r * stride + from..r * stride + to]).map(|v| u32::from(*v)).sum();
            let mean = sum as f32 / (rows.len() * (to - from)) as f32;
            // Half the resolution: one sample in the middle is as good as their mean.
            let at = (rows.start + rows.end) / 4 * stride + (from + to) / 4 * 2;
            rgb.extend(bt709(mean, f32::from(chroma[at]), f32::from(chroma[at + 1])));
        }
    }
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    encoder.write_image(&rgb, width, out_h as u32, ExtendedColorType::Rgb8).ok()?;
    Some(jpeg)
}

/// BT.709 of limited range (ITU-R BT.709-6, 3.2 to 3.4) to 8-bit RGB.
fn bt709(y: f32, cb: f32, cr: f32) -> [u8; 3] {
    let y = (y - 16.0) * (255.0 / 219.0);
    let (cb, cr) = ((cb - 128.0) * (255.0 / 224.0), (cr - 128.0) * (255.0 / 224.0));
    // A cast from float saturates.
    [y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb].map(|v| v.round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Size;

    #[test]
    fn a_thumbnail_has_the_colours_and_the_shape_of_its_picture() {
        let (w, h) = (1280, 720);
        // Red on the left (Y 63, Cb 102, Cr 240), white on the right.
        let mut data: Vec<u8> = (0..w * h).map(|i| if i % w < w / 2 { 63 } else { 235 }).collect();
        data.extend((0..w * h / 4).flat_map(|i| if i % (w / 2) < w / 4 { [102, 240] } else { [128, 128] }));
        let picture = Nv12 { size: Size::HD, stride: w, data };
        let jpeg = thumbnail(&picture, 480).expect("a picture");
        let pixels = image::load_from_memory(&jpeg).expect("JPEG").into_rgb8();
        assert_eq!(pixels.dimensions(), (480, 270));
        let near = |x: u32, want: [u8; 3]| {
            let got = pixels.get_pixel(x, 135).0;
            assert!(got.iter().zip(want).all(|(a, b)| a.abs_diff(b) < 12), "{got:?} at {x}");
        };
        near(100, [255, 0, 0]);
        near(400, [255, 255, 255]);
        assert_eq!(thumbnail(&picture, 1281), None);
        assert_eq!(thumbnail(&Nv12 { data: vec![0; 9], ..picture }, 480), None);
    }
}
