//! Types in expressions, as far as they are known without running: an input has the type it declares, a status is text,
//! what a stage gives out may be anything.

use std::collections::BTreeMap;
use std::fmt;

use cel::common::ast::{CallExpr, EntryExpr, Expr as Tree, IdedExpr, LiteralValue, operators};
use eparch_domain::StageStatus;

use crate::diagnostic::codes;
use crate::expr::{Expr, TYPES};
use crate::model::{InputSpec, InputType};
use crate::nearest::nearest;

/// What a part of an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Anything.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    List,
    Map,
    /// What `type()` yields.
    Meta,
}

impl Type {
    fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double)
    }

    /// Both known, and no value of one is ever equal to one of the other.
    fn differs(self, other: Type) -> bool {
        let open = |kind: Type| matches!(kind, Type::Dyn | Type::Null);
        let same = self == other || (self.is_number() && other.is_number());
        !(same || open(self) || open(other))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Dyn => "anything",
            Type::Null => "null",
            Type::Bool => "true or false",
            Type::Int => "a whole number",
            Type::Uint => "an unsigned number",
            Type::Double => "a number with a fraction",
            Type::String => "text",
            Type::Bytes => "bytes",
            Type::List => "a list",
            Type::Map => "a map",
            Type::Meta => "a type",
        })
    }
}

/// Takes a problem: the byte of the expression, the code, the message.
pub(super) type Report<'r> = &'r mut dyn FnMut(usize, &'static str, String);

/// Checks an expression; yields its own type.
pub(super) fn check(expr: &Expr, inputs: &BTreeMap<String, InputSpec>, report: Report<'_>) -> Type {
    Checker { expr, inputs, report, bound: Vec::new() }.node(expr.tree())
}

struct Checker<'a, 'r> {
    expr: &'a Expr,
    inputs: &'a BTreeMap<String, InputSpec>,
    report: Report<'r>,
    /// Variables of the macros around, innermost last.
    bound: Vec<String>,
}

impl Checker<'_, '_> {
    fn misfit(&mut self, at: &IdedExpr, message: String) {
        (self.report)(self.expr.offset_of(at), codes::TYPES_DO_NOT_FIT, message);
    }

    fn node(&mut self, node: &IdedExpr) -> Type {
        match &node.expr {
            Tree::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Bytes(_) => Type::Bytes,
                LiteralValue::Double(_) => Type::Double,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::String,
                LiteralValue::UInt(_) => Type::Uint,
            },
            Tree::List(list) => {
                list.elements.iter().for_each(|element| {
                    self.node(element);
                });
                Type::List
            }
            Tree::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.node(&entry.key);
                        self.node(&entry.value);
                    }
                }
                Type::Map
            }
            Tree::Select(select) if select.test => Type::Bool,
            Tree::Select(select) => match self.path(node) {
                Some(known) => known,
                None => {
                    let operand = self.node(&select.operand);
                    if !matches!(operand, Type::Dyn | Type::Map) {
                        self.misfit(node, format!("{operand} has no field `{}`", select.field));
                    }
                    Type::Dyn
                }
            },
            Tree::Ident(name) if matches!(name.as_str(), "inputs" | "run") => Type::Map,
            // A macro's variable may have the name of a type.
            Tree::Ident(name) if self.bound.contains(name) => Type::Dyn,
            Tree::Ident(name) if TYPES.contains(&name.as_str()) => Type::Meta,
            Tree::Ident(_) => Type::Dyn,
            Tree::Call(call) => self.call(node, call),
            Tree::Comprehension(made) => {
                let range = self.node(&made.iter_range);
                if !matches!(range, Type::Dyn | Type::List | Type::Map) {
                    self.misfit(&made.iter_range, format!("expected a list, found {range}"));
                }
                self.bound.push(made.iter_var.clone());
                self.node(&made.loop_step);
                self.bound.pop();
                match &made.accu_init.expr {
                    Tree::List(_) => Type::List,
                    _ => Type::Bool,
                }
            }
            Tree::Struct(_) | Tree::Unspecified => Type::Dyn,
        }
    }

    /// The type of a name that starts at a root.
    fn path(&self, node: &IdedExpr) -> Option<Type> {
        let (root, parts) = spelled(node)?;
        match (root, parts.as_slice()) {
            ("inputs", [name]) => Some(self.inputs.get(*name).map_or(Type::Dyn, |spec| match spec.kind {
                InputType::String => Type::String,
                InputType::Integer => Type::Int,
                InputType::Boolean => Type::Bool,
                // 1 and 1.5 are both numbers of JSON, and of different types here.
                InputType::Number => Type::Dyn,
            })),
            ("env", [_]) => Some(Type::String),
            ("stages", [_]) => Some(Type::Map),
            ("stages", [_, "status"]) => Some(Type::String),
            ("stages", [_, "outputs"]) => Some(Type::Map),
            ("stages", [_, "artifacts"]) => Some(Type::List),
            ("stages", [_, "outputs", ..]) | ("run", [_, ..]) => Some(Type::Dyn),
            _ => None,
        }
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        if call.func_name == operators::INDEX
            && let Some(known) = self.path(node)
        {
            return known;
        }
        let target = call.target.as_deref().map(|target| self.node(target));
        let types: Vec<Type> = call.args.iter().map(|argument| self.node(argument)).collect();
        match (call.func_name.as_str(), types.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _) => {
                for (argument, kind) in call.args.iter().zip(&types) {
                    // A macro's own variable stands where no reader can see it.
                    if !matches!(kind, Type::Bool | Type::Dyn) {
                        self.misfit(argument, format!("expected true or false, found {kind}"));
                    }
                }
                Type::Bool
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                if left.differs(*right) {
                    self.misfit(node, format!("{left} is never equal to {right}"));
                } else {
                    self.choices(node, call);
                }
                Type::Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let unordered =
                    |kind: &Type| matches!(kind, Type::List | Type::Map | Type::Null | Type::Meta);
                if left.differs(*right) || unordered(left) || unordered(right) {
                    self.misfit(node, format!("{left} cannot be ordered against {right}"));
                }
                Type::Bool
            }
            (operators::IN, [_, right]) => {
                if !matches!(right, Type::Dyn | Type::List | Type::Map) {
                    self.misfit(node, format!("`in` needs a list or a map, found {right}"));
                }
                Type::Bool
            }
            (operators::CONDITIONAL, [asked, yes, no]) => {
                if !matches!(asked, Type::Bool | Type::Dyn) {
                    self.misfit(node, format!("expected true or false before `?`, found {asked}"));
                }
                if yes == no { *yes } else { Type::Dyn }
            }
            (operators::ADD, [left, right]) => self.arithmetic(node, "added to", *left, *right, |kind| {
                kind.is_number() || matches!(kind, Type::String | Type::List | Type::Bytes)
            }),
            (operators::SUBSTRACT, [left, right]) => {
                self.arithmetic(node, "subtracted from", *right, *left, Type::is_number)
            }
            (operators::MULTIPLY, [left, right]) => {
                self.arithmetic(node, "multiplied by", *left, *right, Type::is_number)
            }
            (operators::DIVIDE, [left, right]) => {
                self.arithmetic(node, "divided by", *left, *right, Type::is_number)
            }
            (operators::MODULO, [left, right]) => {
                self.arithmetic(node, "divided by", *left, *right, |kind| {
                    matches!(kind, Type::Int | Type::Uint)
                })
            }
            (operators::NEGATE, [kind]) => {
                if !matches!(kind, Type::Dyn | Type::Int | Type::Double) {
                    self.misfit(node, format!("{kind} cannot be negated"));
                }
                *kind
            }
            ("contains" | "startsWith" | "endsWith", _) => {
                if let Some(kind) = target.filter(|kind| !matches!(kind, Type::Dyn | Type::String)) {
                    self.misfit(node, format!("`{}` needs text, found {kind}", call.func_name));
                }
                Type::Bool
            }
            ("size", _) => {
                if let Some(kind) = target.or(types.first().copied())
                    && !matches!(kind, Type::Dyn | Type::String | Type::Bytes | Type::List | Type::Map)
                {
                    self.misfit(node, format!("{kind} has no size"));
                }
                Type::Int
            }
            ("int", _) => Type::Int,
            ("uint", _) => Type::Uint,
            ("double", _) => Type::Double,
            ("string", _) => Type::String,
            ("bytes", _) => Type::Bytes,
            ("bool", _) => Type::Bool,
            ("type", _) => Type::Meta,
            (operators::NOT_STRICTLY_FALSE, _) => Type::Bool,
            _ => Type::Dyn,
        }
    }

    fn arithmetic(
        &mut self,
        node: &IdedExpr,
        done: &str,
        left: Type,
        right: Type,
        fits: impl Fn(Type) -> bool,
    ) -> Type {
        let known = |kind: Type| kind != Type::Dyn;
        if (known(left) && !fits(left))
            || (known(right) && !fits(right))
            || (known(left) && known(right) && left != right)
        {
            self.misfit(node, format!("{left} cannot be {done} {right}"));
            return Type::Dyn;
        }
        if known(left) { left } else { right }
    }

    /// Compared with a word that the value never has.
    fn choices(&mut self, node: &IdedExpr, call: &CallExpr) {
        let [left, right] = call.args.as_slice() else { return };
        let (named, word) = match (&left.expr, &right.expr) {
            (_, Tree::Literal(LiteralValue::String(word))) => (left, word.inner()),
            (Tree::Literal(LiteralValue::String(word)), _) => (right, word.inner()),
            _ => return,
        };
        let Some((root, parts)) = spelled(named) else { return };
        let known: Vec<&str> = match (root, parts.as_slice()) {
            ("stages", [_, "status"]) => StageStatus::NAMES.to_vec(),
            ("inputs", [name]) => {
                let choices = self.inputs.get(*name).map_or(&[][..], |spec| &spec.choices);
                choices.iter().filter_map(serde_json::Value::as_str).collect()
            }
            _ => return,
        };
        if !known.is_empty() && !known.contains(&word) {
            let hint = match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("it is one of {}", known.join(", ")),
            };
            let name = [&[root], parts.as_slice()].concat().join(".");
            (self.report)(
                self.expr.offset_of(node),
                codes::CONSTANT,
                format!("`{name}` is never \"{word}\"; {hint}"),
            );
        }
    }
}

/// The root of a name and its parts, all spelled out.
fn spelled(node: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    let mut parts = Vec::new();
    let mut at = node;
    loop {
        match &at.expr {
            Tree::Ident(root) => {
                parts.reverse();
                return Some((root, parts));
            }
            Tree::Select(select) if !select.test => {
                parts.push(select.field.as_str());
                at = &select.operand;
            }
            Tree::Call(call) if call.func_name == operators::INDEX => {
                let [operand, IdedExpr { expr: Tree::Literal(LiteralValue::String(part)), .. }] =
                    call.args.as_slice()
                else {
                    return None;
                };
                parts.push(part.inner());
                at = operand;
            }
            _ => return None,
        }
    }
}
