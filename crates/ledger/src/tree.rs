//! The Merkle tree of RFC 6962: hashing, the frontier that grows it, and the paths that prove things about it.
//!
//! A tree over millions of leaves is never held in memory. Growing it needs the `Frontier`, one hash for each set bit
//! of the size. Proving needs nodes from anywhere in it, fetched through a `Fetch`: the leaves, and the hash of every
//! full subtree of 256, 256², … leaves. From 256 neighbours of one level everything between two levels is recomputed,
//! so a proof over n leaves reads at most 255 hashes per level and log₂₅₆ n levels.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash of a leaf, a node or a tree.
pub type Hash = [u8; 32];

/// Binary levels between two stored levels: 2⁸ = 256 hashes (8 KiB) rebuild all that lies between them.
pub(crate) const LEVEL_BITS: u32 = 8;

/// The hash of a leaf: SHA-256 of a zero byte and the data (RFC 6962, 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of an inner node: SHA-256 of a one byte and both children (RFC 6962, 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A full subtree that a push completed and that is worth storing: `index` counts subtrees of its level from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// It covers 256 to the power of `level` leaves; from 1.
    pub(crate) level: u32,
    pub(crate) index: u64,
    pub(crate) hash: Hash,
}

/// The right edge of a tree: the roots of the full subtrees that make it up, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds one leaf and hands every storable subtree it completes to `completed`, lowest level first.
    pub(crate) fn push(&mut self, leaf: Hash, mut completed: impl FnMut(Subtree)) {
        let mut node = leaf;
        let mut height = 0;
        while self.size >> height & 1 == 1 {
            let left = self.peaks.pop().expect("one peak for each set bit of the size");
            node = node_hash(&left, &node);
            height += 1;
            if height % LEVEL_BITS == 0 {
                completed(Subtree { level: height / LEVEL_BITS, index: self.size >> height, hash: node });
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root over all leaves; over none, the hash of nothing.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => Sha256::digest([]).into(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// The frontier of a stored tree of `size` leaves.
    pub(crate) fn load<E>(size: u64, fetch: &mut Fetch<'_, E>) -> Result<Frontier, E> {
        let mut peaks = Vec::new();
        let mut start = 0;
        for height in (0..u64::BITS).rev() {
            if size >> height & 1 == 1 {
                peaks.push(full_subtree(height, start >> height, fetch)?);
                start += 1 << height;
            }
        }
        Ok(Frontier { size, peaks })
    }
}

/// Reads `count` neighbouring hashes of a stored level, from index `first`: `(level, first, count)`. Level 0 is the
/// leaves. It returns exactly `count` hashes or an error.
pub(crate) type Fetch<'a, E> = dyn FnMut(u32, u64, u64) -> Result<Vec<Hash>, E> + 'a;

fn full_subtree<E>(height: u32, index: u64, fetch: &mut Fetch<'_, E>) -> Result<Hash, E> {
    let count = 1u64 << (height % LEVEL_BITS);
    let mut row = fetch(height / LEVEL_BITS, index * count, count)?;
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    Ok(row[0])
}

/// The largest power of two below `n`, for `n` of at least 2.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// The root over the leaves `from..to`, at least one, as they stand under one node of the tree.
pub(crate) fn range_root<E>(from: u64, to: u64, fetch: &mut Fetch<'_, E>) -> Result<Hash, E> {
    let n = to - from;
    if n.is_power_of_two() {
        let height = n.trailing_zeros();
        return full_subtree(height, from >> height, fetch);
    }
    let middle = from + split(n);
    let left = range_root(from, middle, fetch)?;
    let right = range_root(middle, to, fetch)?;
    Ok(node_hash(&left, &right))
}

/// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962, 2.1.1).
pub(crate) fn inclusion_path<E>(index: u64, size: u64, fetch: &mut Fetch<'_, E>) -> Result<Vec<Hash>, E> {
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range_root(middle, to, fetch)?);
            to = middle;
        } else {
            path.push(range_root(from, middle, fetch)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962, 2.1.2). Empty for an empty
/// or an equal tree.
pub(crate) fn consistency_path<E>(old: u64, new: u64, fetch: &mut Fetch<'_, E>) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut from, mut to) = (0, new);
    let mut whole = true;
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(range_root(middle, to, fetch)?);
            to = middle;
        } else {
            path.push(range_root(from, middle, fetch)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range_root(from, to, fetch)?);
    }
    path.reverse();
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962's own definition, word for word and slow.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let middle = usize::try_from(split(many.len() as u64)).unwrap();
                node_hash(&naive_root(&many[..middle]), &naive_root(&many[middle..]))
            }
        }
    }

    fn hex(hash: &Hash) -> String {
        eparch_domain::Digest::from_bytes(*hash).hex()
    }

    #[test]
    fn r121_published_roots_of_the_first_eight_leaves() {
        // The reference leaves and roots of Certificate Transparency's own tests.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        assert_eq!(hex(&frontier.root()), roots[0]);
        for (leaf, root) in leaves.iter().zip(&roots[1..]) {
            frontier.push(leaf_hash(leaf), |_| ());
            assert_eq!(hex(&frontier.root()), *root);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn r121_stored_subtrees_answer_like_the_definition(size in 1usize..1500, a: u64, b: u64) {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            let mut frontier = Frontier::default();
            let mut stored = vec![Vec::new(); 3];
            for leaf in &leaves {
                stored[0].push(*leaf);
                frontier.push(*leaf, |done| {
                    let row = &mut stored[done.level as usize];
                    assert_eq!(row.len() as u64, done.index);
                    row.push(done.hash);
                });
            }
            let size = size as u64;
            let mut fetch = |level: u32, first: u64, count: u64| -> Result<Vec<Hash>, ()> {
                let first = usize::try_from(first).unwrap();
                let row = &stored[level as usize];
                Ok(row[first..first + usize::try_from(count).unwrap()].to_vec())
            };
            prop_assert_eq!(frontier.root(), naive_root(&leaves));
            prop_assert_eq!(&Frontier::load(size, &mut fetch).unwrap(), &frontier);

            let index = a % size;
            let path = inclusion_path(index, size, &mut fetch).unwrap();
            let leaf = leaves[usize::try_from(index).unwrap()];
            let root = frontier.root();
            prop_assert!(crate::proof::verify_inclusion(&leaf, index, size, &path, &root));
            prop_assert!(!crate::proof::verify_inclusion(&leaf, index ^ 1, size, &path, &root) || size == 1);
            prop_assert!(!crate::proof::verify_inclusion(&leaf_hash(b"other"), index, size, &path, &root));

            let old = b % (size + 1);
            let old_root = naive_root(&leaves[..usize::try_from(old).unwrap()]);
            let path = consistency_path(old, size, &mut fetch).unwrap();
            prop_assert!(crate::proof::verify_consistency(old, &old_root, size, &root, &path));
            if old > 0 {
                prop_assert!(!crate::proof::verify_consistency(old, &leaf_hash(b"other"), size, &root, &path));
                prop_assert!(!crate::proof::verify_consistency(old, &old_root, size, &leaf_hash(b"x"), &path));
            }
        }
    }
}
