//! A home with a ledger in it, for tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eparch_domain::{Digest, Name, Timestamp};
use eparch_ledger::{
    Append, Ledger, LedgerKey, NewDocument, NewEntry, Report, Settings, Snapshot, Verify, WriteError,
};

pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) settings: Settings,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A body like those the driver writes, different for every tenant and seq.
pub(crate) fn body(tenant: &str, seq: u64) -> Vec<u8> {
    format!(r#"{{"event":{{"kind":"heartbeat_seen","tenant":"{tenant}","number":{seq}}},"facts":[],"effects":[]}}"#)
        .into_bytes()
}

pub(crate) fn entry(tenant: &str, seq: u64) -> NewEntry {
    NewEntry { body: body(tenant, seq), ..NewEntry::default() }
}

impl Home {
    pub(crate) fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_home(&dir.path().join("home"));
        settings.witness_dirs.push(dir.path().join("witness"));
        std::fs::create_dir(&settings.witness_dirs[0]).unwrap();
        Home { dir, settings }
    }

    pub(crate) fn open(&self) -> Ledger {
        Ledger::open(&self.settings, Timestamp::from_millis(1_700_000_000_000), "0.1.0-test").unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.settings.path
    }

    pub(crate) fn anchor(&self, tenant: &str) -> PathBuf {
        self.settings.anchors_dir.join(format!("{tenant}.checkpoints"))
    }

    pub(crate) fn witness(&self, tenant: &str) -> PathBuf {
        self.settings.witness_dirs[0].join(format!("{tenant}.checkpoints"))
    }

    pub(crate) fn options(&self) -> Verify {
        Verify::of(&self.settings, LedgerKey::load_verifier(&self.settings.keys_dir).unwrap())
    }

    pub(crate) fn verify(&self) -> Report {
        self.options().run().unwrap()
    }

    /// As somebody who wants nobody outside the database to remember.
    pub(crate) fn forget_anchors(&self) {
        self.forget_anchors_but(Path::new(""));
    }

    /// As somebody who has overlooked one.
    pub(crate) fn forget_anchors_but(&self, kept: &Path) {
        for dir in self.settings.anchors() {
            for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
                if file != kept {
                    std::fs::remove_file(file).unwrap();
                }
            }
        }
    }

    /// A connection that may do anything, as somebody with the file in hand can.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        // What is written here is read back at once; it need not survive a power cut.
        connection.pragma_update(None, "synchronous", "OFF").unwrap();
        connection
    }

    /// The file of a saved state, by its name.
    pub(crate) fn snapshot(&self, name: &str) -> PathBuf {
        let mut folder = self.path().as_os_str().to_owned();
        folder.push(".snapshots");
        Path::new(&folder).join(name)
    }

    /// The names of all files of saved states, in order.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.snapshot("")).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// How often something was committed; only differences mean anything.
    pub(crate) fn commits(&self) -> u64 {
        // The log's index counts its transactions, at byte 8 of each copy of its header.
        let mut index = self.path().as_os_str().to_owned();
        index.push("-shm");
        let bytes = std::fs::read(index).unwrap();
        u64::from(u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]))
    }

    /// Two tenants, several checkpoints and boots, documents, effects and snapshots.
    pub(crate) fn with_history(per_tenant: u64) -> Home {
        let home = Home::new();
        for half in 0..2 {
            let ledger = home.open();
            for tenant in ["acme", "zeta"] {
                let from = half * (per_tenant / 2);
                let to = if half == 0 { per_tenant / 2 } else { per_tenant };
                for seq in from + 1..=to {
                    // Handed over one by one; those in between share commits.
                    let append =
                        Append { tenant: name(tenant), after: seq - 1, entries: vec![eventful(tenant, seq)] };
                    let pending = ledger.append_later(append);
                    if seq % 20 == 0 || seq == to {
                        pending.wait(Instant::now() + Duration::from_secs(10)).unwrap();
                    }
                    if seq % 40 == 0 {
                        ledger.checkpoint_now(&name(tenant)).unwrap();
                    }
                    if seq % 60 == 0 {
                        let snapshot = Snapshot { seq, body: format!("state {seq}").into_bytes() };
                        save(&ledger, &name(tenant), snapshot).unwrap();
                    }
                }
            }
        }
        home
    }
}

/// Now and then an entry brings a document and has effects.
fn eventful(tenant: &str, seq: u64) -> NewEntry {
    let mut entry = entry(tenant, seq);
    if seq % 50 == 1 {
        let bytes = format!("plan {tenant} {seq}").into_bytes();
        entry.effects_due = 2;
        entry.documents = vec![NewDocument { digest: Digest::of(&bytes), kind: "plan".into(), bytes }];
    }
    entry
}

/// Saves a state as it is.
pub(crate) fn save(ledger: &Ledger, tenant: &Name, snapshot: Snapshot) -> Result<(), WriteError> {
    let Snapshot { seq, body } = snapshot;
    ledger.save_snapshot(tenant, seq, move |to| to.write_all(&body))
}
