//! A memory that forgets: the last so many things, and no more, so that state never grows with history.

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

/// The last `LIMIT` keys that were put in, with their values. Copying it copies a pointer, as snapshots need. One that was
/// kept by a build with another limit has this build's from the next key on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent<K: Ord + Clone, V: Clone, const LIMIT: usize> {
    order: Vector<K>,
    values: OrdMap<K, V>,
}

impl<K: Ord + Clone, V: Clone, const LIMIT: usize> Default for Recent<K, V, LIMIT> {
    fn default() -> Self {
        Recent { order: Vector::new(), values: OrdMap::new() }
    }
}

impl<K: Ord + Clone, V: Clone, const LIMIT: usize> Recent<K, V, LIMIT> {
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > LIMIT {
            if let Some(oldest) = self.order.pop_front() {
                self.values.remove(&oldest);
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_oldest_first() {
        let mut recent = Recent::<_, _, 2>::default();
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            recent.put(key, value);
        }
        assert_eq!([recent.get(&1), recent.get(&2), recent.get(&3)], [None, Some(&'b'), Some(&'d')]);
    }

    #[test]
    fn one_that_was_kept_with_another_limit_gets_this_one() {
        let mut kept = Recent::<_, _, 9>::default();
        for key in 1..=9 {
            kept.put(key, ());
        }
        let bytes = serde_json::to_vec(&kept).unwrap();
        let mut recent: Recent<i32, (), 2> = serde_json::from_slice(&bytes).unwrap();
        recent.put(10, ());
        assert_eq!([recent.get(&8), recent.get(&9), recent.get(&10)], [None, Some(&()), Some(&())]);
    }
}
