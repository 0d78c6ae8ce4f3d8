//! Counts an evaluation's work, since the evaluator itself does not.
//!
//! The tree is rewritten once, so that whatever takes longer the larger its operands are, pays for them first:
//!
//! | written | evaluated | pays for |
//! |---|---|---|
//! | a macro's range | `@enter(range, nodes)` | all rounds of the loop, and the items; puts a map's keys in order |
//! | `a == b`, `a != b` | `@equal(a, b)`, `@unequal(a, b)` | the lighter of both |
//! | `a in b` | `@contained(a, b)` | the sought one, and every item of a list |
//! | `a + b` | `@add(a, b)` | both, and the bytes that come into being |
//! | an element of a list or map | `@made(value)` | the same |
//! | `a < b`, `size(a)`, `a.contains(b)` … | `@text(a)` | the length of a text |
//! | `a - b`, `a * b` … | `@number(a)` | nothing; refuses everything else, which an error would copy |
//! | `a[b]` | `a[@key(b)]` | the key |
//!
//! Names with `@` cannot be written in an expression.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMapKey};
use cel::common::value::{BuiltinRef, CowVal, Val};
use cel::{ExecutionError, FunctionContext, Value};

use super::fuel::{Tank, length, spent};

const ENTER: &str = "@enter";
const EQUAL: &str = "@equal";
const UNEQUAL: &str = "@unequal";
const CONTAINED: &str = "@contained";
const ADD: &str = "@add";
const MADE: &str = "@made";
const TEXT: &str = "@text";
const NUMBER: &str = "@number";
const KEY: &str = "@key";

const ARITHMETIC: [&str; 4] =
    [operators::SUBSTRACT, operators::MULTIPLY, operators::DIVIDE, operators::MODULO];
const ORDER: [&str; 4] =
    [operators::LESS, operators::LESS_EQUALS, operators::GREATER, operators::GREATER_EQUALS];
/// Functions that look at every character of a text they are called on, or copy it.
const READS_TARGET: [&str; 7] = ["size", "contains", "int", "uint", "double", "string", "bytes"];
/// Functions that look at every character of a text they are given.
const READS_ARGUMENT: [&str; 3] = ["contains", "startsWith", "endsWith"];

type Native = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync,
>;
type Outcome<'c, 'v> = Result<CowVal<'c, 'v>, ExecutionError>;
type Unary = for<'c, 'v> fn(&Tank, CowVal<'c, 'v>) -> Outcome<'c, 'v>;
type Binary = for<'c, 'v> fn(&Tank, CowVal<'c, 'v>, CowVal<'c, 'v>) -> Outcome<'c, 'v>;

/// Makes the counting functions known; they take from `tank`.
pub(super) fn add_to(context: &mut cel::Context<'_, '_>, tank: &Tank) {
    let unary: [(&str, Unary); 4] = [(MADE, made), (TEXT, text), (NUMBER, number), (KEY, key)];
    let binary: [(&str, Binary); 5] =
        [(ENTER, enter), (EQUAL, equal), (UNEQUAL, unequal), (CONTAINED, contained), (ADD, added)];
    let mut add = |name, function: Native| {
        context.add_function(name, function).expect("no standard function has a name with an @");
    };
    for (name, function) in unary {
        let tank = tank.clone();
        add(name, Box::new(move |call| function(&tank, call.args.pop().ok_or_else(spent)?)));
    }
    for (name, function) in binary {
        let tank = tank.clone();
        add(
            name,
            Box::new(move |call| {
                let right = call.args.pop().ok_or_else(spent)?;
                function(&tank, call.args.pop().ok_or_else(spent)?, right)
            }),
        );
    }
}

fn enter<'c, 'v>(tank: &Tank, range: CowVal<'c, 'v>, nodes: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    let per_round = nodes.downcast_ref::<CelInt>().map_or(1, |nodes| *nodes.inner());
    let rounds = range.as_sizer().map_or(0, |sizer| *sizer.size().inner());
    let cost = rounds.checked_mul(per_round).and_then(|cost| u64::try_from(cost).ok());
    tank.visit(cost.unwrap_or(u64::MAX))?;
    // Each item is copied once into the macro's variable.
    tank.walk(tank.weight(range.as_ref())?)?;
    Ok(in_order(range))
}

fn equal<'c, 'v>(tank: &Tank, left: CowVal<'c, 'v>, right: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.walk(tank.lighter(left.as_ref(), right.as_ref())?)?;
    Ok(CowVal::owned(CelBool::from(left == right)))
}

fn unequal<'c, 'v>(tank: &Tank, left: CowVal<'c, 'v>, right: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.walk(tank.lighter(left.as_ref(), right.as_ref())?)?;
    Ok(CowVal::owned(CelBool::from(left != right)))
}

fn contained<'c, 'v>(tank: &Tank, item: CowVal<'c, 'v>, list: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.walk(tank.weight(item.as_ref())?)?;
    if let BuiltinRef::List(_) = list.as_builtin() {
        tank.walk(tank.weight(list.as_ref())?)?;
    }
    let refused = || {
        let types = [&item, &list].map(|value| value.get_type().name().to_owned());
        ExecutionError::no_such_overload(operators::IN, types.into())
    };
    let found = list.as_container().ok_or_else(refused)?.contains(item.as_ref());
    found.map(|found| CowVal::owned(CelBool::from(found))).map_err(|_| refused())
}

fn added<'c, 'v>(tank: &Tank, left: CowVal<'c, 'v>, right: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    let both = tank.weight(left.as_ref())?.saturating_add(tank.weight(right.as_ref())?);
    tank.make(both)?;
    let adder = left.as_adder().ok_or_else(no_numbers)?;
    Ok(CowVal::Owned(adder.add(right.as_ref())?.into_owned()))
}

fn made<'c, 'v>(tank: &Tank, value: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.make(tank.weight(value.as_ref())?)?;
    Ok(value)
}

fn text<'c, 'v>(tank: &Tank, value: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.walk(length(value.as_ref()))?;
    Ok(value)
}

fn number<'c, 'v>(_: &Tank, value: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    match value.as_builtin() {
        BuiltinRef::Other => Ok(value),
        _ => Err(no_numbers()),
    }
}

fn key<'c, 'v>(tank: &Tank, key: CowVal<'c, 'v>) -> Outcome<'c, 'v> {
    tank.walk(tank.weight(key.as_ref())?)?;
    match key.downcast_ref::<CelDouble>().map(|number| *number.inner()) {
        // The error of a list without such a place would hold a copy of the list.
        Some(number) if number.fract() != 0.0 => Err(ExecutionError::IndexOutOfBounds(number.into())),
        _ => Ok(key),
    }
}

/// The operands of an arithmetic operator are none. The library's own error holds copies of them.
fn no_numbers() -> ExecutionError {
    ExecutionError::UnsupportedBinaryOperator("arithmetic", Value::Null, Value::Null)
}

/// A map's keys come in no particular order; here they come sorted, so that the same scope always yields the same list.
fn in_order<'c, 'v>(range: CowVal<'c, 'v>) -> CowVal<'c, 'v> {
    let keys = match range.as_builtin() {
        BuiltinRef::Map(map) => map.inner().keys().cloned().collect::<BTreeSet<CelMapKey<'v>>>(),
        _ => return range,
    };
    let keys = keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect::<Vec<Box<dyn Val + 'v>>>();
    CowVal::owned(CelList::from(keys))
}

/// The tree with its work counted.
pub(super) fn guarded(node: &IdedExpr) -> IdedExpr {
    let expr = match &node.expr {
        Expr::Call(call) => Expr::Call(counted(call)),
        Expr::Comprehension(comprehension) => {
            let mut copy: ComprehensionExpr = (**comprehension).clone();
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
                    entry.key = wrapped(MADE, vec![guarded(&entry.key)], entry.key.id);
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

/// A call whose operands are paid for.
fn counted(call: &CallExpr) -> CallExpr {
    let mut counted = CallExpr {
        func_name: call.func_name.clone(),
        target: call.target.as_deref().map(|target| Box::new(guarded(target))),
        args: call.args.iter().map(guarded).collect(),
    };
    let name = call.func_name.as_str();
    // The evaluator appends to a macro's result in place when it recognises the step; it is paid for by element.
    let appends = matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
    let replaced = match name {
        operators::EQUALS => Some(EQUAL),
        operators::NOT_EQUALS => Some(UNEQUAL),
        operators::IN => Some(CONTAINED),
        operators::ADD if !appends => Some(ADD),
        _ => None,
    };
    if let Some(replaced) = replaced {
        counted.func_name = replaced.to_owned();
    } else if ARITHMETIC.contains(&name) {
        counted.args = counted.args.into_iter().map(|operand| through(NUMBER, operand)).collect();
    } else if ORDER.contains(&name) {
        counted.args = counted.args.into_iter().map(|operand| through(TEXT, operand)).collect();
    } else if name == operators::INDEX {
        counted.args = counted
            .args
            .into_iter()
            .enumerate()
            .map(|(place, operand)| if place == 1 { through(KEY, operand) } else { operand })
            .collect();
    } else {
        // `size(a)` and `a.size()` are the same; only the second has a target.
        let is_member = counted.target.is_some();
        if is_member && READS_TARGET.contains(&name) {
            counted.target = counted.target.map(|target| Box::new(through(TEXT, *target)));
        }
        if if is_member { READS_ARGUMENT.contains(&name) } else { READS_TARGET.contains(&name) } {
            counted.args = counted.args.into_iter().map(|argument| through(TEXT, argument)).collect();
        }
    }
    counted
}

/// An operand that pays first; one that is a small value for certain need not, which keeps the tree shallow.
fn through(function: &str, operand: IdedExpr) -> IdedExpr {
    let is_small = match &operand.expr {
        Expr::Literal(LiteralValue::Double(_)) => function != KEY,
        Expr::Literal(_) => function != NUMBER,
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            call.target.is_none() && (ARITHMETIC.contains(&name) || ORDER.contains(&name))
        }
        _ => false,
    };
    let id = operand.id;
    if is_small { operand } else { wrapped(function, vec![operand], id) }
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
