#![doc = include_str!("../README.md")]

mod cage;
mod cgroup;
mod ended;
mod launch;
mod launcher;
mod link;
mod measure;
mod mountinfo;
mod named;
mod names;
mod plan;
mod probe;
mod running;
mod spec;
mod tree;
mod wire;
mod workspace;

pub use cage::{Cage, OpenError};
pub use ended::{Cause, Ended, Exit};
pub use launch::{LAUNCHER_WORD, launcher_main};
pub use launcher::Launcher;
pub use measure::{Measure, MeasureName, Status};
pub use named::end_named;
pub use probe::probe;
pub use running::{Lost, Running, StartError, stream_name};
pub use spec::{Alias, Bind, CageLimits, CageSpec, Desk, HOME, PATH, Program, Sandbox, WORKSPACE};
pub use tree::{StillAlive, TreeId};
pub use workspace::{Entry, Listing, Workspace, WorkspaceError};
