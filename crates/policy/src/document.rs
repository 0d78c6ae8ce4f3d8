//! A set of policies as it is kept: its files, and which schema they were read with.

use eparch_domain::Digest;
use serde::{Deserialize, Serialize};

use crate::defaults::SCHEMA;
use crate::load::PolicyText;

/// The form of the document; raised when a field changes its meaning.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    schema: Digest,
    /// Names and texts, in order.
    files: Vec<(String, String)>,
}

/// Why bytes are not a set of policies of this build.
#[derive(Debug, thiserror::Error)]
pub enum NotASet {
    /// They are not a document of policies.
    #[error("it is not a set of policies: {0}")]
    Unreadable(String),
    /// It was read with another schema.
    #[error("it was written for another schema, {0}")]
    Schema(Digest),
    /// Its policies are refused now.
    #[error("{0} problems were found in it")]
    Faulty(usize),
}

/// Writes files down, whatever order they were given in.
pub(crate) fn write(files: &[PolicyText<'_>]) -> Vec<u8> {
    let mut files: Vec<_> = files.iter().map(|file| (file.name.to_owned(), file.text.to_owned())).collect();
    files.sort_unstable();
    let document = Document { v: FORMAT, schema: Digest::of(SCHEMA.as_bytes()), files };
    serde_json::to_vec(&document).expect("texts are plain data")
}

/// Reads what [`write()`] wrote.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<(String, String)>, NotASet> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|problem| NotASet::Unreadable(problem.to_string()))?;
    if document.v != FORMAT {
        return Err(NotASet::Unreadable(format!("it has format {}", document.v)));
    }
    match document.schema == Digest::of(SCHEMA.as_bytes()) {
        true => Ok(document.files),
        false => Err(NotASet::Schema(document.schema)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicySet;

    #[test]
    fn g10_a_set_is_kept_whole_and_has_the_digest_of_what_is_kept() {
        let set = PolicySet::defaults();
        let again = PolicySet::from_bytes(set.to_bytes()).unwrap();
        assert_eq!(again.digest(), set.digest());
        assert_eq!(set.digest(), Digest::of(set.to_bytes()));
        assert!(again.rules().eq(set.rules()));
        let mut turned = crate::DEFAULTS;
        turned.reverse();
        assert_eq!(PolicySet::load(&turned).unwrap().digest(), set.digest());
    }

    #[test]
    fn what_is_no_set_of_this_build_is_refused() {
        let other = Document { v: FORMAT, schema: Digest::of(b"another"), files: Vec::new() };
        let other = serde_json::to_vec(&other).unwrap();
        assert!(matches!(PolicySet::from_bytes(&other), Err(NotASet::Schema(_))));
        let later = Document { v: 2, schema: Digest::of(SCHEMA.as_bytes()), files: Vec::new() };
        let later = serde_json::to_vec(&later).unwrap();
        assert!(matches!(PolicySet::from_bytes(&later), Err(NotASet::Unreadable(_))));
        let broken = write(&[PolicyText { name: "a.cedar", text: "permit (" }]);
        assert!(matches!(PolicySet::from_bytes(&broken), Err(NotASet::Faulty(1))));
        assert!(matches!(PolicySet::from_bytes(b"x"), Err(NotASet::Unreadable(_))));
    }
}
