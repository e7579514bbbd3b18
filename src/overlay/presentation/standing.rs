//! The order in which sides are listed. It changes seldom, so that a list can be read, and its rows slide.

use super::{MediaMs, Tween};
use crate::game::{Side, SideId};
use std::collections::BTreeMap;

/// Between two changes of the order, ms.
const GAP: i64 = 3_000;

/// A side in the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place<'a> {
    pub id: &'a SideId,
    pub side: &'a Side,
    /// From 0 at the top; between two rows while it slides.
    pub at: f32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    before: Vec<SideId>,
    now: Vec<SideId>,
    start: Option<MediaMs>,
    /// Comes when the gap is over.
    next: Option<(MediaMs, Vec<SideId>)>,
}

impl Standing {
    /// The order is `order` from `at` on, or as soon as the gap allows.
    pub(super) fn set(&mut self, order: Vec<SideId>, at: MediaMs) {
        self.settle(at);
        let same_sides = self.now.len() == order.len() && order.iter().all(|id| self.now.contains(id));
        if !same_sides {
            *self = Standing { now: order, ..Standing::default() };
        } else if order == self.now {
            self.next = None;
        } else {
            match self.start.map(|start| start.saturating_add(GAP)).filter(|earliest| *earliest > at) {
                Some(earliest) => self.next = Some((earliest, order)),
                None => self.change(order, at),
            }
        }
    }

    fn change(&mut self, order: Vec<SideId>, at: MediaMs) {
        self.before = std::mem::replace(&mut self.now, order);
        self.start = Some(at);
        self.next = None;
    }

    fn settle(&mut self, t: MediaMs) {
        if let Some((at, order)) = self.next.take_if(|n| n.0 <= t) {
            self.change(order, at);
        }
    }

    /// Top first.
    pub(super) fn at<'a>(
        &'a self,
        t: MediaMs,
        duration: i64,
        curve: [f32; 4],
        sides: &'a BTreeMap<SideId, Side>,
    ) -> Vec<Place<'a>> {
        let (before, now, start) = match &self.next {
            Some((at, order)) if *at <= t => (&self.now, order, Some(*at)),
            _ => (&self.before, &self.now, self.start),
        };
        let place = |(k, id): (usize, &'a SideId)| {
            let to = k as f32;
            let from = before.iter().position(|b| b == id).map_or(to, |b| b as f32);
            let at = start.map_or(to, |start| Tween { from, to, start }.at(t, duration, curve));
            Some(Place { id, side: sides.get(id)?, at })
        };
        now.iter().enumerate().filter_map(place).collect()
    }

    /// The next time after `t` at which a row may stand elsewhere.
    pub(super) fn next_change(&self, t: MediaMs, duration: i64) -> Option<MediaMs> {
        let slides = |start: MediaMs| t >= start && t < start.saturating_add(duration);
        let moving = self.start.is_some_and(slides) || self.next.as_ref().is_some_and(|n| slides(n.0));
        let due = self.next.as_ref().map(|n| n.0).filter(|at| *at > t);
        if moving { Some(t + 1) } else { due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: [f32; 4] = [0.2, 0.0, 0.0, 1.0];

    fn ids(text: &str) -> Vec<SideId> {
        text.chars().map(String::from).collect()
    }

    fn listed(standing: &Standing, t: MediaMs) -> String {
        let sides = ids("abc").into_iter().map(|id| (id, Side::default())).collect();
        standing.at(t, 180, OUT, &sides).iter().map(|p| p.id.as_str()).collect()
    }

    #[test]
    fn order_changes_at_most_once_in_three_seconds_and_ends_right() {
        let mut standing = Standing::default();
        standing.set(ids("abc"), 0);
        standing.set(ids("bac"), 1_000);
        assert_eq!(listed(&standing, 1_000), "bac");
        standing.set(ids("cba"), 1_500);
        assert_eq!(listed(&standing, 3_999), "bac");
        assert_eq!(standing.next_change(2_000, 180), Some(4_000));
        assert_eq!(listed(&standing, 4_000), "cba");
        standing.set(ids("bac"), 4_100);
        assert_eq!(listed(&standing, 6_999), "cba");
        assert_eq!(listed(&standing, 7_000), "bac");
    }

    #[test]
    fn row_slides_from_its_old_place_to_its_new_one() {
        let mut standing = Standing::default();
        standing.set(ids("abc"), 0);
        standing.set(ids("bca"), 5_000);
        let sides = ids("abc").into_iter().map(|id| (id, Side::default())).collect();
        let places = |t| standing.at(t, 180, OUT, &sides).iter().map(|p| p.at).collect::<Vec<_>>();
        assert_eq!(places(5_000), [1.0, 2.0, 0.0]);
        assert_eq!(places(5_180), [0.0, 1.0, 2.0]);
        let way = places(5_060);
        assert!(way[0] > 0.0 && way[0] < 1.0 && way[2] > 0.0 && way[2] < 2.0);
    }
}
