//! Counts an evaluation's work, since the evaluator itself does not.
//!
//! The tree is rewritten once: a macro's range is wrapped in `@enter(range, nodes)`, which prepays all rounds of the loop
//! and puts a map's keys in order; a `+` and every element of a list or map written in the expression is wrapped in
//! `@made(value)`, which pays for the bytes that come into being. Names with `@` cannot be written in an expression.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelInt, CelList, CelMapKey};
use cel::common::value::{BuiltinRef, CowVal, Val};
use cel::{ExecutionError, FunctionContext};
use eparch_domain::limits;

const ENTER: &str = "@enter";
const MADE: &str = "@made";

/// The work one evaluation may still do.
#[derive(Clone)]
pub(super) struct Fuel(Arc<Counters>);

struct Counters {
    nodes: AtomicU64,
    bytes: AtomicU64,
    spent: std::sync::atomic::AtomicBool,
}

impl Default for Fuel {
    fn default() -> Self {
        Fuel(Arc::new(Counters {
            nodes: AtomicU64::new(limits::EXPRESSION_WORK),
            bytes: AtomicU64::new(limits::EXPRESSION_MADE_BYTES),
            spent: false.into(),
        }))
    }
}

type Native = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync,
>;

impl Fuel {
    /// True when an evaluation was cut short. Errors inside `all` and `exists` can be outvoted by later elements, so the
    /// result alone does not say.
    pub(super) fn is_spent(&self) -> bool {
        self.0.spent.load(Ordering::Relaxed)
    }

    /// Makes the counting functions known.
    pub(super) fn add_to(&self, context: &mut cel::Context<'_, '_>) {
        let fuel = self.clone();
        let enter: Native = Box::new(move |call| {
            let (nodes, range) = (call.args.pop(), call.args.pop());
            let (Some(nodes), Some(range)) = (nodes, range) else { return Err(spent()) };
            let per_round = nodes.downcast_ref::<CelInt>().map_or(1, |nodes| *nodes.inner());
            let rounds = range.as_sizer().map_or(0, |sizer| *sizer.size().inner());
            let cost = rounds.checked_mul(per_round).and_then(|cost| u64::try_from(cost).ok());
            fuel.take(&fuel.0.nodes, cost.unwrap_or(u64::MAX))?;
            Ok(in_order(range))
        });
        let fuel = self.clone();
        let made: Native = Box::new(move |call| {
            let value = call.args.pop().ok_or_else(spent)?;
            fuel.take(&fuel.0.bytes, weight(value.as_ref()))?;
            Ok(value)
        });
        for (name, function) in [(ENTER, enter), (MADE, made)] {
            context.add_function(name, function).expect("no standard function has a name with an @");
        }
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

fn spent() -> ExecutionError {
    ExecutionError::InternalError("too much work".into())
}

/// A map's keys come in no particular order; here they come sorted, so that the same scope always yields the same list.
fn in_order<'c, 'v>(range: CowVal<'c, 'v>) -> CowVal<'c, 'v> {
    let keys = match range.as_builtin() {
        BuiltinRef::Map(map) => {
            map.inner().keys().cloned().collect::<std::collections::BTreeSet<CelMapKey<'v>>>()
        }
        _ => return range,
    };
    let keys = keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect::<Vec<Box<dyn Val + 'v>>>();
    CowVal::owned(CelList::from(keys))
}

/// How many bytes a copy of a value takes, roughly.
fn weight(value: &dyn Val) -> u64 {
    let inside = match value.as_builtin() {
        BuiltinRef::String(text) => text.inner().len() as u64,
        BuiltinRef::Bytes(bytes) => bytes.inner().len() as u64,
        BuiltinRef::List(list) => list.inner().iter().map(|item| weight(item.as_ref())).sum(),
        BuiltinRef::Map(map) => {
            map.inner().iter().map(|(key, value)| weight(key.inner()) + weight(value.as_ref())).sum()
        }
        _ => 0,
    };
    16 + inside
}

/// The tree with its work counted.
pub(super) fn guarded(node: &IdedExpr) -> IdedExpr {
    let expr = match &node.expr {
        Expr::Call(call) => {
            let call = CallExpr {
                func_name: call.func_name.clone(),
                target: call.target.as_deref().map(|target| Box::new(guarded(target))),
                args: call.args.iter().map(guarded).collect(),
            };
            // The evaluator appends to a macro's result in place when it recognises the step; it is paid for by element.
            let appends = matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
            if call.func_name == operators::ADD && !appends {
                return wrapped(MADE, vec![IdedExpr { id: node.id, expr: Expr::Call(call) }], node.id);
            }
            Expr::Call(call)
        }
        Expr::Comprehension(comprehension) => {
            let mut copy = (**comprehension).clone();
            let nodes = count(&copy.loop_cond) + count(&copy.loop_step);
            let price = IdedExpr { id: node.id, expr: Expr::Literal(LiteralValue::Int(CelInt::from(nodes))) };
            copy.iter_range = wrapped(ENTER, vec![guarded(&copy.iter_range), price], node.id);
            copy.loop_step = guarded(&copy.loop_step);
            copy.result = guarded(&copy.result);
            Expr::Comprehension(Box::new(copy))
        }
        Expr::List(list) => {
            let mut copy = list.clone();
            copy.elements = copy
                .elements
                .iter()
                .map(|element| wrapped(MADE, vec![guarded(element)], element.id))
                .collect();
            Expr::List(copy)
        }
        Expr::Map(map) => {
            let mut copy = map.clone();
            for entry in &mut copy.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = guarded(&entry.key);
                    entry.value = wrapped(MADE, vec![guarded(&entry.value)], entry.value.id);
                }
            }
            Expr::Map(copy)
        }
        Expr::Select(select) => {
            let mut copy = select.clone();
            *copy.operand = guarded(&select.operand);
            Expr::Select(copy)
        }
        other => other.clone(),
    };
    IdedExpr { id: node.id, expr }
}

fn wrapped(function: &str, args: Vec<IdedExpr>, id: u64) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }) }
}

/// How many nodes one round evaluates; a macro inside pays for its own rounds.
fn count(node: &IdedExpr) -> i64 {
    let inside: i64 = match &node.expr {
        Expr::Call(call) => {
            call.target.iter().map(|target| count(target)).chain(call.args.iter().map(count)).sum()
        }
        Expr::Comprehension(comprehension) => count(&comprehension.iter_range),
        Expr::List(list) => list.elements.iter().map(count).sum(),
        Expr::Map(map) => map
            .entries
            .iter()
            .map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => count(&entry.key) + count(&entry.value),
                EntryExpr::StructField(field) => count(&field.value),
            })
            .sum(),
        Expr::Select(select) => count(&select.operand),
        _ => 0,
    };
    1 + inside
}
