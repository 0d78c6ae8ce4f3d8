//! `/proc/self/mountinfo`, as far as it is needed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which part of the file system is mounted.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) path: PathBuf,
    /// The kind of file system.
    pub(crate) kind: String,
    /// The options of the file system itself.
    pub(crate) options: String,
}

/// All mounts of this process, in the order they were made.
pub(crate) fn read() -> io::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// proc(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let path = unescape(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let options = String::from_utf8_lossy(rest.nth(1)?).into_owned();
    Some(Mount { root, path, kind, options })
}

/// Undoes the kernel's `\040` for a space, and its like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match octal {
            Some(digits) => {
                bytes.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_and_escapes_are_read() {
        let line = br"36 35 98:0 /a\040b /mnt\134x rw,noatime master:1 shared:2 - ext3 /dev/root rw,pids";
        let mount = parse(line).unwrap();
        assert_eq!(mount.root, PathBuf::from("/a b"));
        assert_eq!(mount.path, PathBuf::from(r"/mnt\x"));
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("ext3", "rw,pids"));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process_has_a_proc() {
        assert!(read().unwrap().iter().any(|mount| mount.kind == "proc"));
    }
}
