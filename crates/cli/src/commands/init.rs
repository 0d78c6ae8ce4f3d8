//! Making a home.

use std::fs;
use std::path::PathBuf;

use eparch_daemon::{Home, HomeError, LOCAL_HOME};
use eparch_domain::Name;
use serde_json::json;

use crate::args::Init;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;

/// `eparch init`.
pub(crate) fn init(context: &Context, asked: &Init) -> Result<u8, Failure> {
    let root = match asked.local {
        true if context.names_home() => {
            return Err(Failure::new("EP0701", "--local and --home name two places")
                .hint("use one of them")
                .exit(exit::USAGE));
        }
        true => PathBuf::from(LOCAL_HOME),
        false => context.home_root(),
    };
    let owner = asked.owner.clone().or_else(|| context.named_operator().cloned()).unwrap_or_else(login_name);
    let home = Home::create(&root, &owner)?;
    let next = [
        ("eparch doctor", "look whether this machine can confine agents"),
        ("eparch run FILE", "run a pipeline; `eparch pipeline list` shows what agents can be made from"),
        (
            "eparch operator add NAME --role approver",
            "let somebody else answer gates: whoever starts a run may not",
        ),
    ];
    if context.is_json() {
        let next: Vec<&str> = next.iter().map(|(command, _)| *command).collect();
        print_json(&json!({ "home": home.root(), "owner": owner, "next": next }))?;
    } else {
        outln!("Made a home at {} with you, {owner}, as its owner.", home.root().display());
        outln!(
            "Keys and the ledger lie there. Nobody but you may look into it, and no agent ever sees it.\n\nNext:"
        );
        next.iter().for_each(|(command, what)| outln!("  {command:<42} {what}"));
    }
    Ok(exit::DONE)
}

/// The home that is there, or a new one: `run` works in a fresh place, and says so.
pub(crate) fn home_or_new(context: &Context) -> Result<Home, Failure> {
    let root = context.home_root();
    match Home::open(&root) {
        Err(HomeError::Missing(_)) => {}
        opened => return Ok(opened?),
    }
    let owner = login_name();
    match Home::create(&root, &owner) {
        Ok(home) => {
            context
                .say(&format!("Made a home at {} with you, {owner}, as its owner.", home.root().display()));
            Ok(home)
        }
        // Somebody else was a moment faster.
        Err(HomeError::Exists(_)) => Ok(Home::open(&root)?),
        Err(problem) => Err(problem.into()),
    }
}

/// The name of whoever is logged in, as far as it can be a name here; else `owner`.
fn login_name() -> Name {
    let uid = rustix::process::getuid().as_raw().to_string();
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    // Users of a directory service are not in the file, but their shell knows them.
    let named = listed.or_else(|| std::env::var("USER").ok()).or_else(|| std::env::var("LOGNAME").ok());
    named
        .and_then(|name| Name::new(&name).ok())
        .unwrap_or_else(|| Name::new("owner").expect("a plain word is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_logged_in_has_a_name() {
        assert!(!login_name().as_str().is_empty());
    }
}
