//! The same tests as nobody: with a user namespace, and without cgroups of one's own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};

/// `nobody` on most systems; any id without rights would do.
const UID: &str = "65534";

/// A copy of this binary in a place where an ordinary user can reach it.
pub(crate) struct OrdinaryUser {
    binary: Arc<(tempfile::TempDir, PathBuf)>,
}

impl OrdinaryUser {
    pub(crate) fn available() -> Option<OrdinaryUser> {
        let root = rustix::process::geteuid().is_root();
        if !root || !Command::new("setpriv").arg("--version").output().is_ok_and(|out| out.status.success()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let binary = folder.path().join("it");
        std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
        Some(OrdinaryUser { binary: Arc::new((folder, binary)) })
    }

    pub(crate) fn trial(&self, name: &'static str) -> Trial {
        let binary = Arc::clone(&self.binary);
        Trial::test(format!("ordinary_user::{name}"), move || {
            let out = Command::new("setpriv")
                .args(["--reuid", UID, "--regid", UID, "--clear-groups"])
                .arg(&binary.1)
                .args([name, "--exact"])
                .current_dir("/")
                .env_remove("TMPDIR")
                .output()
                .map_err(Failed::from)?;
            // A name that matches nothing would succeed as well.
            let ran = String::from_utf8_lossy(&out.stdout).contains("1 passed");
            if out.status.success() && ran {
                return Ok(());
            }
            let text = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Err(text.concat().into())
        })
    }
}
