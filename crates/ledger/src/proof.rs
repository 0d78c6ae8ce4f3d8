//! Checking proofs from bytes alone: no database, no key, nothing but hashes (RFC 9162, 2.1.3.2 and 2.1.4.2).

use crate::tree::{Hash, node_hash};

/// True when `path` proves that `leaf` (a [`leaf_hash`](crate::tree::leaf_hash)) stands at `index`, from 0, of the tree
/// of `size` leaves with this `root`.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut position, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node_hash(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// True when `path` proves that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves with
/// `new_root`. An empty tree is a prefix of every tree, and its root is not looked at.
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty();
    }
    // A tree of 2ⁿ leaves is itself the first node of the path; RFC 9162 prepends it.
    let start = old.is_power_of_two().then_some(old_root);
    let mut nodes = start.into_iter().chain(path);
    let Some(first) = nodes.next() else { return false };
    let (mut position, mut last) = (old - 1, new - 1);
    while position & 1 == 1 {
        position >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for node in nodes {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            old_hash = node_hash(node, &old_hash);
            new_hash = node_hash(node, &new_hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, node);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
