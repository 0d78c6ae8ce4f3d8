//! What is wrong with policies: where, why, and what to try.

use std::fmt;

use serde::Serialize;

/// The most problems that are told at once: past this the first ones are what there is to read.
pub(crate) const MOST_PROBLEMS: usize = 200;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// Its stable code, with a page under `docs/errors/`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    /// On one line, as `file:line:column: error[code]: message (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, code, message, hint } = self;
        write!(f, "{file}:{line}:{column}: error[{code}]: {message}")?;
        match hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every code of policies.
pub mod codes {
    /// The text is no policy.
    pub const NOT_A_POLICY: &str = "EP0801";
    /// The policy does not fit the schema.
    pub const DOES_NOT_FIT: &str = "EP0802";
    /// An annotation is missing.
    pub const ANNOTATION_MISSING: &str = "EP0803";
    /// An annotation nobody knows.
    pub const ANNOTATION_UNKNOWN: &str = "EP0804";
    /// An annotation's value cannot be used, or it cannot stand at this policy.
    pub const ANNOTATION_WRONG: &str = "EP0805";
    /// Two policies have one id.
    pub const ID_TWICE: &str = "EP0806";
    /// There is no policy at all.
    pub const NO_POLICIES: &str = "EP0807";
    /// A file, a policy or the set is too large.
    pub const TOO_LARGE: &str = "EP0808";
    /// The policy can never apply.
    pub const NEVER_APPLIES: &str = "EP0809";
}
