//! Pages send people to commands; each of them must be one that the binary has.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_text::{Token, code_only, tokens};
use crate::steps::Problem;
use crate::tree::{Tree, files_under};

const SOURCES: &str = "crates/cli/src";
/// The enum of what stands directly behind `eparch`.
const FIRST: &str = "Command";

/// The places in the tree's pages that name a command which does not exist.
pub(crate) fn unknown(tree: &Tree) -> Result<Vec<String>, Problem> {
    let known = known(tree)?;
    let mut lines = Vec::new();
    for file in tree.files()?.iter().filter(|file| file.ends_with(".md")) {
        for (number, line) in tree.read(file)?.lines().enumerate() {
            let named = named(line).into_iter().filter(|command| !known.has(command));
            lines.extend(
                named.map(|command| {
                    format!("{file}:{}: there is no `eparch {}`", number + 1, command.join(" "))
                }),
            );
        }
    }
    Ok(lines)
}

/// The commands there are.
struct Known {
    first: BTreeSet<String>,
    /// Words that can stand behind one of those.
    second: BTreeSet<String>,
}

impl Known {
    fn has(&self, command: &[&str]) -> bool {
        match command {
            [first, rest @ ..] => {
                self.first.contains(*first) && rest.first().is_none_or(|word| self.second.contains(*word))
            }
            [] => true,
        }
    }
}

fn known(tree: &Tree) -> Result<Known, Problem> {
    let reading = |cause| Problem::while_doing("reading the command line's sources", &cause);
    let mut enums = BTreeMap::new();
    for path in files_under(&tree.path(SOURCES), ".rs").map_err(reading)? {
        let source = std::fs::read_to_string(&path).map_err(reading)?;
        enums.extend(subcommands(&code_only(tokens(&source))));
    }
    let first = enums.remove(FIRST).ok_or_else(|| Problem::new(format!("{SOURCES} has no enum {FIRST}")))?;
    Ok(Known { first, second: enums.into_values().flatten().collect() })
}

/// Every enum of subcommands with their words.
fn subcommands(code: &[Token]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for at in 0..code.len() {
        let is_derive = code[at].is("derive")
            && code[at..].iter().take_while(|token| !token.marks(']')).any(|token| token.is("Subcommand"));
        let begin = code[at..].iter().position(|token| token.is("enum")).map(|step| at + step + 1);
        let Some((name, body)) = begin
            .filter(|_| is_derive)
            .and_then(|begin| Some((code.get(begin)?.word()?.to_owned(), code.get(begin + 2..)?)))
        else {
            continue;
        };
        found.insert(name, variants(body));
    }
    found
}

/// The variants of an enum whose body begins here, as words of the command line.
fn variants(body: &[Token]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let (mut depth, mut expected) = (0usize, true);
    for token in body {
        if ['{', '(', '['].into_iter().any(|mark| token.marks(mark)) {
            depth += 1;
        } else if ['}', ')', ']'].into_iter().any(|mark| token.marks(mark)) {
            let Some(left) = depth.checked_sub(1) else { break };
            depth = left;
        } else if depth == 0 && token.marks(',') {
            expected = true;
        } else if let Some(word) = token.word().filter(|_| depth == 0 && expected) {
            words.insert(kebab(word));
            expected = false;
        }
    }
    words
}

/// `RebuildViews` is written `rebuild-views`.
fn kebab(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

/// The commands a line of a page names, in backticks or after a prompt: the words before the first argument.
fn named(line: &str) -> Vec<Vec<&str>> {
    let quoted = line.split('`').skip(1).step_by(2);
    let prompt = line.trim_start().strip_prefix("$ ");
    let texts = quoted.chain(prompt).filter_map(|text| text.strip_prefix("eparch "));
    let is_word = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-')
    };
    texts.map(|text| text.split(' ').take(2).take_while(is_word).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_the_source() {
        let source = "#[derive(Debug, Subcommand)]\npub enum Command {\n /// A, B\n Run(Run),\n #[command(subcommand)]\n \
            Ledger(Ledger),\n Version { core: bool, more: Vec<u8> },\n Doctor,\n}\n\
            #[derive(Subcommand)] enum Ledger { Show, RebuildViews }\n#[derive(Debug)] enum Other { Thing }";
        let found = subcommands(&tokens(source));
        let words = |name: &str| found[name].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(words("Command"), ["doctor", "ledger", "run", "version"]);
        assert_eq!(words("Ledger"), ["rebuild-views", "show"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn commands_are_found_on_a_page() {
        let line =
            "- `eparch runs list` or `eparch run FILE`, `eparch --help`, `eparch` alone, `eparch doctor`";
        assert_eq!(named(line), [vec!["runs", "list"], vec!["run"], vec![], vec!["doctor"]]);
        assert_eq!(named("$ eparch ledger verify --replay"), [["ledger", "verify"]]);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let known = Known { first: words(&["run", "runs"]), second: words(&["list"]) };
        for (command, is_one) in [
            (&["runs", "list"][..], true),
            (&["run"], true),
            (&["runs", "lost"], false),
            (&["market"], false),
            (&[], true),
        ] {
            assert_eq!(known.has(command), is_one, "{command:?}");
        }
    }
}
