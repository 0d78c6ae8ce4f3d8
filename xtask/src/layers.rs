//! Dependencies point one way. Draws the crates from `cargo metadata` into `ARCHITECTURE.md`, and refuses an edge that
//! the table below does not allow, a library in a crate that must not know it, and impurity in the pure crates.

use std::process::Command;

use crate::metadata::{self, Member};
use crate::process;
use crate::rust_text::{Token, code_only, tokens};
use crate::steps::{self, Problem, StepResult};
use crate::tree::{Tree, files_under, marked};

const PAGE: &str = "ARCHITECTURE.md";

/// What each crate may depend on, lowest first; a crate that is not listed may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("eparch-domain", &[]),
    ("eparch-pipeline", &["eparch-domain"]),
    ("eparch-policy", &["eparch-domain"]),
    ("eparch-governor", &["eparch-domain", "eparch-pipeline", "eparch-policy"]),
    ("eparch-ledger", &["eparch-domain", "eparch-pipeline", "eparch-policy", "eparch-governor"]),
    ("eparch-vault", &["eparch-domain"]),
    ("eparch-sandbox", &["eparch-domain"]),
    (
        "eparch-daemon",
        &[
            "eparch-domain",
            "eparch-pipeline",
            "eparch-policy",
            "eparch-governor",
            "eparch-ledger",
            "eparch-vault",
            "eparch-sandbox",
        ],
    ),
    (
        "eparch-sim",
        &[
            "eparch-domain",
            "eparch-pipeline",
            "eparch-policy",
            "eparch-governor",
            "eparch-ledger",
            "eparch-sandbox",
            "eparch-daemon",
        ],
    ),
    (
        "eparch-cli",
        &[
            "eparch-domain",
            "eparch-pipeline",
            "eparch-policy",
            "eparch-governor",
            "eparch-ledger",
            "eparch-vault",
            "eparch-sandbox",
            "eparch-daemon",
            "eparch-sim",
        ],
    ),
    // The workshop looks after the others, so it must not need them.
    ("xtask", &[]),
];

/// Crates that decide or name things: no clock, no dice, no disk, no network, no async.
const PURE: &[&str] = &["eparch-domain", "eparch-pipeline", "eparch-policy", "eparch-governor"];

/// Libraries that no pure crate may reach, not even through another library. (`rand_core` and `rand_xoshiro`, which `imbl`
/// brings, only calculate: without `getrandom` there are no dice to seed them with.)
const IMPURE_LIBRARIES: &[&str] = &[
    "async-std",
    "axum",
    "caps",
    "getrandom",
    "hyper",
    "landlock",
    "mio",
    "nix",
    "rand",
    "redis",
    "reqwest",
    "rusqlite",
    "rustix",
    "seccompiler",
    "smol",
    "tempfile",
    "tokio",
    "ureq",
];

/// Libraries that only these crates may name, because only they know what it is about.
const KNOWN_ONLY_TO: &[(&str, &[&str])] = &[
    ("rusqlite", &["eparch-ledger"]),
    ("chacha20poly1305", &["eparch-vault"]),
    ("rustls", &["eparch-vault"]),
    ("tokio-rustls", &["eparch-vault"]),
    ("landlock", &["eparch-sandbox"]),
    ("seccompiler", &["eparch-sandbox"]),
    ("caps", &["eparch-sandbox"]),
    ("nix", &["eparch-sandbox"]),
    ("cedar-policy", &["eparch-policy"]),
    ("rustix", &["eparch-sandbox", "eparch-ledger", "eparch-daemon", "eparch-cli"]),
];

/// Paths whose last word may not be used in a pure crate, with the reason people are told.
const IMPURE_PATHS: &[(&str, &str)] = &[
    ("fs", "the disk belongs to the shell"),
    ("net", "the network belongs to the shell"),
    ("process", "other programs belong to the shell"),
    ("env", "settings are handed in, not looked up"),
    ("thread", "the shell decides what runs beside what"),
];

/// Words that may not be used in a pure crate, with the reason people are told.
const IMPURE_WORDS: &[(&str, &str)] = &[
    ("SystemTime", "the time comes with the event"),
    ("Instant", "the time comes with the event"),
    ("HashMap", "its order differs from run to run; use a BTreeMap"),
    ("HashSet", "its order differs from run to run; use a BTreeSet"),
    ("async", "a decision waits for nothing"),
];

/// Places where a word above is right after all, with the reason; an excuse that nobody needs is a finding.
const EXCUSED: &[(&str, &str, &str)] = &[
    (
        "crates/pipeline/src/expr/value.rs",
        "HashMap",
        "the expression library takes no other map, and what comes out of it is put in order",
    ),
    (
        "crates/policy/src/index.rs",
        "HashMap",
        "a decision looks some fifty keys up and has microseconds for it; what is ever listed is put in order",
    ),
];

/// `cargo xtask layers`.
pub(crate) fn run(tree: &Tree, write: bool) -> StepResult {
    let members = metadata::members(tree)?;
    let mut lines = forbidden_edges(&members);
    lines.extend(impure_libraries(tree, &members)?);
    lines.extend(impure_sources(tree, &members)?);
    let drawn = picture(&members, &tree.read("Cargo.toml")?);
    if !tree.path(PAGE).exists() {
        lines.push(format!(
            "{PAGE} is missing; it holds the picture between <!-- layers --> and <!-- /layers -->"
        ));
        return steps::findings(lines, String::new());
    }
    let page = tree.read(PAGE)?;
    match marked(&page, "layers") {
        None => {
            lines.push(format!("{PAGE} has no lines <!-- layers --> and <!-- /layers --> for the picture"))
        }
        Some((_, old, _)) if old == drawn => {}
        Some((before, _, after)) if write => tree.write(PAGE, &format!("{before}{drawn}{after}"))?,
        Some(_) => {
            lines.push(format!("{PAGE} shows other layers than the code has; `cargo xtask layers --write`"))
        }
    }
    if lines.is_empty() {
        return Ok(format!("{} crates, every edge points down", members.len()));
    }
    Err(Problem { lines })
}

fn forbidden_edges(members: &[Member]) -> Vec<String> {
    let mut lines = Vec::new();
    for member in members {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == member.name) else {
            lines.push(format!(
                "{} has no place in the layers; give it one in xtask/src/layers.rs",
                member.name
            ));
            continue;
        };
        for dependency in &member.dependencies {
            let own = ALLOWED.iter().any(|(name, _)| name == dependency);
            if own && !allowed.contains(&dependency.as_str()) {
                lines.push(format!("{} may not depend on {dependency}", member.name));
            }
            let only = KNOWN_ONLY_TO.iter().find(|(library, _)| library == dependency);
            if let Some((library, knowing)) =
                only.filter(|(_, knowing)| !knowing.contains(&member.name.as_str()))
            {
                lines.push(format!("{} may not use {library}; only {} may", member.name, knowing.join(", ")));
            }
        }
    }
    lines
}

/// What the pure crates reach through all their dependencies, as `cargo tree` resolves it for each alone.
fn impure_libraries(tree: &Tree, members: &[Member]) -> Result<Vec<String>, Problem> {
    let mut lines = Vec::new();
    for name in PURE.iter().filter(|name| members.iter().any(|member| member.name == **name)) {
        let mut cargo: Command = process::cargo(&[
            "tree",
            "--package",
            name,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        let reached = process::output(cargo.current_dir(tree.root()))?;
        let mut found: Vec<&str> = reached.lines().filter_map(|line| line.split(' ').next()).collect();
        found.sort_unstable();
        found.dedup();
        let impure = found.into_iter().filter(|library| IMPURE_LIBRARIES.contains(library));
        lines.extend(impure.map(|library| {
            format!("{name} is pure and may not reach {library}; `cargo tree -p {name} -i {library}` shows the way")
        }));
    }
    Ok(lines)
}

fn impure_sources(tree: &Tree, members: &[Member]) -> Result<Vec<String>, Problem> {
    let mut lines = Vec::new();
    let mut excuses: Vec<_> = EXCUSED.iter().collect();
    for member in members.iter().filter(|member| PURE.contains(&member.name.as_str())) {
        let folder = tree.path(&member.folder).join("src");
        let reading = |cause| Problem::while_doing(&format!("reading {}", folder.display()), &cause);
        for path in files_under(&folder, ".rs").map_err(reading)? {
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let source = std::fs::read_to_string(&path).map_err(reading)?;
            let shown = path.strip_prefix(tree.root()).unwrap_or(&path).display().to_string();
            for impurity in impurities(&code_only(tokens(&source))) {
                let excuse = |(file, word, _): &(&str, &str, &str)| *file == shown && *word == impurity.word;
                if EXCUSED.iter().any(excuse) {
                    excuses.retain(|entry| !excuse(entry));
                } else {
                    let Impurity { line, word, why } = impurity;
                    lines.push(format!("{shown}:{line}: `{word}` in a pure crate: {why}"));
                }
            }
        }
    }
    let stale =
        excuses.into_iter().map(|(file, word, _)| format!("{file}: `{word}` is excused and not used"));
    lines.extend(stale);
    Ok(lines)
}

/// A place where a source touches the world.
struct Impurity {
    line: usize,
    word: String,
    why: &'static str,
}

fn impurities(code: &[Token]) -> Vec<Impurity> {
    let mut found = Vec::new();
    for (at, token) in code.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        if let Some((_, why)) = IMPURE_WORDS.iter().find(|(impure, _)| *impure == word) {
            found.push(Impurity { line: token.line, word: word.to_owned(), why });
        }
        // Whatever library it is of: the standard one's clocks have other words, too.
        if word == "now" && is_path_before(&code[..at]) {
            found.push(Impurity {
                line: token.line,
                word: "::now".to_owned(),
                why: "the time comes with the event",
            });
        }
        if word == "std" {
            for (line, part) in parts_of_std(&code[at + 1..]) {
                if let Some((_, why)) = IMPURE_PATHS.iter().find(|(impure, _)| *impure == part) {
                    found.push(Impurity { line, word: format!("std::{part}"), why });
                }
            }
        }
    }
    found
}

/// Whether what comes next belongs to a path: `X::`.
fn is_path_before(before: &[Token]) -> bool {
    matches!(before, [.., first, second] if first.marks(':') && second.marks(':'))
}

/// The modules that `std::x` or `std::{x, y::z}` names.
fn parts_of_std(rest: &[Token]) -> Vec<(usize, &str)> {
    let [first, second, rest @ ..] = rest else { return Vec::new() };
    if !(first.marks(':') && second.marks(':')) {
        return Vec::new();
    }
    let word = |token: &'_ Token| token.word().map(|_| token.line);
    match rest.first() {
        Some(open) if open.marks('{') => {
            let mut depth = 0usize;
            let mut parts = Vec::new();
            for pair in rest.windows(2) {
                depth = match () {
                    () if pair[0].marks('{') => depth + 1,
                    () if pair[0].marks('}') => depth.saturating_sub(1),
                    () => depth,
                };
                if depth == 0 {
                    break;
                }
                let begins_part = pair[0].marks(',') || pair[0].marks('{');
                if depth == 1
                    && begins_part
                    && let (Some(line), Some(part)) = (word(&pair[1]), pair[1].word())
                {
                    parts.push((line, part));
                }
            }
            parts
        }
        Some(token) => token.word().map(|part| (token.line, part)).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The picture: each layer as the manifest names it, its crates, and what each stands on.
fn picture(members: &[Member], manifest: &str) -> String {
    let mut text = String::from("```text\n");
    let widest = members.iter().map(|member| short(&member.name).len()).max().unwrap_or(0);
    for line in manifest.lines().map(str::trim).skip_while(|line| !line.starts_with("members")) {
        if line == "]" {
            break;
        }
        if let Some(layer) = line.strip_prefix("# ") {
            text.push_str(&format!("{layer}\n"));
        }
        let folder = line.trim_end_matches(',').trim_matches('"');
        let Some(member) = members.iter().find(|member| member.folder == folder) else { continue };
        let below: Vec<&str> = ALLOWED
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| member.dependencies.iter().any(|dependency| dependency == name))
            .map(short)
            .collect();
        let arrow = if below.is_empty() { String::new() } else { format!("→ {}", below.join(", ")) };
        text.push_str(format!("    {:<widest$}  {arrow}", short(&member.name)).trim_end());
        text.push('\n');
    }
    text.push_str("```\n");
    text
}

fn short(name: &str) -> &str {
    name.strip_prefix("eparch-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            folder: format!("crates/{}", short(name)),
            version: "0.1.0".to_owned(),
            description: String::new(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            is_library: true,
        }
    }

    #[test]
    fn an_edge_upwards_and_a_library_out_of_place_are_forbidden() {
        let lines = forbidden_edges(&[
            member("eparch-domain", &["eparch-ledger", "serde"]),
            member("eparch-cli", &["rusqlite", "eparch-daemon"]),
            member("eparch-new", &[]),
        ]);
        assert_eq!(
            lines,
            [
                "eparch-domain may not depend on eparch-ledger",
                "eparch-cli may not use rusqlite; only eparch-ledger may",
                "eparch-new has no place in the layers; give it one in xtask/src/layers.rs",
            ]
        );
    }

    #[test]
    fn the_table_itself_points_one_way() {
        for (place, (name, allowed)) in ALLOWED.iter().enumerate() {
            let below: Vec<&str> = ALLOWED[..place].iter().map(|(name, _)| *name).collect();
            assert!(allowed.iter().all(|dependency| below.contains(dependency)), "{name}");
        }
    }

    #[test]
    fn touching_the_world_is_found_in_every_spelling() {
        let code = tokens(
            "use std::fs;\nuse std::{fmt, net::TcpStream, collections::{BTreeMap, HashMap}};\n\
             // use std::env\nlet t = std::time::Instant::now();\nasync fn f() {}\nstd::fmt::Debug;\n\
             jiff::Timestamp::now();\nclock.now();",
        );
        let found: Vec<(usize, String)> =
            impurities(&code).into_iter().map(|impurity| (impurity.line, impurity.word)).collect();
        let expected = [
            (1, "std::fs"),
            (2, "std::net"),
            (2, "HashMap"),
            (4, "Instant"),
            (4, "::now"),
            (5, "async"),
            (7, "::now"),
        ];
        assert_eq!(found, expected.map(|(line, word)| (line, word.to_owned())));
    }

    #[test]
    fn the_picture_follows_the_manifest() {
        let manifest = "[workspace]\nmembers = [\n  # words: names\n  \"crates/domain\",\n  # memory\n  \"crates/ledger\",\n]\n";
        let members = [member("eparch-domain", &[]), member("eparch-ledger", &["eparch-domain", "rusqlite"])];
        assert_eq!(
            picture(&members, manifest),
            "```text\nwords: names\n    domain\nmemory\n    ledger  → domain\n```\n"
        );
    }
}
