//! The pipeline language, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed unwrap in a test is its failure message")]

mod accepted;
mod common;
mod dice;
mod expr;
mod inputs;
mod mistakes;
mod places;
mod plans;
mod planted;
mod properties;
mod reports;
mod schema;
mod text;
mod torture;
