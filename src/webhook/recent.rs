//! Keys that are remembered for a while, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Remembers each key for `age_ms`, and of all keys the newest `most`.
#[derive(Debug)]
pub(super) struct Recent<V> {
    age_ms: i64,
    most: usize,
    by_key: HashMap<Arc<str>, (i64, V)>,
    /// In the order in which they came. Holds keys that were removed meanwhile, too.
    order: VecDeque<(i64, Arc<str>)>,
}

impl<V> Recent<V> {
    pub fn new(age_ms: i64, most: usize) -> Self {
        Self { age_ms, most, by_key: HashMap::new(), order: VecDeque::new() }
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.by_key.get(key).map(|(_, value)| value)
    }

    pub fn insert(&mut self, key: &str, value: V, now_ms: i64) {
        let key = Arc::<str>::from(key);
        self.by_key.insert(key.clone(), (now_ms, value));
        self.order.push_back((now_ms, key));
        self.forget(now_ms);
    }

    pub fn remove(&mut self, key: &str) {
        self.by_key.remove(key);
    }

    pub fn forget(&mut self, now_ms: i64) {
        while let Some((at, _)) = self.order.front()
            && (self.order.len() > self.most || now_ms.saturating_sub(*at) > self.age_ms)
        {
            let Some((at, key)) = self.order.pop_front() else { break };
            // It may have come anew since.
            if self.by_key.get(&key).is_some_and(|(newest, _)| *newest == at) {
                self.by_key.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_key.len().max(self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forgotten_by_age_and_by_number_and_a_renewed_one_stays() {
        let mut recent = Recent::new(100, 3);
        recent.insert("a", 1, 0);
        recent.insert("b", 2, 50);
        recent.insert("a", 3, 90);
        recent.forget(120);
        assert_eq!((recent.get("a"), recent.get("b")), (Some(&3), Some(&2)));
        recent.forget(160);
        assert_eq!((recent.get("a"), recent.get("b")), (Some(&3), None));
        for (n, key) in ["c", "d", "e", "f"].into_iter().enumerate() {
            recent.insert(key, n as i32, 170);
        }
        assert_eq!((recent.get("a"), recent.get("c"), recent.get("d")), (None, None, Some(&1)));
        assert_eq!(recent.len(), 3);
    }
}
