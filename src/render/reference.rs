use crate::draw::{Nv12, Size};

/// RGBA to NV12 on the CPU, ITU-R BT.709 limited range, chroma the mean of 2 × 2 pixels: what the GPU's conversion is
/// checked against. `rgba` has `w * h * 4` bytes, alpha is ignored; the result's stride is `w`.
///
/// # Panics
/// When `rgba` is shorter than the size says.
pub fn rgba_to_nv12(rgba: &[u8], size: Size) -> Nv12 {
    const KR: f64 = 0.2126;
    const KB: f64 = 0.0722;
    let (w, h) = (size.w as usize, size.h as usize);
    let at = |x: usize, y: usize| [0, 1, 2].map(|c| f64::from(rgba[(y * w + x) * 4 + c]) / 255.0);
    let luma = |[r, g, b]: [f64; 3]| KR * r + (1.0 - KR - KB) * g + KB * b;
    let mut data = vec![0; w * h * 3 / 2];
    for y in 0..h {
        for x in 0..w {
            data[y * w + x] = (16.0 + 219.0 * luma(at(x, y))).round() as u8;
        }
    }
    for y in (0..h).step_by(2) {
        for x in (0..w).step_by(2) {
            let four = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
            let mean = [0, 1, 2].map(|c| four.iter().map(|p| p[c]).sum::<f64>() / 4.0);
            let l = luma(mean);
            let o = w * h + y / 2 * w + x;
            data[o] = (128.0 + 224.0 * (mean[2] - l) / (2.0 - 2.0 * KB)).round() as u8;
            data[o + 1] = (128.0 + 224.0 * (mean[0] - l) / (2.0 - 2.0 * KR)).round() as u8;
        }
    }
    Nv12 { size, stride: w, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(rgb: [u8; 3]) -> [u8; 3] {
        let rgba = [rgb[0], rgb[1], rgb[2], 255].repeat(4);
        let nv12 = rgba_to_nv12(&rgba, Size { w: 2, h: 2 });
        [nv12.data[0], nv12.data[4], nv12.data[5]]
    }

    #[test]
    fn primaries_have_the_code_values_of_bt709() {
        assert_eq!(one([0, 0, 0]), [16, 128, 128]);
        assert_eq!(one([255, 255, 255]), [235, 128, 128]);
        assert_eq!(one([255, 0, 0]), [63, 102, 240]);
        assert_eq!(one([0, 255, 0]), [173, 42, 26]);
        assert_eq!(one([0, 0, 255]), [32, 240, 118]);
    }
}
