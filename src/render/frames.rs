use super::rgba_to_nv12::{TILE, band_bytes, stride};
use crate::draw::{Frame, Nv12, Size};
use std::sync::Arc;

/// Pictures kept to be filled again: the current one, one that the encoder still reads, one to write to.
const RING: usize = 3;

/// Makes each picture out of the last one and the bands that changed, in a buffer nobody reads any more.
pub(super) struct Frames {
    size: Size,
    ring: Vec<Slot>,
    current: Option<usize>,
}

struct Slot {
    frame: Frame,
    /// Per band: older than the current picture's.
    stale: Vec<bool>,
}

impl Frames {
    pub fn new(size: Size) -> Frames {
        Frames { size, ring: Vec::new(), current: None }
    }

    pub fn current(&self) -> Option<&Frame> {
        self.current.map(|i| &self.ring[i].frame)
    }

    /// The next picture: bands flagged in `fresh` from `source`, which is laid out as a whole picture, the others as they
    /// are. The first time every band must be fresh.
    pub fn patch(&mut self, fresh: &[bool], source: &[u8]) -> Frame {
        for slot in &mut self.ring {
            slot.stale.iter_mut().zip(fresh).for_each(|(stale, fresh)| *stale |= fresh);
        }
        let last = self.current().cloned();
        let next = self.free();
        let size = self.size;
        let slot = &mut self.ring[next];
        // `free` found it or made it: nobody else holds it.
        if let Some(picture) = Arc::get_mut(&mut slot.frame) {
            for band in (0..fresh.len()).filter(|b| slot.stale[*b]) {
                for bytes in band_bytes(size, band) {
                    let from = if fresh[band] { Some(source) } else { last.as_ref().map(|f| &f.data[..]) };
                    if let Some(from) = from {
                        picture.data[bytes.clone()].copy_from_slice(&from[bytes]);
                    }
                }
            }
        }
        slot.stale.fill(false);
        self.current = Some(next);
        slot.frame.clone()
    }

    /// A slot other than the current one that can be written to.
    fn free(&mut self) -> usize {
        let current = self.current;
        let idle =
            |(i, s): (usize, &mut Slot)| (Some(i) != current && Arc::get_mut(&mut s.frame).is_some()).then_some(i);
        if let Some(i) = self.ring.iter_mut().enumerate().find_map(idle) {
            return i;
        }
        let stride = stride(self.size);
        let data = vec![0; stride * self.size.h as usize * 3 / 2];
        let frame = Arc::new(Nv12 { size: self.size, stride, data });
        let slot = Slot { frame, stale: vec![true; self.size.h.div_ceil(TILE) as usize] };
        if self.ring.len() < RING {
            self.ring.push(slot);
            return self.ring.len() - 1;
        }
        // All are being read: whoever holds this one keeps it, we let it go.
        let i = (0..RING).find(|i| Some(*i) != current).unwrap_or(0);
        self.ring[i] = slot;
        i
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { w: 16, h: 40 };

    fn source(value: u8) -> Vec<u8> {
        vec![value; 16 * 40 * 3 / 2]
    }

    fn bands(frame: &Frame) -> [u8; 3] {
        [0, 1, 2].map(|b| {
            let [luma, chroma] = band_bytes(SIZE, b);
            let value = frame.data[luma.start];
            assert!(frame.data[luma].iter().chain(&frame.data[chroma]).all(|v| *v == value));
            value
        })
    }

    #[test]
    fn patch_changes_fresh_bands_and_leaves_held_pictures_alone() {
        let mut frames = Frames::new(SIZE);
        let a = frames.patch(&[true; 3], &source(1));
        let b = frames.patch(&[false, true, false], &source(2));
        let c = frames.patch(&[false, false, true], &source(3));
        assert_eq!([bands(&a), bands(&b), bands(&c)], [[1, 1, 1], [1, 2, 1], [1, 2, 3]]);
    }

    #[test]
    fn patch_into_an_old_buffer_brings_it_up_to_date() {
        let mut frames = Frames::new(SIZE);
        let mut expected = [1; 3];
        frames.patch(&[true; 3], &source(1));
        for i in 0..20u8 {
            let band = usize::from(i) % 3;
            let fresh = [0, 1, 2].map(|b| b == band);
            expected[band] = i + 2;
            assert_eq!(bands(&frames.patch(&fresh, &source(i + 2))), expected);
        }
    }

    #[test]
    fn patch_without_readers_reuses_its_buffers() {
        let mut frames = Frames::new(SIZE);
        let mut seen = std::collections::HashSet::new();
        for i in 0..10 {
            seen.insert(frames.patch(&[true; 3], &source(i)).data.as_ptr());
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn patch_with_every_buffer_held_takes_a_new_one() {
        let mut frames = Frames::new(SIZE);
        let held: Vec<Frame> = (0..6).map(|i| frames.patch(&[true; 3], &source(i))).collect();
        for (i, frame) in held.iter().enumerate() {
            assert_eq!(bands(frame), [i as u8; 3]);
        }
    }
}
