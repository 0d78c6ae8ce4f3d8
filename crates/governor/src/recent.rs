//! A memory that forgets: the last so many things, and no more, so that state never grows with history.

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

/// The last `limit` keys that were put in, with their values. Copying it copies a pointer, as snapshots need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recent<K: Ord + Clone, V: Clone> {
    limit: usize,
    order: Vector<K>,
    values: OrdMap<K, V>,
}

impl<K: Ord + Clone, V: Clone> Recent<K, V> {
    pub(crate) fn keeping(limit: usize) -> Recent<K, V> {
        Recent { limit, order: Vector::new(), values: OrdMap::new() }
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.limit {
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
        let mut recent = Recent::keeping(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            recent.put(key, value);
        }
        assert_eq!([recent.get(&1), recent.get(&2), recent.get(&3)], [None, Some(&'b'), Some(&'d')]);
    }
}
