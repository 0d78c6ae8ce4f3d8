//! Process agents: what they see, how they are made ready, run, checked and put away.

mod actions;
mod bodies;
mod calls;
pub(crate) mod capture;
pub(crate) mod doom;
pub(crate) mod door;
pub(crate) mod evidence;
pub(crate) mod grant;
mod line;
pub(crate) mod listener;
pub(crate) mod live;
pub(crate) mod outputs;
pub(crate) mod packet;
pub(crate) mod performances;
pub(crate) mod performing;
pub(crate) mod prepare;
pub(crate) mod reach;
pub(crate) mod roster;
pub(crate) mod said;
mod secrets;
mod signals;
pub(crate) mod spec;
