#![doc = include_str!("../README.md")]

// the document: text in, a tree with places
pub mod document;
mod scalar;
mod source;
mod syntax;
// its shape: one description for the reader and for the JSON Schema
mod language;
mod nearest;
mod schema;
mod shape;
// its meaning
pub mod check;
pub mod diagnostic;
pub mod expr;
pub mod template;
pub mod text;
// what comes out
pub mod inputs;
pub mod model;
pub mod plan;
// how it is shown
mod cells;
mod graph;
mod render;

pub use check::{Checked, Known, check, check_bytes};
pub use diagnostic::{Diagnostic, Level};
pub use expr::{EvalError, Expr, Fuel, Scope, StageScope};
pub use inputs::InputProblem;
pub use model::{
    AgentWork, Branch, Budget, ConditionWork, GateType, GateWork, InputSpec, InputType, OnFailure,
    OnInterrupt, OnTimeout, ParallelWork, Parent, Pipeline, Retries, Runtime, SandboxMode, Stage, StageIx,
    Work, plan_id,
};
pub use plan::Plan;
pub use render::sarif;
pub use schema::schema_json;
pub use template::{Catalogue, Template};
pub use text::Text;
