//! The ledger through its boundary: what is promised, and what happens to those who break it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod append;
mod crash;
mod export;
mod home;
mod log;
mod migrate;
mod open;
mod tamper;
mod verify;
mod views;
