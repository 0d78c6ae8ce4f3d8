//! The work evaluations may still do. It is counted in nodes and bytes, never in time: the same expression over the same
//! values is cut short at the same place on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::ExecutionError;
use cel::common::value::{BuiltinRef, Val};
use eparch_domain::limits;
use serde_json::Value;

/// The work that evaluations may still do: `limits::EXPRESSION_WORK` when it is new.
///
/// Several evaluations may share one, and are then bounded together. Once it is spent, every further one is refused.
pub struct Fuel {
    tank: Tank,
}

/// The same fuel, for the functions an evaluation calls.
#[derive(Clone)]
pub(super) struct Tank(Arc<Counters>);

struct Counters {
    /// Nodes that may still be visited, by all evaluations together.
    nodes: AtomicU64,
    /// Bytes that may still come into being in the present evaluation; what an earlier one made is gone again.
    bytes: AtomicU64,
    spent: AtomicBool,
}

impl Default for Fuel {
    fn default() -> Self {
        Fuel {
            tank: Tank(Arc::new(Counters {
                nodes: AtomicU64::new(limits::EXPRESSION_WORK),
                bytes: AtomicU64::new(limits::EXPRESSION_MADE_BYTES),
                spent: AtomicBool::new(false),
            })),
        }
    }
}

impl Fuel {
    /// How many nodes may still be visited.
    pub fn left(&self) -> u64 {
        self.tank.0.nodes.load(Ordering::Relaxed)
    }

    /// True when an evaluation was cut short. Errors inside `all` and `exists` can be outvoted by later elements, so the
    /// result alone does not say.
    pub fn is_spent(&self) -> bool {
        self.tank.is_spent()
    }

    /// What the next evaluation takes from.
    pub(super) fn tank(&mut self) -> Tank {
        self.tank.0.bytes.store(limits::EXPRESSION_MADE_BYTES, Ordering::Relaxed);
        self.tank.clone()
    }
}

impl std::fmt::Debug for Fuel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fuel").field("left", &self.left()).field("spent", &self.is_spent()).finish()
    }
}

impl Tank {
    pub(super) fn is_spent(&self) -> bool {
        self.0.spent.load(Ordering::Relaxed)
    }

    /// Pays for `nodes` that will be visited.
    pub(super) fn visit(&self, nodes: u64) -> Result<(), ExecutionError> {
        self.take(&self.0.nodes, nodes)
    }

    /// Pays for walking `bytes` of a value once: comparing, searching or copying them.
    pub(super) fn walk(&self, bytes: u64) -> Result<(), ExecutionError> {
        self.visit(bytes / limits::EXPRESSION_NODE_BYTES)
    }

    /// Pays for `bytes` that come into being.
    pub(super) fn make(&self, bytes: u64) -> Result<(), ExecutionError> {
        self.walk(bytes)?;
        self.take(&self.0.bytes, bytes)
    }

    /// The weight of a value, found in no more steps than there is fuel for.
    pub(super) fn weight(&self, value: &dyn Val) -> Result<u64, ExecutionError> {
        if self.is_spent() {
            return Err(spent());
        }
        let most = self.0.nodes.load(Ordering::Relaxed).saturating_mul(limits::EXPRESSION_NODE_BYTES);
        match weight_within(value, most) {
            Some(weight) => Ok(weight),
            // Nobody could pay for it.
            None => self.visit(u64::MAX).map(|()| 0),
        }
    }

    /// The weight of the lighter of two values, found in about as many steps: a comparison ends where one of them does.
    pub(super) fn lighter(&self, one: &dyn Val, other: &dyn Val) -> Result<u64, ExecutionError> {
        let all = self.0.nodes.load(Ordering::Relaxed).saturating_mul(limits::EXPRESSION_NODE_BYTES);
        let mut most = limits::EXPRESSION_NODE_BYTES.min(all);
        while !self.is_spent() {
            let found = [one, other].into_iter().filter_map(|value| weight_within(value, most)).min();
            match found {
                Some(found) => return Ok(found),
                None if most == all => break,
                None => most = most.saturating_mul(4).min(all),
            }
        }
        self.visit(u64::MAX).map(|()| 0)
    }

    fn take(&self, counter: &AtomicU64, amount: u64) -> Result<(), ExecutionError> {
        let left = counter.load(Ordering::Relaxed).checked_sub(amount);
        match left {
            Some(left) if !self.is_spent() => {
                counter.store(left, Ordering::Relaxed);
                Ok(())
            }
            _ => {
                self.0.spent.store(true, Ordering::Relaxed);
                Err(spent())
            }
        }
    }
}

pub(super) fn spent() -> ExecutionError {
    ExecutionError::InternalError("too much work".into())
}

/// What every value weighs, besides what is inside it.
const BASE: u64 = 16;

/// How many bytes a copy of a value takes, roughly; `None` when it is more than `most`, found without looking at more.
fn weight_within(value: &dyn Val, most: u64) -> Option<u64> {
    let mut left = most;
    lift(value, &mut left).map(|()| most - left)
}

fn lift(value: &dyn Val, left: &mut u64) -> Option<()> {
    let mut carry = |bytes: u64| {
        *left = left.checked_sub(bytes)?;
        Some(())
    };
    carry(BASE)?;
    match value.as_builtin() {
        BuiltinRef::String(text) => carry(text.inner().len() as u64),
        BuiltinRef::Bytes(bytes) => carry(bytes.inner().len() as u64),
        BuiltinRef::List(list) => list.inner().iter().try_for_each(|item| lift(item.as_ref(), left)),
        BuiltinRef::Map(map) => map.inner().iter().try_for_each(|(key, value)| {
            lift(key.inner(), left)?;
            lift(value.as_ref(), left)
        }),
        _ => Some(()),
    }
}

/// The length of a text or of bytes: what a function that looks at nothing else walks.
pub(super) fn length(value: &dyn Val) -> u64 {
    match value.as_builtin() {
        BuiltinRef::String(text) => text.inner().len() as u64,
        BuiltinRef::Bytes(bytes) => bytes.inner().len() as u64,
        _ => 0,
    }
}

/// What a value that is not yet one of the language weighs there.
pub(super) fn weight_of_json(value: &Value) -> u64 {
    let inside = match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(weight_of_json).sum(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| BASE + key.len() as u64 + weight_of_json(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    BASE + inside
}
