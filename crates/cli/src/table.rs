//! Aligned columns.

use unicode_width::UnicodeWidthStr as _;

/// A table under construction: cells are measured without their colour.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// A text, and how it looks in colour.
#[derive(Debug)]
struct Cell {
    width: usize,
    shown: String,
}

impl Table {
    /// A table with these words above its columns.
    pub(crate) fn new(heads: &[&str]) -> Table {
        let paint = crate::paint::out();
        let mut table = Table::default();
        table.row(heads.iter().map(|head| ((*head).to_owned(), paint.faint(head))));
        table
    }

    /// Adds a row: of each cell, its plain text and what is printed.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, String)>) {
        let cell = |(plain, shown): (String, String)| Cell { width: plain.width(), shown };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// Adds a line of its own above the rows that follow; no column is as wide as it for its sake.
    pub(crate) fn heading(&mut self, shown: &str) {
        self.rows.push(vec![Cell { width: 0, shown: shown.to_owned() }]);
    }

    /// Prints it to standard output, two spaces between columns.
    pub(crate) fn print(&self) {
        crate::output::out(format_args!("{}", self.to_text()));
    }

    pub(crate) fn to_text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&cell.shown);
                line.push_str(&" ".repeat(width - cell.width + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell without colour.
pub(crate) fn plain(text: impl Into<String>) -> (String, String) {
    let text = text.into();
    (text.clone(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour_and_script() {
        let mut table = Table::default();
        table.row([plain("日本"), plain("x")]);
        table.row([("a".to_owned(), "\x1b[1ma\x1b[0m".to_owned()), plain("y")]);
        assert_eq!(table.to_text(), "日本  x\n\x1b[1ma\x1b[0m     y\n");
    }
}
