//! The policies of a home: a folder of files, or those that ship.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use eparch_domain::limits;
use eparch_policy::{DEFAULTS, PolicySet, PolicyText, Problem};

/// The folder in a home; where there is none, the policies that ship are in force.
const FOLDER: &str = "policies";

/// Files of policies, as they lie somewhere.
#[derive(Debug)]
pub struct PolicyFiles {
    /// Where, for messages.
    pub place: String,
    /// Name and text of each.
    pub files: Vec<(String, String)>,
}

/// A file or folder of policies that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {place}: {source}")]
pub struct Unreadable {
    /// Which.
    pub place: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Why a home has no policies that could be in force (G4).
#[derive(Debug, thiserror::Error)]
pub enum NoPolicies {
    /// They cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// There is something wrong with them.
    #[error("the policies of {place} cannot be used: {}", told(.problems))]
    Faulty {
        /// Where they lie.
        place: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
}

/// The first of many is enough in one line.
fn told(problems: &[Problem]) -> String {
    match problems {
        [] => "nothing is told".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}; and {} more", rest.len()),
    }
}

impl PolicyFiles {
    /// Those of a home, else those that ship.
    pub fn of_home(home: &Path) -> Result<PolicyFiles, Unreadable> {
        let own = home.join(FOLDER);
        if own.exists() {
            return PolicyFiles::of(&own);
        }
        let files = DEFAULTS.iter().map(|file| (file.name.to_owned(), file.text.to_owned())).collect();
        Ok(PolicyFiles { place: "the policies that ship".to_owned(), files })
    }

    /// A file, or every `.cedar` file of a folder, in order.
    pub fn of(place: &Path) -> Result<PolicyFiles, Unreadable> {
        if place.is_file() {
            return Ok(PolicyFiles { place: place.display().to_string(), files: vec![read(place)?] });
        }
        let cannot = |source| Unreadable { place: place.display().to_string(), source };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(place).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension() == Some(OsStr::new("cedar")) {
                paths.push(path);
            }
            // One too many is enough to be refused for; a folder without an end must not fill the memory.
            if paths.len() > limits::POLICY_FILES {
                break;
            }
        }
        paths.sort();
        let files = paths.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
        Ok(PolicyFiles { place: place.display().to_string(), files })
    }

    /// The same, as they are loaded.
    pub fn texts(&self) -> Vec<PolicyText<'_>> {
        self.files.iter().map(|(name, text)| PolicyText { name, text }).collect()
    }

    /// The set they make.
    pub fn load(&self) -> Result<PolicySet, NoPolicies> {
        PolicySet::load(&self.texts())
            .map_err(|problems| NoPolicies::Faulty { place: self.place.clone(), problems })
    }
}

/// A file's name and text; one byte past the limit is enough to refuse it.
fn read(path: &Path) -> Result<(String, String), Unreadable> {
    let place = path.display().to_string();
    let text = || {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(limits::POLICY_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        String::from_utf8(bytes)
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem.utf8_error()))
    };
    match text() {
        Ok(text) => Ok((place, text)),
        Err(source) => Err(Unreadable { place, source }),
    }
}
