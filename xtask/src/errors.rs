//! Every error code that people can meet has a page under `docs/errors`, and every page a code. What pages send people to
//! is there.

use std::collections::BTreeMap;

use crate::commands;
use crate::rust_text::{code_only, tokens};
use crate::steps::{self, Problem, StepResult};
use crate::tree::{Tree, files_under, marked};

const FOLDER: &str = "docs/errors";
const INDEX: &str = "docs/errors/README.md";

/// `cargo xtask errors`.
pub(crate) fn run(tree: &Tree, write: bool) -> StepResult {
    let codes = codes(tree)?;
    let pages = pages(tree)?;
    let mut lines = Vec::new();
    for (code, place) in &codes {
        if !pages.contains_key(code) {
            lines.push(format!("{place}: {code} has no page {FOLDER}/{code}.md"));
        }
    }
    for (code, title) in &pages {
        if !codes.contains_key(code) {
            lines.push(format!("{FOLDER}/{code}.md: no crate has the code {code}"));
        }
        if title.is_empty() {
            lines.push(format!("{FOLDER}/{code}.md:1: begins with another line than `# {code}: what it is`"));
        }
    }
    let drawn: String =
        pages.iter().map(|(code, title)| format!("- [{code}]({code}.md): {title}\n")).collect();
    lines.extend(commands::unknown(tree)?);
    let index = tree.read(INDEX)?;
    match marked(&index, "pages") {
        None => lines.push(format!("{INDEX} has no lines <!-- pages --> and <!-- /pages --> for the list")),
        Some((_, old, _)) if old == drawn => {}
        Some((before, _, after)) if write => tree.write(INDEX, &format!("{before}{drawn}{after}"))?,
        Some(_) => {
            lines.push(format!("{INDEX} lists other pages than there are; `cargo xtask errors --write`"))
        }
    }
    steps::findings(lines, format!("{} codes, each with a page", codes.len()))
}

/// Every code in the crates' sources outside tests, with the first place it stands in.
fn codes(tree: &Tree) -> Result<BTreeMap<String, String>, Problem> {
    let mut codes = BTreeMap::new();
    let reading = |cause| Problem::while_doing("reading the sources", &cause);
    for path in files_under(&tree.path("crates"), ".rs").map_err(reading)? {
        let shown = path.strip_prefix(tree.root()).unwrap_or(&path);
        let in_src = shown.components().nth(2).is_some_and(|part| part.as_os_str() == "src");
        if !in_src || path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).map_err(reading)?;
        for token in code_only(tokens(&source)) {
            if let Some(code) = token.text().filter(|text| is_code(text)) {
                codes.entry(code.to_owned()).or_insert_with(|| format!("{}:{}", shown.display(), token.line));
            }
        }
    }
    Ok(codes)
}

/// Every page with its title; an empty title when the first line has another shape.
fn pages(tree: &Tree) -> Result<BTreeMap<String, String>, Problem> {
    let mut pages = BTreeMap::new();
    let reading = |cause| Problem::while_doing("reading the error pages", &cause);
    for path in files_under(&tree.path(FOLDER), ".md").map_err(reading)? {
        let code = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !is_code(&code) {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(reading)?;
        let title = text.lines().next().and_then(|line| line.strip_prefix(&format!("# {code}: ")));
        pages.insert(code, title.unwrap_or_default().trim().to_owned());
    }
    Ok(pages)
}

fn is_code(text: &str) -> bool {
    text.strip_prefix("EP")
        .is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_two_letters_and_four_digits() {
        assert!(is_code("EP0201"));
        for other in ["EP201", "EP02011", "EP02O1", "XP0201", "EP0201 is a code"] {
            assert!(!is_code(other), "{other}");
        }
    }
}
