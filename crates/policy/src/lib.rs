#![doc = include_str!("../README.md")]

// what is asked
mod circumstances;
mod request;
mod resource;
mod subject;
// policies: text in, a set or every problem out
mod defaults;
mod document;
mod literal;
mod load;
mod place;
mod problem;
mod rule;
mod split;
// the set: which policies can matter, what they say
mod by_name;
mod decide;
mod entities;
mod index;
mod names;
mod question;
mod remembered;
mod unlock;
mod verdict;

pub use circumstances::{Circumstances, History};
pub use defaults::{DEFAULTS, SCHEMA};
pub use document::NotASet;
pub use load::{PolicySet, PolicyText};
pub use problem::{Problem, codes};
pub use request::Request;
pub use resource::{BadResource, Owner, Resource, ResourceKind, Target, kinds_of, one_form};
pub use rule::{Change, Rule};
pub use subject::{AgentSubject, Credential, OperatorSubject, Subject};
pub use unlock::Unlock;
pub use verdict::{Decision, Shadowed, Verdict, reasons};
