//! What is wrong with a file: where, why, and what to try.

use std::fmt;

use serde::Serialize;

/// The most diagnostics one file yields: past this the first ones are what there is to read.
pub const MOST_DIAGNOSTICS: usize = 200;

/// One thing that is wrong with a file, or worth a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its stable code, with a page under `docs/errors/`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Level,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Place,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// True when a pipeline with it is refused.
    pub fn is_error(&self) -> bool {
        self.severity == Level::Error
    }

    /// True when the JSON Schema of pipelines finds it too; false for what only reading the file or knowing all of it
    /// can tell.
    pub fn is_structural(&self) -> bool {
        codes::find(self.code).is_some_and(|entry| entry.structural)
    }
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file is refused.
    Error,
    /// The file is accepted; it may not do what its author means.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Error => "error",
            Level::Warning => "warning",
        })
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// Every code of the pipeline language.
pub mod codes {
    /// A code and what it stands for.
    #[derive(Debug, Clone, Copy)]
    pub struct Entry {
        /// `EP01…`
        pub code: &'static str,
        /// What it stands for, as a title.
        pub title: &'static str,
        /// The JSON Schema finds it too.
        pub structural: bool,
    }

    /// The code's entry.
    pub fn find(code: &str) -> Option<&'static Entry> {
        ALL.iter().find(|entry| entry.code == code)
    }

    macro_rules! codes {
        ($( $(#[$doc:meta])* $name:ident = $code:literal $kind:ident $title:literal; )+) => {
            $( pub(crate) const $name: &str = $code; )+
            /// Every code, in order.
            pub const ALL: &[Entry] = &[ $( Entry { code: $code, title: $title, structural: codes!(@$kind) } ),+ ];
        };
        (@shape) => { true };
        (@sense) => { false };
    }

    codes! {
        NOT_YAML = "EP0101" sense "The file is not valid YAML";
        TOO_LARGE = "EP0102" sense "The file is too large or nests too deeply";
        NOT_TEXT = "EP0103" sense "The file is not UTF-8 text";
        DUPLICATE_KEY = "EP0104" sense "A key is given twice";
        NO_REFERENCES = "EP0105" sense "Anchors, aliases, tags and merge keys are not part of the language";
        ONE_DOCUMENT = "EP0106" sense "A file holds one document";

        UNKNOWN_FIELD = "EP0110" shape "Unknown field";
        MISSING_FIELD = "EP0111" shape "A field is missing";
        WRONG_TYPE = "EP0112" shape "A value has the wrong type";
        NOT_A_CHOICE = "EP0113" shape "A value is not one of the choices";
        BAD_FORMAT = "EP0114" shape "A value is not written as it should be";
        OUT_OF_RANGE = "EP0115" shape "A number is out of range";
        ITEM_COUNT = "EP0116" shape "A list has too few or too many items";

        NAME_TWICE = "EP0120" sense "A name is used twice";
        TOO_MANY = "EP0121" sense "There is more of something than allowed";
        UNKNOWN_REQUIREMENT = "EP0122" sense "A stage requires one that does not exist";
        FOREIGN_REQUIREMENT = "EP0123" sense "A stage requires one of another list";
        SELF_REQUIREMENT = "EP0124" sense "A stage requires itself";
        CYCLE = "EP0125" sense "Stages require each other in a circle";
        TOO_LONG = "EP0126" sense "A duration is too long";
        LONGER_THAN_PARENT = "EP0127" sense "A timeout is longer than the one around it";
        REQUIRED_TWICE = "EP0128" sense "A stage is required twice";
        EMPTY_STAGE = "EP0129" sense "A stage holds nothing to do";

        BAD_EXPRESSION = "EP0130" sense "An expression cannot be read";
        UNKNOWN_INPUT = "EP0131" sense "An expression names an input that does not exist";
        UNKNOWN_STAGE = "EP0132" sense "An expression names a stage that does not exist";
        NOT_BEFORE = "EP0133" sense "An expression reads a stage that need not have ended";
        TYPES_DO_NOT_FIT = "EP0134" sense "Types in an expression do not fit";
        NOT_BOOLEAN = "EP0135" sense "A condition is not true or false";
        CONSTANT = "EP0136" sense "A condition always has the same value";
        UNREACHABLE = "EP0137" sense "A stage never starts";
        SHELL_SPLICE = "EP0138" sense "Untrusted text becomes part of a shell command";

        UNKNOWN_TEMPLATE = "EP0140" sense "Unknown template";
        BELOW_TEMPLATE = "EP0141" sense "A stage's tier is below its template's";
        NO_COMMAND = "EP0142" sense "An agent has nothing to run";
        COMMAND_UNUSED = "EP0143" sense "A planner or council has a command";
        NO_OBJECTIVE = "EP0144" sense "A planner or council has no objective";
        BAD_PATH = "EP0145" sense "A path leaves the workspace";
        ARTIFACT_TWICE = "EP0146" sense "An artifact is listed twice";
        RESERVED_ENV = "EP0147" sense "A variable belongs to Eparch";
        BAD_PORT = "EP0148" sense "A port does not exist";
        UNKNOWN_TOOL = "EP0149" sense "Unknown tool";
        SECRET_AT_LOW_TIER = "EP0150" sense "A low tier asks for a secret";
        LONG_COMMAND = "EP0151" sense "A command is too long";
        ENV_UNLISTED = "EP0152" sense "A variable is not in the list of the home";
        UNKNOWN_ACTION = "EP0153" sense "No such action";
        BAD_TARGET = "EP0154" sense "An action has no target, or one that cannot be";
        NEVER_ALLOWED = "EP0155" sense "An action is listed that no agent may do";
        BAD_LOCK = "EP0156" sense "No lock can have this name";
        LOCK_TWICE = "EP0157" sense "A lock is listed twice";

        NO_APPROVERS = "EP0160" sense "Nobody may approve";
        LARGE_QUORUM = "EP0161" sense "More approvals are needed than approvers are listed";
        UNKNOWN_APPROVER = "EP0162" sense "Unknown approver";
        BAD_COUNCIL = "EP0163" sense "A consensus gate does not wait for a council";
        APPROVER_TWICE = "EP0164" sense "An approver is listed twice";
        FIELD_UNUSED = "EP0165" sense "A field has no effect here";

        BAD_DEFAULT = "EP0170" sense "An input's default does not fit";
        BAD_CHOICE = "EP0171" sense "An input's choice does not fit its type";

        BAD_TEMPLATE = "EP0180" sense "A template cannot be used";

        INPUT_UNDECLARED = "EP0190" sense "A run is given an input that the pipeline does not declare";
        INPUT_MISSING = "EP0191" sense "A run is not given an input that it needs";
        INPUT_TYPE = "EP0192" sense "An input has the wrong type";
        INPUT_CHOICE = "EP0193" sense "An input is not one of the choices";
        ABOVE_GRANT = "EP0194" sense "A stage's tier is above the grant";
    }
}

/// Gathers diagnostics, at most [`MOST_DIAGNOSTICS`] of each level.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// The last one that was too many.
    dropped: Option<Diagnostic>,
}

/// A place in a file, in bytes; what the checks pass around.
pub(crate) type Range = std::ops::Range<usize>;

impl Problems {
    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        range: Range,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(code, Level::Error, range, message.into())
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        range: Range,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(code, Level::Warning, range, message.into())
    }

    fn add(&mut self, code: &'static str, severity: Level, range: Range, message: String) -> &mut Diagnostic {
        let made =
            Diagnostic { code, severity, message, span: unplaced(range), hint: None, related: Vec::new() };
        if !self.takes(severity) {
            return self.dropped.insert(made);
        }
        match severity {
            Level::Error => self.errors += 1,
            Level::Warning => self.warnings += 1,
        }
        self.found.push(made);
        self.found.last_mut().expect("one was just added")
    }

    /// True when there is room for one more of this level. Whoever has to walk through a file to say where something is
    /// asks first: what one more would cost is then bounded too.
    pub(crate) fn takes(&self, level: Level) -> bool {
        let already = match level {
            Level::Error => self.errors,
            Level::Warning => self.warnings,
        };
        already < MOST_DIAGNOSTICS
    }

    /// True when there are so many errors that no more are looked for.
    pub(crate) fn is_crowded(&self) -> bool {
        !self.takes(Level::Error)
    }

    /// True when there is an error among them.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// True when there is one with this code.
    pub(crate) fn has(&self, code: &str) -> bool {
        self.found.iter().any(|found| found.code == code)
    }

    /// True when there is an error in a place.
    pub(crate) fn has_errors_in(&self, range: &Range) -> bool {
        self.found.iter().any(|found| found.is_error() && range.contains(&found.span.start))
    }

    /// All of them, placed and in the order of the file.
    pub(crate) fn finish(mut self, source: &crate::source::Source<'_>) -> Vec<Diagnostic> {
        // An error must not be lost among warnings.
        self.found.sort_by_key(|found| (found.severity, found.span));
        self.found.truncate(MOST_DIAGNOSTICS);
        for diagnostic in &mut self.found {
            diagnostic.span = source.span(diagnostic.span.start..diagnostic.span.end);
            for (span, _) in &mut diagnostic.related {
                *span = source.span(span.start..span.end);
            }
        }
        self.found.sort_by_key(|found| (found.span, found.severity, found.code));
        self.found.dedup();
        self.found
    }
}

fn unplaced(range: Range) -> Place {
    Place { line: 0, column: 0, start: range.start, end: range.end }
}

impl Diagnostic {
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// "did you mean", when a known word is near.
    pub(crate) fn did_you_mean<'k>(
        &mut self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> &mut Self {
        if let Some(near) = crate::nearest::nearest(word, known) {
            self.hint = Some(format!("did you mean `{near}`?"));
        }
        self
    }

    pub(crate) fn related(&mut self, range: Range, text: impl Into<String>) -> &mut Self {
        self.related.push((unplaced(range), text.into()));
        self
    }
}
