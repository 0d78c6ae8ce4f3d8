//! YAML into a tree whose every node remembers its place.
//!
//! Less than YAML allows: one document, no anchors, aliases, tags or merge keys, no key twice. What is left means the same
//! to everybody who reads it, and cannot grow while it is read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use eparch_domain::{harmless, limits};
use saphyr_parser::{Event, Parser, ScanError, Span as Marks, StrInput};

use crate::diagnostic::{MOST_DIAGNOSTICS, Problems, Range, codes};
use crate::scalar::{Scalar, Style, quoted_length};

/// A node of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it stands, in bytes.
    pub(crate) range: Range,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_range: Range,
    pub(crate) value: Node,
}

impl Node {
    /// The value under a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a map; none for another node.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for another node.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The scalar it is.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Its text as written, when it is a scalar other than null.
    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar().and_then(Scalar::as_text)
    }

    /// What it is called in messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.kind_name(),
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The place of a byte of its value, for problems inside a text; the whole node when that cannot be told exactly.
    ///
    /// It walks through the text: ask for no more places than are told ([`Problems::takes`]).
    pub(crate) fn inside(&self, source: &str, offset: usize) -> Range {
        #[cfg(test)]
        PLACES.set(PLACES.get() + 1);
        let raw = source.get(self.range.clone());
        let line =
            source.get(..self.range.start).and_then(|before| before.rfind('\n')).map_or(0, |found| found + 1);
        let indent = self.range.start - line;
        let place = self.scalar().zip(raw).and_then(|(scalar, raw)| scalar.place_in(raw, indent, offset));
        match place {
            Some(at) => self.range.start + at..self.range.start + at + 1,
            None => self.range.clone(),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How many places were walked to, for tests of what bounds that.
    pub(crate) static PLACES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Reads one document. `None` when there is no tree worth looking at; `problems` then says why.
pub(crate) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > limits::PIPELINE_BYTES {
        let message =
            format!("the file has {} bytes; at most {} are read", text.len(), limits::PIPELINE_BYTES);
        problems.error(codes::TOO_LARGE, 0..0, message);
        return None;
    }
    if let Some((at, found)) =
        text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        let message = format!("the control character U+{:04X} cannot stand in a file", u32::from(found));
        problems.error(codes::NOT_YAML, at..at + found.len_utf8(), message);
        return None;
    }
    let mut tree = None;
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut reader = Reader::new(text);
        let outcome = reader.document();
        (outcome, reader.problems)
    }));
    match read {
        Ok((outcome, found)) => {
            for (code, range, message, related) in found {
                let problem = problems.error(code, range, message);
                if let Some((range, text)) = related {
                    problem.related(range, text);
                }
            }
            match outcome {
                // What an alias stands for is not known, so nothing can be said about the tree.
                Ok(node) => tree = Some(node).filter(|_| !problems.has(codes::NO_REFERENCES)),
                Err(Stop::Reported) => {}
                Err(Stop::NotYaml(error)) => not_yaml(text, &error, problems),
            }
        }
        Err(_) => {
            problems.error(codes::NOT_YAML, 0..0, "the file cannot be read as YAML");
        }
    }
    tree
}

fn not_yaml(text: &str, error: &ScanError, problems: &mut Problems) {
    let at = byte_at(text, error.marker().index());
    let rest = &text[at..];
    let line_start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    let info = error.info();
    if info.contains("anchor") {
        problems.error(codes::NO_REFERENCES, at..at + 1, "anchors and aliases are not part of the language");
        return;
    }
    let tab = text[line_start..].split('\n').next().and_then(|line| {
        let indent = line.len() - line.trim_start().len();
        line[..indent].find('\t').map(|found| line_start + found)
    });
    if let Some(tab) = tab {
        problems.error(codes::NOT_YAML, tab..tab + 1, "a tab cannot indent a line").hint("use spaces");
        return;
    }
    let problem = problems.error(
        codes::NOT_YAML,
        at..at + rest.chars().next().map_or(0, char::len_utf8),
        plain_words(info),
    );
    let line = text[line_start..].split('\n').next().unwrap_or("");
    if line.contains("${{") {
        problem.hint("inside [ ] and { }, put a text with ${{ }} in quotes");
    } else if info.contains("mapping values") {
        problem.hint("put the text in quotes if it holds `: `, or check the indentation");
    }
}

/// The parser's messages name its own states; these are what a reader meets most.
fn plain_words(info: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        ("mapping values are not allowed", "a `key: value` cannot stand here"),
        ("mapping keys are not allowed", "a key cannot stand here"),
        ("block sequence entries are not allowed", "a `- item` cannot stand here"),
        ("expected <document start>", "this belongs to nothing above it"),
        ("did not find expected key", "expected `key: value` here, at the indentation of its neighbours"),
        ("expected '-' indicator", "expected `- item` here, at the indentation of its neighbours"),
        ("expected ',' or ']'", "expected `,` or `]`"),
        ("expected ',' or '}'", "expected `,` or `}`"),
        ("expected node content", "a value is missing here"),
        ("end of stream", "the quoted text is not closed"),
        ("unexpected eof", "the file ends in the middle of a value"),
        ("simple key expect", "expected `:` behind this key"),
        ("trailing content after double-quoted", "nothing can follow a quoted text"),
        ("unknown escape character", "unknown escape in a quoted text"),
        ("invalid indentation", "this line is not indented as its neighbours are"),
        ("wrongly indented line", "this line is not indented as its neighbours are"),
        ("misplaced bracket", "a closing bracket without an opening one"),
        ("tab", "a tab cannot stand here"),
        ("recursion limit", "the file nests too deeply"),
        ("unexpected character", "text cannot begin with this character; put it in quotes"),
    ];
    let said = WORDS.iter().find(|(theirs, _)| info.contains(theirs)).map_or(info, |(_, ours)| ours);
    said.to_owned()
}

fn byte_at(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

enum Stop {
    NotYaml(ScanError),
    Reported,
}

type Found = (&'static str, Range, String, Option<(Range, String)>);

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The byte of each character, when they differ.
    bytes: Option<Vec<usize>>,
    problems: Vec<Found>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Reader<'t> {
        let bytes =
            (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect());
        Reader { text, events: Parser::new_from_str(text), bytes, problems: Vec::new() }
    }

    fn byte(&self, character: usize) -> usize {
        let found = match &self.bytes {
            Some(bytes) => bytes.get(character).copied(),
            None => Some(character),
        };
        found.unwrap_or(self.text.len()).min(self.text.len())
    }

    fn range(&self, marks: Marks) -> Range {
        let start = self.byte(marks.start.index());
        start..self.byte(marks.end.index()).max(start)
    }

    fn problem(&mut self, code: &'static str, range: Range, message: impl Into<String>) {
        self.add((code, range, message.into(), None));
    }

    fn add(&mut self, found: Found) {
        if self.problems.len() < MOST_DIAGNOSTICS {
            self.problems.push(found);
        }
    }

    fn stop<T>(&mut self, code: &'static str, range: Range, message: impl Into<String>) -> Result<T, Stop> {
        // The one that ended it is not the one to leave out.
        self.problems.truncate(MOST_DIAGNOSTICS - 1);
        self.problem(code, range, message);
        Err(Stop::Reported)
    }

    fn next(&mut self) -> Result<(Event<'t>, Range), Stop> {
        match self.events.next_event() {
            Some(Ok((event, marks))) => {
                let range = self.range(marks);
                Ok((event, range))
            }
            Some(Err(error)) => Err(Stop::NotYaml(error)),
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return self.stop(codes::ONE_DOCUMENT, 0..0, "the file is empty"),
                (Event::DocumentStart(_), _) => break,
                _ => {}
            }
        }
        let (event, range) = self.next()?;
        let node = self.node(event, range, 0)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(_), range) => {
                    return self.stop(
                        codes::ONE_DOCUMENT,
                        range,
                        "a second document begins here; a file holds one pipeline",
                    );
                }
                _ => {}
            }
        }
        if matches!(&node.kind, Kind::Scalar(scalar) if scalar.is_null()) {
            return self.stop(codes::ONE_DOCUMENT, 0..0, "the file is empty");
        }
        Ok(node)
    }

    fn node(&mut self, event: Event<'t>, range: Range, depth: usize) -> Result<Node, Stop> {
        if depth > limits::PIPELINE_DEPTH {
            let message = format!("the file nests more than {} deep", limits::PIPELINE_DEPTH);
            return self.stop(codes::TOO_LARGE, range, message);
        }
        match event {
            Event::Alias(_) => {
                self.problem(
                    codes::NO_REFERENCES,
                    range.clone(),
                    "an alias is not part of the language; write the value out",
                );
                Ok(Node { range, kind: Kind::Scalar(Scalar::null()) })
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(anchor, tag.is_some(), &range);
                let range = self.trimmed(range, style.into());
                Ok(Node { range, kind: Kind::Scalar(Scalar::new(text.into_owned(), style.into())) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(anchor, tag.is_some(), &range);
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => {
                            let range =
                                self.collection(range, end, items.last().map(|item: &Node| item.range.end));
                            return Ok(Node { range, kind: Kind::List(items) });
                        }
                        (event, range) => items.push(self.node(event, range, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(anchor, tag.is_some(), &range);
                self.map(range, depth)
            }
            _ => self.stop(codes::NOT_YAML, range, "a value is missing here"),
        }
    }

    fn map(&mut self, range: Range, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        loop {
            let (event, key_range) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let range =
                    self.collection(range, key_range, entries.last().map(|entry| entry.value.range.end));
                return Ok(Node { range, kind: Kind::Map(entries) });
            }
            let key_node = self.node(event, key_range, depth + 1)?;
            let key_range = key_node.range;
            let key = match key_node.kind {
                Kind::Scalar(scalar) => scalar.into_written(),
                _ => {
                    return self.stop(
                        codes::NOT_YAML,
                        key_range,
                        "a key must be a word, not a list or a map",
                    );
                }
            };
            if key == "<<" {
                self.problem(
                    codes::NO_REFERENCES,
                    key_range.clone(),
                    "a merge key is not part of the language; write the fields out",
                );
            }
            let (event, value_range) = self.next()?;
            let value = self.node(event, value_range, depth + 1)?;
            match places.get(&key) {
                Some(first) => {
                    let related = Some((Range::clone(first), "it is given here first".to_owned()));
                    self.add((
                        codes::DUPLICATE_KEY,
                        key_range,
                        format!("`{}` is given twice", shown(&key)),
                        related,
                    ));
                }
                None => {
                    places.insert(key.clone(), key_range.clone());
                    entries.push(Entry { key, key_range, value });
                }
            }
        }
    }

    /// Anchors and tags are told, once per node.
    fn plain(&mut self, anchor: usize, tagged: bool, range: &Range) {
        if anchor > 0 {
            self.problem(codes::NO_REFERENCES, range.clone(), "an anchor is not part of the language");
        }
        if tagged {
            self.problem(codes::NO_REFERENCES, range.clone(), "a tag is not part of the language");
        }
    }

    /// A scalar's marks reach over the blanks, breaks and remarks behind it.
    fn trimmed(&self, range: Range, style: Style) -> Range {
        let raw = self.text.get(range.clone()).unwrap_or("");
        let length = match style {
            Style::Single | Style::Double => quoted_length(raw, style),
            _ => raw.trim_end().len(),
        };
        range.start..range.start + length
    }

    fn collection(&self, start: Range, end: Range, last: Option<usize>) -> Range {
        // A block's end has no text of its own.
        let end = if end.is_empty() { last.unwrap_or(start.end) } else { end.end };
        start.start..end.max(start.start)
    }
}

/// A word of the file for a message, cut so that it cannot flood it.
pub(crate) fn shown(word: &str) -> String {
    let end = word.char_indices().nth(40).map_or(word.len(), |(at, _)| at);
    let short = harmless(&word[..end]);
    if end < word.len() { format!("{short}…") } else { short.into_owned() }
}
