//! Core definitions are defined once, in `crates/domain`, and used everywhere else (R001, R031, R039).
//!
//! It reads source text, so that it needs neither a build nor a running program. Five rules: a word of the core is
//! defined in one place; store keys are built by `keys.rs` alone; phase names are not spelled out elsewhere; PACKAGE
//! is part of the ordered lifecycle; every phase has its output type. Tests may spell out what they expect.
//! Standard library only, apart from how it reports.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::rust_text::{Kind, Token, code_only, tokens};
use crate::steps::{self, Problem, StepResult};
use crate::tree::files_under;

const DOMAIN: &str = "crates/domain/src";

/// One thing that is not as the core's checklist wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The file, relative to the repository.
    pub(crate) path: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong and what is right.
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// `cargo xtask lint-core`.
pub(crate) fn run(root: &Path) -> StepResult {
    let faults = lint(root).map_err(|cause| Problem::while_doing("reading the sources", &cause))?;
    steps::findings(
        faults.iter().map(Fault::to_string).collect(),
        "the core definitions are defined once and used everywhere".to_owned(),
    )
}

/// Every fault under `root`, sorted by place.
pub(crate) fn lint(root: &Path) -> io::Result<Vec<Fault>> {
    let core = Core::read(root)?;
    let mut faults = core.own_faults();
    for path in files_under(&root.join("crates"), ".rs")? {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
        // Only what ships: `crates/NAME/src`, not `tests`, `examples`, `benches` or `build.rs`.
        let in_src = relative.components().nth(2).is_some_and(|part| part.as_os_str() == "src");
        if in_src && !relative.starts_with(DOMAIN) && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            core.check_file(&relative, &code(&path)?, &mut faults);
        }
    }
    faults.sort();
    Ok(faults)
}

fn code(path: &Path) -> io::Result<Vec<Token>> {
    Ok(code_only(tokens(&std::fs::read_to_string(path)?)))
}

/// What `crates/domain` defines.
#[derive(Default)]
struct Core {
    /// Public enums, structs, constants and statics, and where each was first defined.
    words: BTreeMap<String, (PathBuf, usize)>,
    /// Words that were defined twice inside the core itself.
    twice: Vec<Fault>,
    /// What stands before and after the name in each store key.
    key_patterns: Vec<(String, String)>,
    /// Store keys without a name in them.
    whole_keys: Vec<String>,
    /// The lifecycle: variants and their names.
    phases: Vec<(String, String)>,
    /// `phase.rs`, for the rules about its tables.
    phase_code: Vec<Token>,
}

impl Core {
    fn read(root: &Path) -> io::Result<Core> {
        let mut core = Core::default();
        for path in files_under(&root.join(DOMAIN), ".rs")? {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            let code = code(&path)?;
            for (word, line) in public_words(&code) {
                if let Some((first, at)) = core.words.get(&word) {
                    let message = format!(
                        "`{word}` is defined a second time; the first is at {}:{at}",
                        first.display()
                    );
                    core.twice.push(Fault { path: relative.clone(), line, message });
                } else {
                    core.words.insert(word, (relative.clone(), line));
                }
            }
            match path.file_name().and_then(|name| name.to_str()) {
                Some("keys.rs") => core.read_keys(&code),
                Some("phase.rs") => {
                    core.phases = variants_of(&code, "Phase");
                    core.phase_code = code;
                }
                _ => {}
            }
        }
        Ok(core)
    }

    /// The table of `keys!`: `name(argument) = "before", "after";`, and the constants that are whole keys.
    fn read_keys(&mut self, code: &[Token]) {
        for window in code.windows(5) {
            if let [close, equals, before, comma, after] = window
                && close.marks(')')
                && equals.marks('=')
                && comma.marks(',')
                && let (Some(before), Some(after)) = (before.text(), after.text())
            {
                self.key_patterns.push((before.to_owned(), after.to_owned()));
            }
        }
        for window in code.windows(3) {
            if let [equals, key, end] = window
                && equals.marks('=')
                && end.marks(';')
                && let Some(key) = key.text()
            {
                self.whole_keys.push(key.to_owned());
            }
        }
    }

    /// Faults of the core itself: words defined twice, and tables with holes.
    fn own_faults(&self) -> Vec<Fault> {
        let mut faults = self.twice.clone();
        let path = Path::new(DOMAIN).join("phase.rs");
        let mut fault = |line, message: String| faults.push(Fault { path: path.clone(), line, message });
        if self.phases.is_empty() {
            fault(1, "the enum `Phase` and its names are not found".to_owned());
        }
        let terminal =
            self.phases.iter().map(|(variant, _)| variant.as_str()).filter(|name| *name == "Revoked");
        let tables =
            [("AGENT_PHASES_ORDERED", terminal.collect::<Vec<_>>()), ("PHASE_OUTPUT_TYPES", Vec::new())];
        for (table, left_out) in tables {
            let Some((line, listed)) = phases_listed(&self.phase_code, table) else {
                fault(1, format!("`{table}` is not found"));
                continue;
            };
            let missing: Vec<&str> = self
                .phases
                .iter()
                .filter(|(variant, _)| !listed.contains(variant) && !left_out.contains(&variant.as_str()))
                .map(|(_, name)| name.as_str())
                .collect();
            if !missing.is_empty() {
                fault(line, format!("`{table}` leaves out {}", missing.join(", ")));
            }
        }
        faults
    }

    fn check_file(&self, path: &Path, code: &[Token], faults: &mut Vec<Fault>) {
        for (word, line) in module_definitions(code) {
            if let Some((at, first)) = self.words.get(&word) {
                let message = format!(
                    "`{word}` is a word of the core, defined at {}:{first}; import it, or choose another name",
                    at.display()
                );
                faults.push(Fault { path: path.to_path_buf(), line, message });
            }
        }
        for token in code {
            let Some(text) = token.text() else { continue };
            let message = if self.is_key(text) {
                format!("the store key {text:?} is spelled out; build it with `eparch_domain::keys`")
            } else if self.phases.iter().any(|(_, name)| name == text) {
                format!("the phase {text:?} is spelled out; use `eparch_domain::Phase`")
            } else {
                continue;
            };
            faults.push(Fault { path: path.to_path_buf(), line: token.line, message });
        }
    }

    /// Whether a string is a store key, or a format string for one.
    fn is_key(&self, text: &str) -> bool {
        if self.whole_keys.iter().any(|key| key == text) {
            return true;
        }
        self.key_patterns.iter().any(|(before, after)| {
            let Some(name) =
                text.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()))
            else {
                return false;
            };
            let placeholder = name.len() >= 2 && name.starts_with('{') && name.ends_with('}');
            // `lock:x` is also ordinary prose; `agent:x:state` is not.
            let spelled = !after.is_empty() && !name.is_empty() && name.chars().all(is_name_character);
            placeholder || spelled
        })
    }
}

fn is_name_character(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '.' | '_' | '-')
}

/// Public enums, structs, constants and statics of a module of the core, those of its macros included.
fn public_words(code: &[Token]) -> Vec<(String, usize)> {
    let mut words = Vec::new();
    let mut depth = 0usize;
    let mut table = "";
    for (at, token) in code.iter().enumerate() {
        let rest = &code[at..];
        match (&token.kind, depth) {
            (Kind::Mark('{' | '(' | '['), _) => {
                depth += 1;
                if depth == 1 {
                    table = called_before(&code[..at]);
                }
            }
            (Kind::Mark('}' | ')' | ']'), _) => depth = depth.saturating_sub(1),
            (Kind::Word(word), 0) if word == "pub" => words.extend(defined(&rest[1..])),
            (Kind::Word(word), 1) => {
                let follows = |mark| rest.get(1).is_some_and(|next| next.marks(mark));
                let named = rest.get(2).is_some_and(|next| next.text().is_some());
                if named && ((table == "wire_enum" && follows('(')) || (table == "ids" && follows('='))) {
                    words.push((word.clone(), token.line));
                }
            }
            _ => {}
        }
    }
    words
}

/// The macro whose braces open after `code`: `wire_enum! {`.
fn called_before(code: &[Token]) -> &str {
    match code {
        [.., name, bang] if bang.marks('!') => name.word().unwrap_or(""),
        _ => "",
    }
}

/// What `enum Name`, `struct Name`, `const NAME` or `static NAME` at the beginning of `code` defines.
fn defined(code: &[Token]) -> Option<(String, usize)> {
    let keyword = code.first()?.word()?;
    if !matches!(keyword, "enum" | "struct" | "union" | "const" | "static") {
        return None;
    }
    let name = code.get(1)?;
    let word =
        name.word().filter(|word| !matches!(*word, "fn" | "unsafe" | "async" | "extern" | "_" | "mut"))?;
    Some((word.to_owned(), name.line))
}

/// What a module defines for itself, at any visibility. Items inside functions and `impl` blocks are theirs alone.
fn module_definitions(code: &[Token]) -> Vec<(String, usize)> {
    let mut words = Vec::new();
    // One entry for each open bracket: whether it is the body of a `mod`.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in code.iter().enumerate() {
        match token.kind {
            Kind::Mark('{') => {
                let is_mod =
                    matches!(&code[..at], [.., keyword, name] if keyword.is("mod") && name.word().is_some());
                open.push(is_mod);
            }
            Kind::Mark('(' | '[') => open.push(false),
            Kind::Mark('}' | ')' | ']') => {
                open.pop();
            }
            Kind::Word(_) if open.iter().all(|is_mod| *is_mod) => words.extend(defined(&code[at..])),
            _ => {}
        }
    }
    words
}

/// The variants of an enum declared with `wire_enum!`, with their names on the wire.
fn variants_of(code: &[Token], name: &str) -> Vec<(String, String)> {
    let begins = |window: &[Token]| window[0].is(name) && window[1].marks('(') && window[2].text().is_some();
    let Some(at) = code.windows(3).position(begins) else { return Vec::new() };
    let body =
        code[at..].iter().skip_while(|token| !token.marks('{')).skip(1).take_while(|token| !token.marks('}'));
    let body: Vec<&Token> = body.collect();
    body.windows(3)
        .filter(|window| window[1].marks('='))
        .filter_map(|window| Some((window[0].word()?.to_owned(), window[2].text()?.to_owned())))
        .collect()
}

/// The line of the table `name`, and every `Phase::…` in it.
fn phases_listed(code: &[Token], name: &str) -> Option<(usize, Vec<String>)> {
    let at = code.windows(2).position(|pair| pair[0].is("const") && pair[1].is(name))? + 1;
    let mut depth = 0usize;
    let mut listed = Vec::new();
    for window in code[at..].windows(4) {
        match window[0].kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Kind::Mark(';') if depth == 0 => break,
            _ => {}
        }
        if window[0].is("Phase") && window[1].marks(':') && window[2].marks(':') {
            listed.extend(window[3].word().map(str::to_owned));
        }
    }
    Some((code[at].line, listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_counted_in_modules_and_not_in_bodies() {
        let code = tokens(
            "struct A; mod m { pub(crate) enum B {} const C: u8 = 1; } impl A { const D: u8 = 1; }\n\
             fn f() { const E: u8 = 1; } const fn g() {} const _: () = ();",
        );
        let words: Vec<String> = module_definitions(&code).into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["A", "B", "C"]);
    }

    #[test]
    fn public_words_include_those_that_macros_declare() {
        let code = tokens(
            "wire_enum! { Role (\"agent role\") { A = \"ALPHA\", } }\n\
             ids! { RunId = \"run\", \"a run\"; }\n\
             pub struct S { pub x: u8 } struct Private; pub(crate) const P: u8 = 1; pub const fn f() {}",
        );
        let words: Vec<String> = public_words(&code).into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["Role", "RunId", "S"]);
    }

    #[test]
    fn r031_keys_are_known_in_every_spelling() {
        let mut core = Core::default();
        core.read_keys(&tokens(
            "keys! { state(agent) = \"agent:\", \":state\"; lock(r) = \"lock:\", \"\"; }\n\
             pub const REVOCATIONS: &str = \"revocations:ledger\";",
        ));
        for key in
            ["agent:{id}:state", "agent:{}:state", "agent:a-1:state", "lock:{name}", "revocations:ledger"]
        {
            assert!(core.is_key(key), "{key}");
        }
        for other in ["agent:{id}: state", "lock: it is held", "lock:step", "agent state", "agent::state"] {
            assert!(!core.is_key(other), "{other}");
        }
    }
}
