//! A file's text and where its lines are.

use std::cell::Cell;

use crate::diagnostic::{Place, Range};

/// The text of a file.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    text: &'t str,
    /// The byte at which each line starts.
    lines: Vec<usize>,
    /// The last place whose column was counted, with the columns before it: places are mostly asked for in their order,
    /// and a line may be as long as the file.
    last: Cell<(usize, usize)>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(text: &'t str) -> Source<'t> {
        // A carriage return without a line feed ends a line too, as it does for YAML.
        let bytes = text.as_bytes();
        let ends =
            |at: usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        let breaks = (0..bytes.len()).filter(|at| ends(*at)).map(|at| at + 1);
        Source { text, lines: std::iter::once(0).chain(breaks).collect(), last: Cell::default() }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// The line and column of a range. A range past the end, or inside a character, is moved to where there is text.
    pub(crate) fn span(&self, range: Range) -> Place {
        let start = self.boundary(range.start);
        let end = self.boundary(range.end).max(start);
        let line = self.lines.partition_point(|begin| *begin <= start) - 1;
        Place { line: line + 1, column: self.columns(self.lines[line], start) + 1, start, end }
    }

    /// How many columns stand between the begin of a line and a place in it.
    fn columns(&self, begin: usize, at: usize) -> usize {
        let (from, before) =
            Some(self.last.get()).filter(|(last, _)| (begin..=at).contains(last)).unwrap_or((begin, 0));
        // A byte order mark is not something that anybody sees.
        let columns = before + self.text[from..at].chars().filter(|c| *c != '\u{feff}').count();
        self.last.set((at, columns));
        columns
    }

    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// The text of a line, from 1, without its break.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        let start = self.lines.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}')
    }
}
