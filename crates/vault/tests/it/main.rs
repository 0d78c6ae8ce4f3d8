//! The vault through its boundary: one suite of promises for both homes, and what is special to each.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod bao;
mod clocks;
mod contract;
mod crash;
mod guide;
mod home;
mod odd;
mod properties;
mod real;
mod sealed;
mod server;
