#![doc = include_str!("../README.md")]

mod actors;
pub mod case;
mod dice;
mod ends;
mod glass;
mod invariants;
mod journal;
mod leases;
mod locks;
mod model;
mod owed;
mod people;
mod permits;
mod policies;
pub mod score;
mod seen;
pub mod shrink;
mod strings;
pub mod world;

pub use case::{Broken, Case};
pub use world::{Report, run};
