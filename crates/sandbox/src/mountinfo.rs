//! `/proc/self/mountinfo`, as far as it is needed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number, and that of the mount it lies on.
    pub(crate) id: u64,
    pub(crate) parent: u64,
    /// The file system, as `major:minor`.
    pub(crate) device: String,
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

/// The mounts that lie, at whatever depth, on the one with number `id`.
pub(crate) fn beneath(mounts: &[Mount], id: u64) -> Vec<&Mount> {
    let mut found: Vec<&Mount> = Vec::new();
    let mut at = 0;
    let mut above = id;
    loop {
        // A mount of a cover of the root is its own parent; nothing is visited twice.
        found.extend(mounts.iter().filter(|mount| mount.parent == above && mount.id != mount.parent));
        let Some(next) = found.get(at) else { return found };
        (above, at) = (next.id, at + 1);
    }
}

/// Other names of `path`: where the same part of the same file system is mounted a second time.
pub(crate) fn second_mounts(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    // The last of several on one place is the one that is seen.
    let held = mounts.iter().filter(|mount| path.starts_with(&mount.path));
    let Some(held) = held.max_by_key(|mount| mount.path.components().count()) else { return Vec::new() };
    let Ok(rest) = path.strip_prefix(&held.path) else { return Vec::new() };
    let within = held.root.join(rest);
    let same = mounts.iter().filter(|mount| mount.device == held.device);
    same.filter_map(|mount| {
        let rest = within.strip_prefix(&mount.root).ok()?;
        let other: PathBuf = mount.path.join(rest).components().collect();
        (other != path).then_some(other)
    })
    .collect()
}

/// proc(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let root = unescape(fields.next()?);
    let path = unescape(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let options = String::from_utf8_lossy(rest.nth(1)?).into_owned();
    Some(Mount { id, parent, device, root, path, kind, options })
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
        assert_eq!((mount.id, mount.parent, mount.device.as_str()), (36, 35, "98:0"));
        assert_eq!(mount.root, PathBuf::from("/a b"));
        assert_eq!(mount.path, PathBuf::from(r"/mnt\x"));
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("ext3", "rw,pids"));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn mounts_beneath_one_and_other_names_of_a_folder_are_found() {
        let table =
            b"1 0 8:1 / / rw - ext4 d rw\n2 1 8:2 / /data rw - ext4 e rw\n3 2 8:3 / /data/x rw - ext4 f rw\n\
                      4 1 8:2 /in /mnt/again rw - ext4 e rw\n5 3 8:3 /y /data/x/z rw - ext4 f rw";
        let mounts: Vec<Mount> = table.split(|byte| *byte == b'\n').filter_map(parse).collect();
        assert_eq!(beneath(&mounts, 2).iter().map(|mount| mount.id).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(second_mounts(&mounts, Path::new("/data/in/home")), [PathBuf::from("/mnt/again/home")]);
        assert_eq!(second_mounts(&mounts, Path::new("/mnt/again/home")), [PathBuf::from("/data/in/home")]);
        assert!(second_mounts(&mounts, Path::new("/data/other")).is_empty());
        assert_eq!(second_mounts(&mounts, Path::new("/data/x/y/k")), [PathBuf::from("/data/x/z/k")]);
    }

    #[test]
    fn this_process_has_a_proc() {
        assert!(read().unwrap().iter().any(|mount| mount.kind == "proc"));
    }
}
