//! The workshop from outside: its exit codes, and the files it looks after.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod core;
mod schemas;
mod secrets;
