//! The names and functions of an expression.

use cel::Program;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use eparch_domain::limits;

use super::ExprError;
use crate::nearest::nearest;

/// What an expression may start a name with.
pub(crate) const ROOTS: [&str; 4] = ["inputs", "stages", "run", "env"];
/// What can be asked of a stage.
const STAGE_FIELDS: [&str; 3] = ["status", "outputs", "artifacts"];
/// The standard functions there are. `matches` is left out: nothing bounds the work of somebody else's pattern.
const FUNCTIONS: [&str; 12] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
];
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
/// Names of types, which compare with what `type()` yields.
pub(crate) const TYPES: [&str; 10] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];

/// A name as it stands in an expression: `stages.plan.outputs.risk` is four parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Its parts, as far as they are spelled out; the first is one of [`ROOTS`].
    pub(crate) path: Vec<String>,
    /// Where each part starts, in bytes.
    pub(crate) offsets: Vec<usize>,
    /// It stands in `has(…)`, which asks whether it is there.
    pub(crate) tested: bool,
}

/// Every name in the expression, in the order they are written.
pub(super) fn references(source: &str, program: &Program) -> Result<Vec<Reference>, ExprError> {
    let mut walk = Walk { source, info: program.source_info(), bound: Vec::new(), found: Vec::new() };
    walk.expr(program.expression())?;
    walk.found.sort_by(|a, b| a.offsets.cmp(&b.offsets));
    // A macro's range appears twice in some expansions.
    walk.found.dedup();
    Ok(walk.found)
}

struct Walk<'e> {
    source: &'e str,
    info: &'e SourceInfo,
    /// Variables of the macros around, innermost last.
    bound: Vec<&'e str>,
    found: Vec<Reference>,
}

impl<'e> Walk<'e> {
    /// Where a node stands, in bytes.
    fn offset(&self, id: u64) -> usize {
        let at = self.info.offset_for(id).and_then(|(start, _)| usize::try_from(start).ok());
        at.filter(|at| self.source.is_char_boundary(*at)).unwrap_or(0)
    }

    fn refuse<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, ExprError> {
        Err(ExprError { message: message.into(), offset })
    }

    fn expr(&mut self, node: &'e IdedExpr) -> Result<(), ExprError> {
        if let Some(reference) = self.reference(node) {
            return self.name(reference, node);
        }
        match &node.expr {
            Expr::Ident(name) => self.ident(name, self.offset(node.id)),
            Expr::Select(select) => self.expr(&select.operand),
            Expr::Call(call) => self.call(call, node.id),
            Expr::Comprehension(comprehension) => {
                self.expr(&comprehension.iter_range)?;
                let name = comprehension.iter_var.as_str();
                if ROOTS.contains(&name) {
                    return self.refuse(
                        self.offset(node.id),
                        format!("`{name}` cannot be the name of a macro's variable"),
                    );
                }
                if self.bound.len() >= limits::EXPRESSION_MACROS {
                    let message = format!("macros nest at most {} deep", limits::EXPRESSION_MACROS);
                    return self.refuse(self.offset(node.id), message);
                }
                self.bound.push(name);
                self.expr(&comprehension.accu_init)?;
                self.expr(&comprehension.loop_cond)?;
                self.expr(&comprehension.loop_step)?;
                self.expr(&comprehension.result)?;
                self.bound.pop();
                Ok(())
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expr(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.expr(&entry.key).and_then(|()| self.expr(&entry.value)),
                EntryExpr::StructField(field) => self.expr(&field.value),
            }),
            Expr::Literal(_) => Ok(()),
            Expr::Struct(made) => {
                self.refuse(self.offset(node.id), format!("there is no type `{}`", made.type_name))
            }
            Expr::Unspecified => self.refuse(self.offset(node.id), "the expression cannot be read"),
        }
    }

    /// The name a node spells, when it starts at one of the roots.
    fn reference(&self, node: &'e IdedExpr) -> Option<Reference> {
        let mut parts = Vec::new();
        let mut at = node;
        let mut tested = false;
        loop {
            match &at.expr {
                Expr::Ident(root)
                    if ROOTS.contains(&root.as_str()) && !self.bound.contains(&root.as_str()) =>
                {
                    parts.push((root.clone(), self.offset(at.id)));
                    break;
                }
                Expr::Select(select) => {
                    tested |= select.test;
                    // The node stands at its dot.
                    let dot = self.offset(at.id);
                    let gap = self.source[dot..].find(|c: char| c != '.' && !c.is_whitespace()).unwrap_or(0);
                    parts.push((select.field.clone(), dot + gap));
                    at = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
                    // A part that is worked out ends what is known: the walk goes on inside both operands.
                    let Expr::Literal(LiteralValue::String(name)) = &call.args[1].expr else { return None };
                    parts.push((name.inner().to_owned(), self.offset(call.args[1].id)));
                    at = &call.args[0];
                }
                _ => return None,
            }
        }
        parts.reverse();
        let (path, offsets) = parts.into_iter().unzip();
        Some(Reference { path, offsets, tested })
    }

    fn name(&mut self, mut reference: Reference, node: &'e IdedExpr) -> Result<(), ExprError> {
        if reference.tested {
            // `has()` stands at the call; the name in it is what the reader looks for.
            let operand = self.source.get(self.offset(node.id)..).unwrap_or("");
            debug_assert!(!operand.is_empty() || reference.path.len() > 1);
            if let Some(last) = reference.offsets.len().checked_sub(2) {
                reference.offsets[last + 1] = reference.offsets[last];
            }
        }
        let root = reference.path[0].as_str();
        if reference.path.len() == 1 && matches!(root, "stages" | "env") {
            let message = match root {
                "stages" => "say which stage: stages.NAME or stages[\"NAME\"]",
                _ => "say which variable: env.NAME",
            };
            return self.refuse(reference.offsets[0], message);
        }
        if root == "stages"
            && let Some(field) = reference.path.get(2)
            && !STAGE_FIELDS.contains(&field.as_str())
        {
            let hint = nearest(field, STAGE_FIELDS)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            let message = format!("a stage has `status`, `outputs` and `artifacts`, not `{field}`{hint}");
            return self.refuse(reference.offsets[2], message);
        }
        self.found.push(reference);
        Ok(())
    }

    fn ident(&self, name: &str, offset: usize) -> Result<(), ExprError> {
        if name.starts_with('@') || self.bound.contains(&name) || TYPES.contains(&name) {
            return Ok(());
        }
        // `stages.my-stage` reads as a subtraction; the part after the dash is what cannot be found.
        let before = self.source[..offset].trim_end();
        if before.ends_with('-') && self.source[..offset].contains("stages.") {
            let message =
                format!("there is no `{name}`; a name with a dash is written stages[\"NAME-{name}\"]");
            return self.refuse(offset, message);
        }
        let known = ROOTS.into_iter().chain(self.bound.iter().copied());
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "an expression knows inputs, stages, run and env; text stands in quotes".to_owned(),
        };
        self.refuse(offset, format!("there is no `{name}`; {hint}"))
    }

    fn call(&mut self, call: &'e CallExpr, id: u64) -> Result<(), ExprError> {
        let name = call.func_name.as_str();
        let is_operator =
            !name.starts_with(|c: char| c.is_ascii_alphabetic()) && !matches!(name, "_?._" | "_[?_]");
        if matches!(name, "_?._" | "_[?_]") {
            return self.refuse(self.offset(id), "there are no optional selections; ask with has() first");
        }
        if !is_operator && !FUNCTIONS.contains(&name) {
            let hint = match nearest(name, FUNCTIONS.into_iter().chain(MACROS)) {
                _ if MACROS.contains(&name) => {
                    format!("`{name}` is used in another way, as in list.all(x, x > 0) or has(a.b)")
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {} and {}", FUNCTIONS.join(", "), MACROS.join(", ")),
            };
            // The node of a call stands at its bracket; its name is before it.
            let bracket = self.offset(id);
            let start = self.source[..bracket].trim_end().rfind(name).unwrap_or(bracket);
            return self.refuse(start, format!("there is no function `{name}`; {hint}"));
        }
        if let Some(target) = &call.target {
            self.expr(target)?;
        }
        call.args.iter().try_for_each(|argument| self.expr(argument))
    }
}
