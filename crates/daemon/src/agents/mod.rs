//! Process agents: what they see, how they are made ready, run, checked and put away.

pub(crate) mod actions;
pub(crate) mod capture;
pub(crate) mod doom;
pub(crate) mod evidence;
pub(crate) mod grant;
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
pub(crate) mod spec;
