//! Verifying a journal without its writer: offline, with nothing but the public key and whatever anchors can be had.

mod anchors;
mod claims;
mod file;
mod history;
mod pass;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use eparch_domain::Name;
use rusqlite::{Connection, ErrorCode};

use crate::connection;
use crate::note::VerifierKey;
use crate::schema::MigrateError;
use crate::settings::Settings;
use crate::snapshots::Snapshots;
use anchors::Anchors;
use claims::{About, FileClaims};
use file::Readable;
use history::History;
pub use report::{Finding, Report, TenantReport, Wrong};

/// What to verify, and against what.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The journal's file.
    pub path: PathBuf,
    /// Keys whose checkpoints are believed.
    pub keys: Vec<VerifierKey>,
    /// Folders with checkpoints from outside the database, as the home's settings have them. One that cannot vouch is
    /// worth a notice.
    pub anchors: Vec<PathBuf>,
    /// Folders that whoever verifies knows to have such checkpoints. One that cannot vouch is a finding.
    pub named: Vec<PathBuf>,
    /// The home: anchors within it fall to whoever controls it.
    pub home: PathBuf,
    /// Look at one tenant only; at all of them when `None`.
    pub tenant: Option<Name>,
}

/// Why a journal could not be verified at all. Damage is not among these: that is a finding.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file is not there or may not be read.
    #[error("cannot open the journal at {path}")]
    Open {
        /// The journal.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Another process has the file locked for too long.
    #[error("the journal at {path} stays locked by another process")]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// The file says that a newer version of this program wrote it.
    #[error("the journal at {path} cannot be verified by this build")]
    TooNew {
        /// The journal.
        path: PathBuf,
        /// Which versions.
        #[source]
        source: MigrateError,
    },
}

impl Verify {
    /// All tenants of the ledger at `settings`, whose home is the journal's folder.
    pub fn of(settings: &Settings, key: VerifierKey) -> Verify {
        Verify {
            path: settings.path.clone(),
            keys: vec![key],
            anchors: settings.anchors().map(Path::to_owned).collect(),
            named: Vec::new(),
            home: settings.path.parent().map(Path::to_owned).unwrap_or_default(),
            tenant: None,
        }
    }

    /// Verifies. A writer may be at work meanwhile: the journal is read as it was at one moment.
    pub fn run(&self) -> Result<Report, VerifyError> {
        let mut report = Report::default();
        // Anchors first: the writer commits before it writes them, so what they vouch for is in what is read next.
        let only = self.tenant.as_ref().map(Name::as_str);
        let mut anchors = Anchors::find(&self.anchors, &self.named, &self.home, only, &mut report);
        // And states: one is saved after its entries, which are in what is read next.
        let snapshots = Snapshots::beside(&self.path);
        let saved = snapshots.list().unwrap_or_else(|error| {
            report.notices.push(format!("the folder of snapshots cannot be read: {error}"));
            BTreeMap::new()
        });
        let unreadable = |source| VerifyError::Open { path: self.path.clone(), source };
        // Looked at, not opened: closing it again would drop the locks of a writer in this process.
        std::fs::metadata(&self.path).map_err(unreadable)?;
        let opened = connection::open_reader(&self.path).and_then(|connection| {
            connection.execute_batch("BEGIN")?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => self.read(&connection, &mut anchors, (&snapshots, saved), &mut report)?,
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy) => return Err(VerifyError::Locked { path: self.path.clone() }),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                    return Err(unreadable(io::Error::other(error)));
                }
                _ => report.file(Wrong::File, format!("the journal cannot be opened: {error}")),
            },
        }
        anchors.keep_only(only);
        for (tenant, files) in &anchors.files {
            // A tenant that only an anchor remembers.
            for file in files {
                let about = About { tenant, keys: &self.keys };
                let size = FileClaims::open(about, file, &mut report).last_size(&mut report);
                if size > 0 {
                    let what =
                        format!("the history is missing; {} vouches for {size} entries", file.path.display());
                    report.add(Finding {
                        wrong: Wrong::Cut,
                        tenant: Some(tenant.clone()),
                        seq: Some(1),
                        what,
                    });
                }
            }
        }
        let histories: Vec<&TenantReport> =
            report.tenants.iter().filter(|tenant| tenant.entries > 0).collect();
        let all = |anchored: fn(&TenantReport) -> u64| {
            !histories.is_empty() && histories.iter().all(|tenant| anchored(tenant) > 0)
        };
        let independently = all(|tenant| tenant.anchored_independently);
        let witnessed = all(|tenant| tenant.anchored_outside_home);
        let names: Vec<String> = histories.iter().map(|tenant| tenant.tenant.clone()).collect();
        (report.anchors_outside_home, report.witnessed) = (independently, witnessed);
        anchors.tell_missing(&names, &mut report);
        Ok(report)
    }

    /// Reads the journal; anchors that were compared are taken out of `anchors`.
    fn read(
        &self,
        connection: &Connection,
        anchors: &mut Anchors,
        (snapshots, mut saved): (&Snapshots, BTreeMap<i64, BTreeSet<u64>>),
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        file::check_structure(connection, report);
        match file::check_schema(connection, report) {
            Readable::Yes => {}
            Readable::No => return Ok(()),
            Readable::TooNew(source) => return Err(VerifyError::TooNew { path: self.path.clone(), source }),
        }
        let boots = file::check_boots(connection, report);
        let tenants = file::check_tenants(connection, report);
        let wanted = |name: &str| self.tenant.as_ref().is_none_or(|only| only.as_str() == name);
        let verified: Vec<&str> =
            tenants.iter().map(|(name, _)| name.as_str()).filter(|name| wanted(name)).collect();
        anchors.sort_copies(&verified, &self.keys, report);
        for (tenant, id) in tenants.iter().filter(|(name, _)| wanted(name)) {
            let files = anchors.files.remove(tenant).unwrap_or_default();
            let saved = saved.remove(id).unwrap_or_default();
            let (keys, boots) = (&self.keys, &boots);
            let history = History { connection, tenant, id: *id, keys, boots, snapshots, saved, report };
            let verified = history.verify(&files);
            report.tenants.push(verified);
        }
        Ok(())
    }
}
