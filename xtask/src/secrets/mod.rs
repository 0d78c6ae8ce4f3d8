//! Nothing in the tree looks like a secret (R029, R141): known shapes, private keys, URLs with passwords, passwords
//! assigned to names, payment cards and Brazilian tax numbers (requirements 1.3-j).
//!
//! A value that must stand in the tree is put together from parts where it is used. What cannot be, goes into
//! `xtask/secrets.allow` with its reason; an entry that allows nothing any more is a finding.

mod guesses;
// The table that redaction uses, as it stands: the workshop depends on none of the crates it checks.
#[path = "../../../crates/domain/src/secret/mod.rs"]
mod secret;

use crate::steps::{self, Problem, StepResult};
use crate::tree::Tree;

const ALLOW_LIST: &str = "xtask/secrets.allow";

/// Files past this size are data, not text that somebody typed.
const MAX_BYTES: u64 = 8 << 20;

/// `cargo xtask secrets`.
pub(crate) fn run(tree: &Tree) -> StepResult {
    let mut allowed = allow_list(tree)?;
    let mut lines = Vec::new();
    let mut scanned = 0usize;
    for path in tree.files()? {
        let full = tree.path(&path);
        let reading = |cause| Problem::while_doing(&format!("reading {path}"), &cause);
        if std::fs::metadata(&full).map_err(reading)?.len() > MAX_BYTES {
            continue;
        }
        let bytes = std::fs::read(&full).map_err(reading)?;
        scanned += 1;
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            for kind in found_in(line) {
                let entry = allowed.iter_mut().find(|entry| entry.path == path && entry.kind == kind);
                match entry {
                    Some(entry) => entry.used = true,
                    None => lines.push(format!("{path}:{}: looks like {kind}", number + 1)),
                }
            }
        }
    }
    let stale = allowed.iter().filter(|entry| !entry.used);
    lines.extend(stale.map(|entry| {
        format!(
            "{ALLOW_LIST}:{}: allows {} in {}, which is not there any more",
            entry.line, entry.kind, entry.path
        )
    }));
    steps::findings(lines, format!("{scanned} files hold nothing that looks like a secret"))
}

/// The kinds of secret that a line seems to hold.
fn found_in(line: &str) -> Vec<&'static str> {
    // Half of a web token is hidden where it is met; in the tree it may be an example's header.
    let is_whole = |token: &str| token.split('.').filter(|part| part.len() >= 10).count() == 3;
    let known = secret::find(line).into_iter();
    let known =
        known.filter(|found| found.kind != "a JSON web token" || is_whole(&line[found.range.clone()]));
    let mut kinds: Vec<&str> = known.map(|found| found.kind).collect();
    kinds.extend(secret::private_key(line).map(|_| "a private key"));
    kinds.extend(guesses::found_in(line));
    kinds
}

/// One line of the allow-list: `KIND<tab>PATH<tab>REASON`.
struct Allowed {
    line: usize,
    kind: String,
    path: String,
    used: bool,
}

fn allow_list(tree: &Tree) -> Result<Vec<Allowed>, Problem> {
    if !tree.path(ALLOW_LIST).exists() {
        return Ok(Vec::new());
    }
    let text = tree.read(ALLOW_LIST)?;
    let entries = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|(number, line)| match line.split('\t').collect::<Vec<_>>()[..] {
            [kind, path, reason] if !reason.is_empty() => {
                Ok(Allowed { line: number + 1, kind: kind.to_owned(), path: path.to_owned(), used: false })
            }
            _ => Err(Problem::new(format!(
                "{ALLOW_LIST}:{}: expected KIND, PATH and REASON, with tabs between",
                number + 1
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r029_keys_and_tokens_of_the_known_shapes_are_found() {
        // Put together here so that the tree holds none.
        let header = ["eyJ", "hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"].concat();
        for (line, kinds) in [
            (["-----BEGIN RSA ", "PRIVATE KEY-----"].concat(), &["a private key"][..]),
            (["-----BEGIN ", "PRIVATE KEY-----"].concat(), &["a private key"]),
            (["-----BEGIN PUBLIC ", "KEY-----"].concat(), &[]),
            (format!("{header}.eyJzdWIiOiIx.c2lnbmF0dXJl"), &["a JSON web token"]),
            (header, &[]),
            (["npm_", &"a1B2".repeat(9)].concat(), &["a package registry's token"]),
            (["4111-1111-", "1111-1111"].concat(), &["a payment card number"]),
        ] {
            assert_eq!(found_in(&line), kinds, "{line}");
        }
    }
}
