use std::collections::HashMap;
use std::hash::Hash;

/// A cache of two generations: what was not asked for during one whole generation is forgotten. Holds at most `bound` in
/// cost (or one entry that costs more than that).
pub(super) struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_cost: usize,
    bound: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub fn new(bound: usize) -> Cache<K, V> {
        Cache { young: HashMap::new(), old: HashMap::new(), young_cost: 0, bound }
    }

    pub fn get(&mut self, key: &K) -> Option<V> {
        if let Some((v, _)) = self.young.get(key) {
            return Some(v.clone());
        }
        let (v, cost) = self.old.remove(key)?;
        self.insert(key.clone(), v.clone(), cost);
        Some(v)
    }

    pub fn insert(&mut self, key: K, value: V, cost: usize) {
        // The old generation has at most half the bound, so both together stay below it.
        if self.young_cost + cost > self.bound / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_cost = 0;
            if cost > self.bound / 2 {
                self.old.clear();
            }
        }
        self.young_cost += cost;
        if let Some((_, before)) = self.young.insert(key, (value, cost)) {
            self.young_cost -= before;
        }
    }

    #[cfg(test)]
    pub fn cost(&self) -> usize {
        self.young.values().chain(self.old.values()).map(|(_, c)| c).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_entries_stay_within_the_bound() {
        let mut c = Cache::new(100);
        for i in 0..10_000 {
            c.insert(i, i, 1 + i % 7);
            assert!(c.cost() <= 100);
        }
    }

    #[test]
    fn an_entry_in_use_survives_a_flood() {
        let mut c = Cache::new(100);
        c.insert(u32::MAX, 7, 1);
        for i in 0..1000 {
            c.insert(i, 0, 1);
            assert_eq!(c.get(&u32::MAX), Some(7));
        }
        assert_eq!(c.get(&3), None);
    }
}
