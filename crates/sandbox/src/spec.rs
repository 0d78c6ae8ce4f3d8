//! What a caller asks for: a cage, and programs to run in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eparch_domain::{Name, Span, limits};
use serde::{Deserialize, Serialize};

/// Where the workspace lies inside every cage.
pub const WORKSPACE: &str = "/workspace";
/// The home directory inside every cage: outside the workspace, so that dotfiles do not mix with results, and within
/// the same disk limit. `/tmp` is likewise.
pub const HOME: &str = "/home/agent";

/// What happens when the kernel cannot give a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Nothing runs unless every measure is in force.
    #[default]
    Required,
    /// Runs without process limit, Landlock, seccomp or overlay where they are missing, and says so; and lets programs
    /// that write the host's folders have Unix sockets of their own. Namespaces, the minimal root and dropped
    /// capabilities are not up for negotiation: without them there is no cage.
    BestEffort,
}

/// Where programs are looked for when nobody says otherwise: all of it is the host's, and only read.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A path of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// An absolute path on the host, without links: one in it is refused, since nobody checked where it leads.
    pub host: PathBuf,
    /// Where it appears: absolute, without `..`; not `/`, `/proc`, `/dev`, nor the cage's own `/tmp` or home.
    pub inside: PathBuf,
    /// It is shown only where it is no folder. That is looked at in what is found and then shown, so that nothing can take its place
    /// in between.
    pub file_only: bool,
}

impl Bind {
    /// `host` appears at `inside`.
    pub fn new(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Bind {
        Bind { host: host.into(), inside: inside.into(), file_only: false }
    }

    /// The same, if it is no folder.
    pub fn only_a_file(self) -> Bind {
        Bind { file_only: true, ..self }
    }
}

/// A second name of something inside: a link. It is made only where nothing else has the name, and in nothing of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// The name: absolute, without `..`.
    pub at: PathBuf,
    /// Where it leads.
    pub to: PathBuf,
}

/// A folder in the workspace that belongs to the caller: what it gives to programs and takes from them. Nothing of a
/// project is seen in it, and nothing of it is written into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk {
    /// Where, relative to the workspace: one name.
    pub at: PathBuf,
    /// Folders of it, each one name, that programs only read.
    pub given: Vec<PathBuf>,
    /// Files of it, each one name, that programs only read: empty until the caller writes them.
    pub files: Vec<PathBuf>,
}

/// The numbers of a cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CageLimits {
    /// Bytes of everything written inside: workspace, home, `/tmp` and `/dev/shm` together, held in memory.
    pub workspace_bytes: u64,
    /// Files and folders of the same.
    pub workspace_inodes: u64,
    /// Bytes of memory beside that, of all processes together; where no cgroup counts them, of each process.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Open files of one process.
    pub open_files: u64,
}

impl Default for CageLimits {
    fn default() -> Self {
        CageLimits {
            workspace_bytes: limits::WORKSPACE_BYTES,
            workspace_inodes: limits::WORKSPACE_INODES,
            memory_bytes: limits::AGENT_MEMORY_BYTES,
            processes: limits::AGENT_PROCESSES,
            open_files: limits::AGENT_OPEN_FILES,
        }
    }
}

/// A cage to be opened. System folders (`/usr`, `/bin`, `/lib…`, and the few files of `/etc` that programs need) are
/// always visible, read-only; everything else is named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CageSpec {
    /// Names the cgroup and is the host name inside.
    pub name: Name,
    /// Whether a missing measure refuses.
    pub sandbox: Sandbox,
    /// A folder whose files appear in the workspace, named without links. What is written over them stays in memory, in
    /// the cage.
    pub project: Option<PathBuf>,
    /// Paths that appear read-only.
    pub read: Vec<Bind>,
    /// Paths that are really written, on the host, outside the disk limit.
    pub write: Vec<Bind>,
    /// Further names, such as the one by which somebody named what is shown at its real place.
    pub aliases: Vec<Alias>,
    /// Paths that appear read-only at the same place as on the host: tools outside the system folders. They are the
    /// administrator's word, and links in them are followed.
    pub expose: Vec<PathBuf>,
    /// Paths that are hidden wherever they would appear. A mask wins over everything above.
    pub mask: Vec<PathBuf>,
    /// A folder of the workspace for the caller's own things.
    pub desk: Option<Desk>,
    /// How much of everything.
    pub limits: CageLimits,
    /// The cgroup folder under which the cage's own is made; found by itself when `None`.
    pub cgroup_parent: Option<PathBuf>,
}

impl CageSpec {
    /// A cage with the default limits that shows nothing but the system folders.
    pub fn new(name: Name) -> CageSpec {
        CageSpec {
            name,
            sandbox: Sandbox::Required,
            project: None,
            read: Vec::new(),
            write: Vec::new(),
            aliases: Vec::new(),
            expose: Vec::new(),
            mask: Vec::new(),
            desk: None,
            limits: CageLimits::default(),
            cgroup_parent: None,
        }
    }
}

/// A program to run in a cage. Nothing of the caller's environment is passed on; stdin is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program, looked up in the `PATH` of `env` unless it has a `/`, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// A variable in which it is told what its stdout and stderr are ([`stream_name`](crate::stream_name)), so that what runs in
    /// it can tell whether what it prints is printed there. It hides one of the same name.
    pub streams_in: Option<String>,
    /// Nothing that was put into the cage is found by name: from `PATH` goes every folder in which programs of the cage can
    /// write, by whatever name it is there, before the program is looked up and in what it is told. The folders that stay
    /// stand there by their places; where none does, [`PATH`] is in their stead.
    pub only_given: bool,
    /// Where it starts, inside the cage.
    pub cwd: PathBuf,
    /// Ends it, as [`Cage::stop`](crate::Cage::stop) does, after so long.
    pub timeout: Option<Span>,
    /// From the polite signal to the deadly one when the timeout ends it.
    pub grace: Span,
}

impl Program {
    /// A program that starts in the workspace with the usual [`PATH`], and no timeout.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Program {
        let env = [("PATH", PATH), ("HOME", HOME)];
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            streams_in: None,
            only_given: false,
            cwd: WORKSPACE.into(),
            timeout: None,
            grace: limits::KILL_GRACE,
        }
    }
}
