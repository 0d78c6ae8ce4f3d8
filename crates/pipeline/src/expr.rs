//! Expressions: the Common Expression Language over what a run knows. No side effects, no clock, bounded work.

mod check;
mod fault;
mod fuel;
mod guard;
mod scan;
mod scope;
mod value;
mod wanted;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::{Env, ExecutionError, Program};
use eparch_domain::limits;
use serde_json::Value;

pub(crate) use self::check::{Reference, TYPES};
pub use self::fault::{EvalError, ExprError};
pub use self::fuel::Fuel;
use self::fuel::Tank;
pub use self::scope::{Scope, StageScope};
use self::wanted::Wanted;

/// A checked expression.
///
/// It may name `inputs`, `stages`, `run` and `env`, the variables of its own macros, and the standard functions, nothing
/// else. Which stages and environment variables it reads is known without evaluating it.
///
/// ```
/// use eparch_pipeline::{Expr, Scope};
///
/// let expr = Expr::parse("inputs.count > 2 && stages.plan.outputs.risk == 'high'")?;
/// assert!(expr.stage_names().contains("plan"));
/// assert!(Expr::parse("stages[inputs.name].status").is_err());
/// # Ok::<(), eparch_pipeline::expr::ExprError>(())
/// ```
#[derive(Clone)]
pub struct Expr(Arc<Parsed>);

struct Parsed {
    source: Box<str>,
    /// As it was written; what is looked at.
    program: Program,
    /// The same with its work counted; what is evaluated.
    guarded: IdedExpr,
    references: Vec<Reference>,
    /// What of a scope it reads.
    wanted: Wanted,
    stage_names: BTreeSet<String>,
    input_names: BTreeSet<String>,
    env_names: BTreeSet<String>,
}

/// The functions and macros there are, built once: it takes longer than most evaluations.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// How much stack the parser and the evaluator get. Without optimisation a pair of parentheses takes 130 KiB and an
/// operator 35 KiB (measured); `limits::EXPRESSION_DEPTH` and `limits::PIPELINE_DEPTH` together stay below 8 MiB. Memory
/// that is not touched costs nothing.
const STACK_BYTES: usize = 16 << 20;

/// Runs foreign code on a stack of its own and catches its panics: a panic is a refusal, not an outage.
fn apart<T>(work: impl FnOnce() -> T) -> Option<T> {
    stacker::grow(STACK_BYTES, || catch_unwind(AssertUnwindSafe(work)).ok())
}

impl Expr {
    /// Reads and checks an expression.
    ///
    /// # Errors
    ///
    /// The first problem, with its place: longer than `limits::EXPRESSION_BYTES`, not in the language, a name or a
    /// function that does not exist, macros nested deeper than `limits::EXPRESSION_MACROS`, or a use of `stages` or
    /// `env` that does not say which one is meant.
    pub fn parse(source: &str) -> Result<Expr, ExprError> {
        if source.len() > limits::EXPRESSION_BYTES {
            let message = format!("an expression has at most {} bytes", limits::EXPRESSION_BYTES);
            return Err(ExprError { message, offset: 0 });
        }
        if source.trim().is_empty() {
            return Err(ExprError { message: "an expression cannot be empty".into(), offset: 0 });
        }
        scan::scan(source)?;
        let compiled = apart(|| ENVIRONMENT.compile(source))
            .ok_or_else(|| ExprError { message: "the expression cannot be read".into(), offset: 0 })?;
        let program = compiled.map_err(|errors| fault::syntax(source, &errors))?;
        let references = check::references(source, &program)?;
        let names = |root: &str| {
            let of_root = references.iter().filter(|reference| reference.path[0] == root);
            of_root.filter_map(|reference| reference.path.get(1).cloned()).collect()
        };
        Ok(Expr(Arc::new(Parsed {
            source: source.into(),
            guarded: guard::guarded(program.expression()),
            stage_names: names("stages"),
            input_names: names("inputs"),
            env_names: names("env"),
            wanted: Wanted::of(&references),
            references,
            program,
        })))
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The stages it reads.
    pub fn stage_names(&self) -> &BTreeSet<String> {
        &self.0.stage_names
    }

    /// The inputs it names.
    pub fn input_names(&self) -> &BTreeSet<String> {
        &self.0.input_names
    }

    /// The environment variables it reads.
    pub fn env_names(&self) -> &BTreeSet<String> {
        &self.0.env_names
    }

    /// The names it uses, in the order they are written.
    pub(crate) fn references(&self) -> &[Reference] {
        &self.0.references
    }

    /// Its syntax tree.
    pub(crate) fn tree(&self) -> &IdedExpr {
        self.0.program.expression()
    }

    /// The byte at which a node of the tree stands.
    pub(crate) fn offset_of(&self, node: &IdedExpr) -> usize {
        let place = self.0.program.source_info().offset_for(node.id);
        place.and_then(|(start, _)| usize::try_from(start).ok()).unwrap_or(0)
    }

    /// What it yields in `scope`. The same scope always yields the same value.
    ///
    /// # Errors
    ///
    /// When something it names is not there, when types do not fit, or when it takes more work or yields a larger
    /// value than allowed (`limits::EXPRESSION_WORK`, `limits::VALUE_BYTES`).
    pub fn eval(&self, scope: &Scope) -> Result<Value, EvalError> {
        self.eval_with(scope, &mut Fuel::default())
    }

    /// As [`Expr::eval`], with fuel that other evaluations take from too.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`]; and always once the fuel is spent.
    pub fn eval_with(&self, scope: &Scope, fuel: &mut Fuel) -> Result<Value, EvalError> {
        if fuel.is_spent() {
            return Err(EvalError::TooMuchWork);
        }
        let tank = fuel.tank();
        let outcome = apart(|| self.resolve(scope, &tank));
        if tank.is_spent() {
            return Err(EvalError::TooMuchWork);
        }
        match outcome {
            Some(Ok(value)) => value::to_json(&value, limits::VALUE_BYTES),
            Some(Err(error)) => Err(fault::evaluation(error, &self.0.references)),
            None => Err(EvalError::Failed("the evaluator gave up".into())),
        }
    }

    /// What it yields in `scope`, which must be a boolean.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`], and when it yields something else.
    pub fn eval_bool(&self, scope: &Scope) -> Result<bool, EvalError> {
        self.eval_bool_with(scope, &mut Fuel::default())
    }

    /// As [`Expr::eval_bool`], with fuel that other evaluations take from too.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval_bool`]; and always once the fuel is spent.
    pub fn eval_bool_with(&self, scope: &Scope, fuel: &mut Fuel) -> Result<bool, EvalError> {
        match self.eval_with(scope, fuel)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(EvalError::NotBoolean(value::kind(&other))),
        }
    }

    fn resolve(&self, scope: &Scope, tank: &Tank) -> Result<cel::Value, ExecutionError> {
        let mut context = cel::Context::with_env(Arc::clone(&ENVIRONMENT));
        guard::add_to(&mut context, tank);
        for root in check::ROOTS {
            if let Some(wanted) = self.0.wanted.entry(root) {
                context.add_variable_from_value(root, scope.variable(root, wanted, tank)?);
            }
        }
        cel::Value::resolve(&self.0.guarded, &context)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.0.source).finish()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl serde::Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0.source)
    }
}

impl<'de> serde::Deserialize<'de> for Expr {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let source = std::borrow::Cow::<'de, str>::deserialize(input)?;
        Expr::parse(&source).map_err(serde::de::Error::custom)
    }
}
