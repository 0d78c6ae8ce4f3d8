//! The pipeline language, seen from outside.

mod accepted;
mod common;
mod dice;
mod expr;
mod inputs;
mod mistakes;
mod places;
mod plans;
mod planted;
mod reports;
mod schema;
mod text;
mod torture;
