//! A file's text and where its lines are.

use crate::diagnostic::{Place, Range};

/// The text of a file.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    text: &'t str,
    /// The byte at which each line starts.
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(text: &'t str) -> Source<'t> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Source { text, lines: std::iter::once(0).chain(breaks).collect() }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// The line and column of a range. A range past the end, or inside a character, is moved to where there is text.
    pub(crate) fn span(&self, range: Range) -> Place {
        let start = self.boundary(range.start);
        let end = self.boundary(range.end).max(start);
        let line = self.lines.partition_point(|begin| *begin <= start) - 1;
        let begin = self.lines[line];
        // A byte order mark is not something that anybody sees.
        let before = self.text[begin..start].chars().filter(|c| *c != '\u{feff}').count();
        Place { line: line + 1, column: before + 1, start, end }
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
