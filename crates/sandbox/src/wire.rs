//! What the daemon's side and the launcher say to each other: JSON in frames of bounded length over a Unix stream,
//! with file descriptors beside them.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use eparch_domain::Span;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ended::Ended;
use crate::measure::Measure;
use crate::spec::{Alias, CageLimits, Desk, Program, Sandbox};

/// The longest frame: a command and an environment, each 64 KiB and escaped, with room to spare.
const FRAME_BYTES: usize = 1 << 20;
/// No message carries more descriptors than this.
const FRAME_FDS: usize = 4;

/// From the daemon's side to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// To the outer stage: enter namespaces, start the keeper.
    Enter,
    /// To the keeper: build the cage.
    Build(Plan),
    /// Say which file a program would be.
    Resolve(Program),
    /// Run it; stdout and stderr come beside.
    Run(Program),
    /// End what runs: a polite signal to all, then after `grace` the deadly one.
    Stop { grace: Span },
}

/// From the launcher to the daemon's side.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The outer stage: namespaces entered, the keeper started; its pidfd comes beside.
    Entered { keeper: u32, measures: Vec<Measure> },
    /// Namespaces or the root could not be made.
    Refused { measures: Vec<Measure> },
    /// A path of the spec cannot appear inside.
    BadPath { path: PathBuf, why: String },
    /// The cage stands and nothing runs in it. Beside: the workspace folder, the listener, and the desk if there is one.
    Ready { measures: Vec<Measure>, hidden: Vec<PathBuf> },
    /// Answer to [`Order::Resolve`].
    Resolved { path: PathBuf },
    /// The program runs.
    Started,
    /// It does not, and nothing of it ran.
    CannotStart(NoStart),
    /// It and everything it started is dead.
    Ended(Ended),
}

/// Why a program did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NoStart {
    NotFound { program: String },
    NotExecutable { path: PathBuf, why: String },
    NoFolder { path: PathBuf, why: String },
    Unconfined { why: String },
    Busy,
}

/// A checked [`crate::CageSpec`]: every host path absolute and without links.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) hostname: String,
    pub(crate) sandbox: Sandbox,
    pub(crate) project: Option<PathBuf>,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) mask: Vec<PathBuf>,
    pub(crate) desk: Option<Desk>,
    pub(crate) limits: CageLimits,
    /// Whether the cage has a user namespace, which bounds what may be mounted how.
    pub(crate) user_namespace: bool,
    pub(crate) rlimits: Rlimits,
}

/// What counts in each process what no cgroup counts in all of them together.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Rlimits {
    /// `RLIMIT_NPROC`, which counts a user's.
    pub(crate) processes: Option<u64>,
    /// `RLIMIT_DATA`.
    pub(crate) memory_bytes: Option<u64>,
}

/// A host path that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mapping {
    pub(crate) host: PathBuf,
    pub(crate) inside: PathBuf,
    pub(crate) writable: bool,
    /// A folder is refused.
    pub(crate) file_only: bool,
}

/// From the keeper to the inner stage, which confines itself and becomes the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dress {
    pub(crate) sandbox: Sandbox,
    pub(crate) limits: CageLimits,
    pub(crate) rlimits: Rlimits,
    /// Folders in which everything may be done.
    pub(crate) writable: Vec<PathBuf>,
    /// Where something of the host is seen as it is, sockets and all.
    pub(crate) bound: Vec<PathBuf>,
    /// Whether something of the host is written.
    pub(crate) writes_host: bool,
    /// `None`: confine, say what holds, and leave.
    pub(crate) exec: Option<Exec>,
}

/// What the inner stage becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    pub(crate) path: PathBuf,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
}

/// The inner stage's only answer; silence means that it became the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Dressed {
    Rehearsed { measures: Vec<Measure> },
    Failed(NoStart),
}

/// Why a frame did not arrive or could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the other side is gone")]
    Gone,
    #[error("the other side said nothing in the time it had")]
    Silent,
    #[error("a message of {0} bytes is longer than the {FRAME_BYTES} allowed")]
    TooLong(usize),
    #[error("cannot read a message")]
    Json(#[from] serde_json::Error),
    #[error("cannot pass a message")]
    Io(#[from] std::io::Error),
}

impl From<rustix::io::Errno> for WireError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => WireError::Gone,
            rustix::io::Errno::AGAIN => WireError::Silent,
            other => WireError::Io(other.into()),
        }
    }
}

/// Sends one message with descriptors beside it.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_BYTES);
    let length = length.ok_or(WireError::TooLong(body.len()))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    let mut sent = 0;
    while sent < frame.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_FDS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        // The descriptors ride on the first byte, once.
        if sent == 0 && !fds.is_empty() {
            assert!(
                beside.push(SendAncillaryMessage::ScmRights(fds)),
                "no message carries so many descriptors"
            );
        }
        let piece = [IoSlice::new(&frame[sent..])];
        match rustix::net::sendmsg(&socket, &piece, &mut beside, SendFlags::NOSIGNAL) {
            Ok(bytes) => sent += bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Receives one message and the descriptors beside it.
pub(crate) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> Result<(T, Vec<OwnedFd>), WireError> {
    let mut header = [0u8; 4];
    let mut fds = Vec::new();
    let mut got = 0;
    while got < header.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_FDS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut piece = [IoSliceMut::new(&mut header[got..])];
        let read = match rustix::net::recvmsg(socket, &mut piece, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if read == 0 {
            return Err(WireError::Gone);
        }
        got += read;
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > FRAME_BYTES {
        return Err(WireError::TooLong(length));
    }
    let mut body = vec![0u8; length];
    (&*socket).read_exact(&mut body).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => WireError::Gone,
        _ => WireError::Io(error),
    })?;
    Ok((serde_json::from_slice(&body)?, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let order = Order::Stop { grace: Span::from_secs(1) };
        send(&one, &order, &[writer.as_fd()]).unwrap();
        drop(writer);
        let (back, mut fds) = receive::<Order>(&other).unwrap();
        assert!(matches!(back, Order::Stop { grace } if grace == Span::from_secs(1)));
        let copy = std::io::PipeWriter::from(fds.pop().unwrap());
        std::io::Write::write_all(&mut &copy, b"through").unwrap();
        drop(copy);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_side_and_an_overlong_frame_are_told_apart() {
        let (one, other) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &one, &u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(receive::<Order>(&other), Err(WireError::TooLong(_))));
        drop(one);
        assert!(matches!(receive::<Order>(&other), Err(WireError::Gone)));
        assert!(matches!(send(&other, &Order::Enter, &[]), Err(WireError::Gone)));
    }
}
