//! Texts and expressions of a stage: can they be read, do they name what there is, has it ended by then, do types fit.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Name, Span};

use super::config::Set;
use super::order::{Before, some};
use super::stages::Draft;
use super::types::{self, Type};
use crate::diagnostic::{Level, Problems, Range, codes};
use crate::expr::{Expr, Fuel, Reference, Scope};
use crate::model::InputSpec;
use crate::nearest::nearest;
use crate::syntax::Node;
use crate::text::Text;

/// What there is around a stage.
pub(super) struct Surroundings<'a, 'n> {
    pub(super) text: &'a str,
    pub(super) inputs: &'a BTreeMap<String, InputSpec>,
    pub(super) drafts: &'a [Draft<'n>],
    pub(super) before: &'a Before,
    pub(super) timeout: Option<Span>,
    /// What all conditions of the file together may take to be found constant.
    pub(super) fuel: RefCell<Fuel>,
    /// The variables that may be read; `None` when nobody knows.
    pub(super) env: Option<&'a BTreeSet<String>>,
}

/// Where an expression stands: maps its bytes to the file.
type Locate<'p> = &'p dyn Fn(usize) -> Range;

impl Surroundings<'_, '_> {
    /// A text of a stage. A template's text stands in another file; the problem is then told at the stage's `template`.
    pub(super) fn text(&self, draft: &Draft<'_>, set: Set<'_>, problems: &mut Problems) -> Option<Text> {
        let written = set.node.text()?;
        if problems.is_crowded() {
            return None;
        }
        let outside =
            draft.node.get("template").map_or(draft.name_range.clone(), |template| template.range.clone());
        let place =
            |offset: usize| if set.own { set.node.inside(self.text, offset) } else { outside.clone() };
        match Text::parse(written) {
            Ok(text) => {
                for (expr, start) in text.placed() {
                    self.expression(draft, expr, &|offset| place(start + offset), problems);
                }
                Some(text)
            }
            Err(error) => {
                problems.error(codes::BAD_EXPRESSION, place(error.offset), error.message);
                None
            }
        }
    }

    /// The texts of a list.
    pub(super) fn texts(
        &self,
        draft: &Draft<'_>,
        set: Option<Set<'_>>,
        problems: &mut Problems,
    ) -> Vec<Text> {
        let Some(set) = set else { return Vec::new() };
        let items = set.node.items().iter();
        items.filter_map(|node| self.text(draft, Set { node, own: set.own }, problems)).collect()
    }

    /// The expression of a condition; `${{ … }}` around it is allowed and changes nothing.
    pub(super) fn condition(&self, draft: &Draft<'_>, node: &Node, problems: &mut Problems) -> Option<Expr> {
        let written = node.text()?;
        let inner =
            written.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(written);
        let source = inner.trim();
        let start = written.find(source).unwrap_or(0);
        let place = |offset: usize| node.inside(self.text, start + offset);
        match Expr::parse(source) {
            Ok(expr) => {
                let kind = self.expression(draft, &expr, &place, problems);
                if !matches!(kind, Type::Bool | Type::Dyn) {
                    let message = format!("a condition must be true or false; this one is {kind}");
                    problems.error(codes::NOT_BOOLEAN, place(0), message);
                }
                Some(expr)
            }
            Err(error) => {
                problems.error(codes::BAD_EXPRESSION, place(error.offset), error.message);
                None
            }
        }
    }

    /// The value of a condition that does not depend on anything.
    pub(super) fn constant(&self, expr: &Expr) -> Option<bool> {
        if !expr.references().is_empty() {
            return None;
        }
        expr.eval_bool_with(&Scope::default(), &mut self.fuel.borrow_mut()).ok()
    }

    fn expression(&self, draft: &Draft<'_>, expr: &Expr, place: Locate<'_>, problems: &mut Problems) -> Type {
        for reference in expr.references() {
            if problems.is_crowded() {
                break;
            }
            match reference.path[0].as_str() {
                "inputs" => self.input(reference, place, problems),
                "stages" => self.stage(draft, reference, place, problems),
                "env" => self.variable(reference, place, problems),
                _ => {}
            }
        }
        types::check(expr, self.inputs, &mut |offset, code, message| {
            let level = if code == codes::CONSTANT { Level::Warning } else { Level::Error };
            if !problems.takes(level) {
                return;
            }
            match level {
                Level::Warning => problems.warning(code, place(offset), message),
                Level::Error => problems.error(code, place(offset), message),
            };
        })
    }

    fn input(&self, reference: &Reference, place: Locate<'_>, problems: &mut Problems) {
        let Some(name) = reference.path.get(1).filter(|name| !self.inputs.contains_key(*name)) else {
            return;
        };
        let known: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
        let range = widened(place(reference.offsets[1]), name);
        let problem = problems.error(codes::UNKNOWN_INPUT, range, format!("there is no input `{name}`"));
        match nearest(name, known.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => problem.hint("declare it under `inputs`"),
            None => problem.hint(format!("there are {}", some(&known))),
        };
    }

    /// A pipeline reads nothing of the shell it is started from but what the home's settings list: it may be a stranger's.
    fn variable(&self, reference: &Reference, place: Locate<'_>, problems: &mut Problems) {
        let (Some(listed), Some(name)) = (self.env, reference.path.get(1)) else { return };
        if !listed.contains(name) {
            let range = widened(place(reference.offsets[1]), name);
            let problem = problems.error(
                codes::ENV_UNLISTED,
                range,
                format!("the settings do not let pipelines read the variable `{name}`"),
            );
            problem.hint("declare an input for it, or list it under `environment.allow` in eparch.toml");
        }
    }

    fn stage(&self, draft: &Draft<'_>, reference: &Reference, place: Locate<'_>, problems: &mut Problems) {
        let Some(name) = reference.path.get(1) else { return };
        let range = widened(place(reference.offsets[1]), name);
        let named = |draft: &&Draft<'_>| draft.name.as_ref().is_some_and(|known| known.as_str() == name);
        let Some(other) = self.drafts.iter().find(named) else {
            let known: Vec<&str> =
                self.drafts.iter().filter_map(|draft| draft.name.as_ref().map(Name::as_str)).collect();
            let problem = problems.error(codes::UNKNOWN_STAGE, range, format!("there is no stage `{name}`"));
            match nearest(name, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("there are {}", some(&known))),
            };
            return;
        };
        if other.ix == draft.ix {
            problems.error(codes::NOT_BEFORE, range, format!("`{name}` reads what it has not done yet"));
        } else if !self.before.ended(other.ix, draft.ix) {
            let message = format!("`{name}` need not have ended when this stage starts");
            let problem = problems.error(codes::NOT_BEFORE, range, message);
            problem.related(other.name_range.clone(), "it stands here");
            if other.list() == draft.list() && !self.before.ended(draft.ix, other.ix) {
                problem.hint(format!("add it: `requires: [{name}]`"));
            }
        }
    }
}

/// The place of a word whose first byte is known exactly; an inexact place is the whole text, and stays.
fn widened(range: Range, word: &str) -> Range {
    if range.len() == 1 { range.start..range.start + word.len() } else { range }
}
