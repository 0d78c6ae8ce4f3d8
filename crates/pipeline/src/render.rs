//! Diagnostics as text for people, and as JSON and SARIF for programs.

use std::fmt::Write;

use eparch_domain::harmless;
use serde_json::{Value, json};

use crate::cells::cells;
use crate::check::Checked;
use crate::diagnostic::{Diagnostic, Level, Place, codes};
use crate::source::Source;

/// The longest part of a source line that is shown.
const SHOWN_COLUMNS: usize = 120;

impl Checked {
    /// Every diagnostic with its line and a mark under its place, as the Rust compiler shows them.
    pub fn to_text(&self) -> String {
        let source = Source::new(&self.text);
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            self.one(&source, diagnostic, &mut out);
        }
        out
    }

    fn one(&self, source: &Source<'_>, diagnostic: &Diagnostic, out: &mut String) {
        let Place { line, column, .. } = diagnostic.span;
        let last = diagnostic.related.iter().map(|(span, _)| span.line).max().unwrap_or(0).max(line);
        let gutter = " ".repeat(last.to_string().len());
        put(
            out,
            format_args!("{}[{}]: {}", diagnostic.severity, diagnostic.code, harmless(&diagnostic.message)),
        );
        put(out, format_args!("{gutter}--> {}:{line}:{column}", harmless(&self.file)));
        excerpt(source, diagnostic.span, '^', "", &gutter, out);
        for (span, text) in &diagnostic.related {
            put(out, format_args!("{gutter}::: {}:{}:{}", harmless(&self.file), span.line, span.column));
            excerpt(source, *span, '-', text, &gutter, out);
        }
        if let Some(hint) = &diagnostic.hint {
            put(out, format_args!("{gutter} = help: {}", harmless(hint)));
        }
        out.push('\n');
    }

    /// The diagnostics as one JSON document.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "valid": self.pipeline.is_some(),
            "errors": self.errors(),
            "warnings": self.diagnostics.len() - self.errors(),
            "diagnostics": self.diagnostics.iter().map(|found| json!({
                "code": found.code,
                "severity": found.severity,
                "message": found.message,
                "line": found.span.line,
                "column": found.span.column,
                "start": found.span.start,
                "end": found.span.end,
                "hint": found.hint,
                "related": found.related.iter().map(|(span, text)| json!({
                    "message": text, "line": span.line, "column": span.column,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

/// The diagnostics of several files as one SARIF 2.1.0 log, for code review tools.
pub fn sarif(files: &[Checked]) -> Value {
    let mut used: Vec<&'static str> =
        files.iter().flat_map(|file| file.diagnostics.iter().map(|found| found.code)).collect();
    used.sort_unstable();
    used.dedup();
    let rules: Vec<Value> = used
        .iter()
        .map(|code| {
            let title = codes::find(code).map_or(*code, |entry| entry.title);
            json!({"id": code, "shortDescription": {"text": title}})
        })
        .collect();
    let found = files.iter().flat_map(|file| file.diagnostics.iter().map(move |found| (file, found)));
    let results: Vec<Value> = found.map(|(file, found)| result(file, found, &used)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "eparch", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(file: &Checked, found: &Diagnostic, rules: &[&str]) -> Value {
    let source = Source::new(&file.text);
    let message = match &found.hint {
        Some(hint) => format!("{}. Help: {hint}", found.message),
        None => found.message.clone(),
    };
    let place = |span: Place| {
        let end = source.span(span.end..span.end);
        json!({
            "artifactLocation": {"uri": uri(&file.file)},
            "region": {
                "startLine": span.line, "startColumn": span.column, "endLine": end.line, "endColumn": end.column,
                "byteOffset": span.start, "byteLength": span.end - span.start,
            },
        })
    };
    let related: Vec<Value> = found
        .related
        .iter()
        .map(|(span, text)| json!({"physicalLocation": place(*span), "message": {"text": text}}))
        .collect();
    json!({
        "ruleId": found.code,
        "ruleIndex": rules.iter().position(|code| *code == found.code),
        "level": match found.severity { Level::Error => "error", Level::Warning => "warning" },
        "message": {"text": message},
        "locations": [{"physicalLocation": place(found.span)}],
        "relatedLocations": related,
    })
}

/// A path as a relative URI.
fn uri(path: &str) -> String {
    let mut safe = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                safe.push(char::from(byte))
            }
            other => write!(safe, "%{other:02X}").expect("writing to text cannot fail"),
        }
    }
    safe
}

/// The line of a place with marks under it. A long line is cut around the place.
fn excerpt(source: &Source<'_>, span: Place, mark: char, text: &str, gutter: &str, out: &mut String) {
    let line = source.line(span.line);
    let from = match line.char_indices().nth(SHOWN_COLUMNS) {
        Some(_) => (span.column - 1).saturating_sub(SHOWN_COLUMNS / 2),
        None => 0,
    };
    let letters = |skipped: usize, most: usize| {
        harmless(&line.chars().skip(skipped).take(most).collect::<String>()).into_owned()
    };
    let shown = letters(from, SHOWN_COLUMNS);
    let before = letters(from, (span.column - 1 - from).min(SHOWN_COLUMNS));
    // A place of several lines is marked on its first.
    let covered =
        source.text().get(span.start..span.end).unwrap_or("").split(['\n', '\r']).next().unwrap_or("");
    let covered: String =
        covered.chars().take(SHOWN_COLUMNS.saturating_sub(span.column - 1 - from)).collect();
    let marks = mark.to_string().repeat(cells(&harmless(covered.trim_end())).max(1));
    put(out, format_args!("{gutter} |"));
    put(out, format_args!("{:>width$} | {}", span.line, shown.trim_end(), width = gutter.len()));
    put(out, format_args!("{gutter} | {}{marks} {}", " ".repeat(cells(&before)), harmless(text)));
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let line = line.to_string();
    out.push_str(line.trim_end());
    out.push('\n');
}
