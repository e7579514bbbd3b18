//! Values on their way from one number to another.

use super::MediaMs;

/// A cubic Bézier easing from (0, 0) to (1, 1) by its two inner control points. `x` and the result are 0 to 1.
pub fn ease(curve: [f32; 4], x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    if x == 0.0 || x == 1.0 {
        return x;
    }
    let bezier = |a: f32, b: f32, s: f32| {
        let r = 1.0 - s;
        3.0 * r * r * s * a + 3.0 * r * s * s * b + s * s * s
    };
    // x grows with s, so bisection finds it; 20 halvings are far below a pixel.
    let (mut lo, mut hi) = (0.0f32, 1.0f32);
    for _ in 0..20 {
        let mid = (lo + hi) / 2.0;
        if bezier(curve[0], curve[2], mid) < x { lo = mid } else { hi = mid }
    }
    bezier(curve[1], curve[3], (lo + hi) / 2.0)
}

/// A number that moves to its newest value in a fixed time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tween {
    pub from: f32,
    pub to: f32,
    pub start: MediaMs,
}

impl Tween {
    pub fn still(value: f32) -> Tween {
        Tween { from: value, to: value, start: MediaMs::MIN / 2 }
    }

    /// The value at `t` when the way takes `duration` ms; exactly `to` from its end on.
    pub fn at(&self, t: MediaMs, duration: i64, curve: [f32; 4]) -> f32 {
        let gone = t.saturating_sub(self.start);
        if duration <= 0 || gone >= duration {
            self.to
        } else if gone <= 0 {
            self.from
        } else {
            self.from + (self.to - self.from) * ease(curve, gone as f32 / duration as f32)
        }
    }
}

/// A tween that begins at most every `gap` ms and leaves out small changes: the tug bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paced {
    now: Tween,
    /// Begins when the gap is over.
    next: Option<(MediaMs, f32)>,
}

impl Paced {
    pub fn still(value: f32) -> Paced {
        Paced { now: Tween::still(value), next: None }
    }

    /// Where it is heading.
    pub fn target(&self) -> f32 {
        self.next.map_or(self.now.to, |n| n.1)
    }

    /// Heads for `to` from `at` on, or as soon as `gap` allows.
    pub fn set(&mut self, to: f32, at: MediaMs, least: f32, gap: i64, duration: i64, curve: [f32; 4]) {
        self.settle(at, duration, curve);
        if (to - self.target()).abs() < least {
            return;
        }
        let earliest = self.now.start.saturating_add(gap);
        if at >= earliest {
            self.now = Tween { from: self.now.at(at, duration, curve), to, start: at };
        } else {
            self.next = Some((earliest, to));
        }
    }

    pub fn at(&self, t: MediaMs, duration: i64, curve: [f32; 4]) -> f32 {
        let mut copy = *self;
        copy.settle(t, duration, curve);
        copy.now.at(t, duration, curve)
    }

    fn settle(&mut self, t: MediaMs, duration: i64, curve: [f32; 4]) {
        if let Some((start, to)) = self.next.filter(|n| n.0 <= t) {
            self.now = Tween { from: self.now.at(start, duration, curve), to, start };
            self.next = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUT: [f32; 4] = [0.2, 0.0, 0.0, 1.0];

    proptest! {
        #[test]
        fn a_tween_starts_and_ends_exactly_and_never_overshoots(from in -1e3f32..1e3, to in -1e3f32..1e3, x in -50i64..600) {
            let tween = Tween { from, to, start: 100 };
            let v = tween.at(100 + x, 300, OUT);
            prop_assert!(v >= from.min(to) - 1e-3 && v <= from.max(to) + 1e-3);
            if x <= 0 { prop_assert_eq!(v, from) }
            if x >= 300 { prop_assert_eq!(v, to) }
        }

        #[test]
        fn a_paced_value_moves_at_most_twice_a_second_and_arrives(steps in prop::collection::vec((1i64..200, 0.0f32..1.0), 1..40)) {
            let mut paced = Paced::still(0.5);
            let mut t = 0;
            let (mut starts, mut target) = (Vec::new(), 0.5f32);
            for (dt, to) in steps {
                t += dt;
                paced.set(to, t, 0.01, 500, 300, OUT);
                if (to - target).abs() >= 0.01 { target = to }
                if starts.last() != Some(&paced.now.start) { starts.push(paced.now.start) }
            }
            prop_assert!(starts.windows(2).all(|w| w[1] - w[0] >= 500 || w[0] < 0));
            prop_assert_eq!(paced.at(t + 2_000, 300, OUT), paced.target());
            prop_assert!((paced.target() - target).abs() < 0.011);
        }
    }
}
