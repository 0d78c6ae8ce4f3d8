//! Policies as whoever asks them meets them.

mod bounds;
mod common;
mod dice;
mod differential;
mod generated;
mod load;
mod matrix;
mod model;
mod mutants;
mod plain;
mod targets;
mod two_names;
mod unlock;
mod watched;
