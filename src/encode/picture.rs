//! An NV12 picture as an `AVFrame`, without a copy.

use super::EncodeError;
use crate::draw::Frame;
use ffmpeg_next::{ffi, format::Pixel, frame};
use std::ffi::c_void;

/// An `AVFrame` over the picture's own memory. It holds the `Arc` until FFmpeg lets go of the buffer.
pub(super) fn wrap(picture: &Frame, width: u32, height: u32) -> Result<frame::Video, EncodeError> {
    let (w, h) = (picture.size.w, picture.size.h);
    let wrong = |reason| EncodeError::Picture { width: w, height: h, reason };
    if (w, h) != (width, height) {
        return Err(wrong("the encoder was opened for another size"));
    }
    let stride = i32::try_from(picture.stride).map_err(|_| wrong("the stride is too large"))?;
    let luma = picture.stride.checked_mul(h as usize).ok_or(wrong("the stride is too large"))?;
    if picture.stride < w as usize || picture.data.len() < luma + luma / 2 {
        return Err(wrong("the data is shorter than stride * height * 3 / 2"));
    }

    let held = Box::into_raw(Box::new(picture.clone()));
    let data = picture.data.as_ptr().cast_mut();
    // SAFETY: the buffer is marked read-only and the `Arc` in `held` keeps its memory alive and unchanged until `release`
    // runs, which FFmpeg calls once, when the last reference is gone. `luma + luma / 2` bytes were checked above.
    unsafe {
        let flags = ffi::AV_BUFFER_FLAG_READONLY;
        let buffer = ffi::av_buffer_create(data, luma + luma / 2, Some(release), held.cast(), flags);
        if buffer.is_null() {
            drop(Box::from_raw(held));
            return Err(wrong("out of memory"));
        }
        let mut out = frame::Video::empty();
        let f = out.as_mut_ptr();
        (*f).width = w as i32;
        (*f).height = h as i32;
        (*f).buf[0] = buffer;
        (*f).data[0] = data;
        (*f).data[1] = data.add(luma);
        (*f).linesize[0] = stride;
        (*f).linesize[1] = stride;
        out.set_format(Pixel::NV12);
        out.set_color_range(ffmpeg_next::color::Range::MPEG);
        out.set_color_space(ffmpeg_next::color::Space::BT709);
        Ok(out)
    }
}

unsafe extern "C" fn release(opaque: *mut c_void, _data: *mut u8) {
    // SAFETY: `opaque` is the box made in `wrap`, and FFmpeg frees a buffer once.
    drop(unsafe { Box::from_raw(opaque.cast::<Frame>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Nv12, Size};
    use std::sync::Arc;

    #[test]
    fn wrapped_picture_is_released_with_the_last_reference() {
        let picture = Arc::new(Nv12 { size: Size { w: 4, h: 2 }, stride: 8, data: (0..24).collect() });
        let a = wrap(&picture, 4, 2).unwrap();
        assert_eq!(Arc::strong_count(&picture), 2);
        assert_eq!(a.data(0)[8], 8);
        assert_eq!(a.data(1)[0], 16);
        drop(a);
        assert_eq!(Arc::strong_count(&picture), 1);
    }

    #[test]
    fn short_or_wrong_pictures_are_refused() {
        let picture = |w, h, stride, len| Arc::new(Nv12 { size: Size { w, h }, stride, data: vec![0; len] });
        for (p, want) in [
            (picture(8, 8, 8, 96), "another size"),
            (picture(4, 2, 2, 96), "shorter"),
            (picture(4, 2, 4, 11), "shorter"),
            (picture(4, 2, usize::MAX / 2, 12), "stride"),
        ] {
            let error = wrap(&p, 4, 2).err().unwrap().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
