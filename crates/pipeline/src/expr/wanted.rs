//! Which part of what a run knows an expression reads: only that is turned into values of the language.

use std::collections::BTreeMap;

use super::check::Reference;

/// A part of what a run knows.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// All of it is read, as one value.
    whole: bool,
    /// The entries that are read, and which part of each.
    entries: BTreeMap<String, Wanted>,
}

/// All of it.
static WHOLE: Wanted = Wanted { whole: true, entries: BTreeMap::new() };

impl Wanted {
    /// What these names read.
    pub(super) fn of(references: &[Reference]) -> Wanted {
        let mut wanted = Wanted::default();
        for reference in references {
            let part = reference
                .path
                .iter()
                .fold(&mut wanted, |part, name| part.entries.entry(name.clone()).or_default());
            part.whole = true;
        }
        wanted
    }

    /// True when it is read as one value.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What of an entry is read; `None` when nothing is.
    pub(super) fn entry(&self, name: &str) -> Option<&Wanted> {
        if self.whole { Some(&WHOLE) } else { self.entries.get(name) }
    }
}
