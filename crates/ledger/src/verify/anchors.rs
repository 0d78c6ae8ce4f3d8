//! The files with checkpoints outside the database that a journal is held to, as they were when verifying began.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::report::{Finding, Report, Wrong};
use crate::anchor::{self, Tail};
use crate::note::{Checkpoint, VerifierKey};

/// Where a checkpoint outside the database lies; each is worth more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the home: it falls to whoever controls that.
    Home,
    /// Outside, where the home itself says that it lies: whoever controls the home could have named another place.
    Outside,
    /// Outside, where whoever verifies says that it lies.
    Independent,
}

/// An anchor file as it was when verifying began.
#[derive(Debug)]
pub(crate) struct AnchorFile {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    pub(crate) place: Place,
    /// Whoever verifies named its folder, and is to be told when it vouches for nothing.
    pub(crate) named: bool,
    /// It has another name than the tenant's: nobody adds to it.
    pub(crate) copy: bool,
}

/// A folder with anchor files.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    named: bool,
    /// The tenants that have a file in it.
    tenants: io::Result<Vec<String>>,
}

impl Folder {
    /// Tells what keeps the folder from vouching: it is wrong only where somebody asked for this very folder.
    fn tell(&self, report: &mut Report, tenant: Option<&str>, what: String) {
        match self.named {
            true => report.add(Finding {
                wrong: Wrong::Anchor,
                tenant: tenant.map(str::to_owned),
                seq: None,
                what,
            }),
            false => report.notices.push(what),
        }
    }
}

/// The anchor files, by tenant, and the folders that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    pub(crate) files: BTreeMap<String, Vec<AnchorFile>>,
    folders: Vec<Folder>,
}

impl Anchors {
    /// Finds every anchor file in the folders that the `configured` ones are and in those
    /// that whoever verifies `named`. What cannot be read is told where it is `only`'s, or when nobody is asked for alone: a copy
    /// may be about anybody.
    pub(crate) fn find(
        configured: &[PathBuf],
        named: &[PathBuf],
        home: &Path,
        only: Option<&str>,
        report: &mut Report,
    ) -> Anchors {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let home = real(home);
        let asked: Vec<PathBuf> = named.iter().map(|dir| real(dir)).collect();
        let others = configured.iter().filter(|dir| !asked.contains(&real(dir)));
        let dirs = named.iter().map(|dir| (dir, true)).chain(others.map(|dir| (dir, false)));
        let mut anchors = Anchors::default();
        for (dir, named) in dirs {
            let folder = Folder { path: dir.clone(), named, tenants: anchor::tenants(dir) };
            let tenants = folder.tenants.as_deref().unwrap_or_default();
            for tenant in tenants {
                let path = anchor::path(dir, tenant);
                match anchor::open(&path) {
                    Ok(file) => {
                        let length = file.map_or(0, |(_, length)| length);
                        let place = match (real(&path).starts_with(&home), named) {
                            (true, _) => Place::Home,
                            (false, false) => Place::Outside,
                            (false, true) => Place::Independent,
                        };
                        let file = AnchorFile { path, length, place, named, copy: false };
                        anchors.files.entry(tenant.clone()).or_default().push(file);
                    }
                    Err(error) if only.is_some_and(|only| only != tenant) => drop(error),
                    Err(error) => {
                        let what = format!("{} cannot be read: {error}", path.display());
                        folder.tell(report, Some(tenant), what);
                    }
                }
            }
            anchors.folders.push(folder);
        }
        anchors
    }

    /// Puts copies, which are files by names that none of the tenants has with checkpoints of one that there is, to those of
    /// that tenant: they vouch for it as what they were copied from.
    pub(crate) fn sort_copies(&mut self, tenants: &[&str], keys: &[VerifierKey], report: &mut Report) {
        let strange = self.files.keys().filter(|name| !tenants.contains(&name.as_str())).cloned();
        for name in strange.collect::<Vec<_>>() {
            for mut file in self.files.remove(&name).unwrap_or_default() {
                let about = about(&file.path, keys).filter(|about| tenants.contains(&about.as_str()));
                if let Some(about) = &about {
                    report.notices.push(anchor::copy_notice(&file.path, about));
                    // Its folder has checkpoints of that tenant, whatever the file is called.
                    let folder =
                        self.folders.iter_mut().find(|folder| file.path.parent() == Some(&folder.path));
                    if let Some(Ok(tenants)) = folder.map(|folder| &mut folder.tenants) {
                        tenants.push(about.clone());
                    }
                }
                file.copy = about.is_some();
                self.files.entry(about.unwrap_or_else(|| name.clone())).or_default().push(file);
            }
        }
    }

    /// Forgets the files about other tenants than `only`.
    pub(crate) fn keep_only(&mut self, only: Option<&str>) {
        self.files.retain(|tenant, _| only.is_none_or(|only| only == tenant));
    }

    /// Tells which folders have no file about one of the tenants, who all have a history, and which cannot be read at all.
    pub(crate) fn tell_missing(&self, tenants: &[String], report: &mut Report) {
        for folder in &self.folders {
            let name = folder.path.display();
            match &folder.tenants {
                Ok(found) => {
                    for tenant in tenants.iter().filter(|tenant| !found.contains(tenant)) {
                        let what = format!("the anchor folder {name} has no checkpoints of tenant {tenant}");
                        folder.tell(report, Some(tenant), what);
                    }
                }
                Err(error) if folder.named || !tenants.is_empty() => {
                    folder.tell(report, None, format!("the anchor folder {name} cannot be read: {error}"));
                }
                Err(_) => {}
            }
        }
    }
}

/// The tenant that the last checkpoint of a file is about, when it can be believed.
fn about(path: &Path, keys: &[VerifierKey]) -> Option<String> {
    let note = Tail::read(path).ok()?.note?;
    let origin = Checkpoint::verify(&note, keys).ok()?.origin;
    keys.iter().find_map(|key| key.tenant_of(&origin)).map(str::to_owned)
}
