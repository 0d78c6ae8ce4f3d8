//! Secrets, as people keep them. No value is taken from the command line, and none is shown but by `get`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, stdin, stdout};

use eparch_daemon::wire::{
    Fields, OpenFields, PutSecret as Put, Secret, SecretNames, SecretShown, SecretWritten, VaultStatus,
};
use eparch_domain::{Name, limits};

use super::block_on;
use crate::args::{GetSecret, PutSecret, Secrets};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::paint::{self, harmless, harmless_lines};
use crate::table::{Table, plain};
use crate::typed;

/// The field of a secret that has only one, and no name for it.
const ONLY: &str = "value";

/// `eparch secrets …`.
pub(crate) fn carry_out(context: &Context, command: Secrets) -> Result<u8, Failure> {
    match command {
        Secrets::Put(asked) => {
            // Read before anybody is asked: typing takes its time.
            let fields = fields(&asked)?;
            block_on(put(context, &asked, fields))
        }
        Secrets::Get(asked) => block_on(get(context, &asked)),
        Secrets::List { prefix } => block_on(list(context, prefix.as_deref())),
        Secrets::Status => block_on(status(context)),
    }
}

async fn put(context: &Context, asked: &PutSecret, fields: Fields) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let body = Put { fields: OpenFields(fields), cas: asked.cas };
    let written: SecretWritten = desk.put(&route(&asked.path)?, &body).await?;
    if context.is_json() {
        print_json(&written)?;
    } else {
        outln!("Wrote version {} of {}.", written.version, written.path);
    }
    Ok(exit::DONE)
}

async fn get(context: &Context, asked: &GetSecret) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let version = asked.version.map_or(String::new(), |version| format!("?version={version}"));
    let shown: SecretShown = desk.get(&format!("{}{version}", route(&asked.path)?)).await?;
    show_secret(context, &shown, asked.field.as_deref())
}

/// Prints a secret, or one field of it as it is; by whatever way it was had.
pub(super) fn show_secret(
    context: &Context,
    shown: &SecretShown,
    field: Option<&str>,
) -> Result<u8, Failure> {
    let SecretShown { path, version, fields } = shown;
    let Some(wanted) = field else {
        if context.is_json() {
            print_json(shown)?;
            return Ok(exit::DONE);
        }
        outln!("{path}, version {version}");
        let mut table = Table::default();
        for (name, secret) in &fields.0 {
            table.row([plain(format!("  {name}")), plain(harmless(secret.expose()))]);
        }
        table.print();
        return Ok(exit::DONE);
    };
    let Some(secret) = fields.0.get(wanted) else {
        let names: Vec<&str> = fields.0.keys().map(String::as_str).collect();
        return Err(Failure::new("EP0903", format!("version {version} of {path} has no such field"))
            .hint(format!("it has {}", names.join(", "))));
    };
    if context.is_json() {
        let fields = OpenFields([(wanted.to_owned(), secret.clone())].into());
        print_json(&SecretShown { path: path.clone(), version: *version, fields })?;
    } else if stdout().is_terminal() {
        outln!("{}", harmless_lines(secret.expose()));
    } else {
        outln!("{}", secret.expose());
    }
    Ok(exit::DONE)
}

async fn list(context: &Context, prefix: Option<&str>) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let below = prefix.map(|prefix| checked(prefix.trim_end_matches('/'))).transpose()?;
    let query = below.map_or(String::new(), |below| format!("?prefix={below}"));
    let found: SecretNames = desk.get(&format!("/api/secrets{query}")).await?;
    if context.is_json() {
        print_json(&found)?;
    } else if found.names.is_empty() {
        context.say("There are no secrets yet. `eparch secrets put PATH` writes one.");
    } else {
        found.names.iter().for_each(|name| outln!("{}", harmless(name)));
    }
    Ok(exit::DONE)
}

async fn status(context: &Context) -> Result<u8, Failure> {
    let desk = Desk::open(context)?;
    let status: VaultStatus = desk.get("/api/secrets-status").await?;
    if context.is_json() {
        print_json(&status)?;
    } else {
        show(&status);
    }
    Ok(if status.usable { exit::DONE } else { exit::UNAVAILABLE })
}

fn show(status: &VaultStatus) {
    let paint = paint::out();
    let line = |name: &str, text: &str| outln!("{} {}", paint.faint(&format!("{name:<9}")), harmless(text));
    line("vault", &where_it_is(status));
    let state = stands(status);
    outln!(
        "{} {}",
        paint.faint(&format!("{:<9}", "state")),
        if status.usable { paint.good(&harmless(&state)) } else { paint.bad(&harmless(&state)) }
    );
    if let Some(hint) = status.problem.as_ref().map(|problem| &problem.hint).filter(|hint| !hint.is_empty()) {
        line("", hint);
    }
    line("policies", &status.policies.join(", "));
    let by = if status.enforced_by == "server" {
        "the server, as they were written to it"
    } else {
        "Eparch itself, as they ship"
    };
    line("held by", by);
}

/// Where a vault is, in words.
pub(super) fn where_it_is(status: &VaultStatus) -> String {
    match status.kind.as_str() {
        "server" => format!("the server {}", status.place),
        _ => format!("a sealed file in {}", status.place),
    }
}

/// How it stands, in words.
pub(super) fn stands(status: &VaultStatus) -> String {
    match (&status.problem, status.sealed, status.clock_behind) {
        (Some(problem), ..) => format!("{} ({})", problem.title, problem.code),
        (None, Some(true), _) => "sealed: it waits for its keys".to_owned(),
        (None, _, Some(by)) => format!("the clock is {by} behind what it recorded last: no token is good"),
        (None, ..) if !status.made => "none yet; the first secret makes it".to_owned(),
        (None, ..) if !status.usable => "it was never set up".to_owned(),
        (None, ..) => "open".to_owned(),
    }
}

/// A path, as far as it can be part of a request; the holder knows what a path of secrets is.
pub(super) fn checked(path: &str) -> Result<&str, Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-');
    if !path.is_empty() && path.len() <= limits::VAULT_PATH_BYTES && path.bytes().all(fits) {
        return Ok(path);
    }
    Err(Failure::new("EP0905", "this is no path of a secret")
        .hint("parts of letters, digits, '.', '_' and '-' with / between them, as in inventory/hosts")
        .exit(exit::USAGE))
}

fn route(path: &str) -> Result<String, Failure> {
    Ok(format!("/api/secrets/{}", checked(path)?))
}

/// Where the value of a field comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    /// Standard input, or whoever sits there.
    Input,
    File(&'a str),
    Literal(&'a str),
}

/// What is to be written; everything is checked before anything is read.
fn fields(asked: &PutSecret) -> Result<Fields, Failure> {
    checked(&asked.path)?;
    if !asked.stray.is_empty() {
        return Err(on_the_command_line());
    }
    let only = [ONLY.to_owned()];
    let words = if asked.fields.is_empty() { &only[..] } else { &asked.fields };
    let mut sources: Vec<(&str, Source<'_>)> = Vec::new();
    for word in words {
        let (name, source) = source(word, asked.literal)?;
        if sources.iter().any(|(known, _)| *known == name) {
            return Err(no_field(format!("the field {name} is given twice")));
        }
        sources.push((name, source));
    }
    let is_typed = typed::is_typed();
    let inputs = sources.iter().filter(|(_, source)| *source == Source::Input).count();
    if inputs > 1 && !is_typed {
        return Err(no_value("standard input is one value, and several fields are to come from it")
            .hint("name files for the others: --field NAME=@FILE")
            .exit(exit::USAGE));
    }
    sources.into_iter().map(|(name, source)| Ok((name.to_owned(), value(name, source, is_typed)?))).collect()
}

fn source(word: &str, literal: bool) -> Result<(&str, Source<'_>), Failure> {
    let (name, source) = match word.split_once('=') {
        None => (word, Source::Input),
        Some((name, "-")) => (name, Source::Input),
        Some((name, text)) if !literal => match text.strip_prefix('@') {
            Some(file) => (name, Source::File(file)),
            None => return Err(on_the_command_line()),
        },
        Some((name, text)) => (name, text.strip_prefix('@').map_or(Source::Literal(text), Source::File)),
    };
    // A name that is none may be a value in the wrong place.
    Name::new(name)
        .map_err(|_| no_field("a field is called by 1 to 64 letters, digits, '.', '_' and '-'".to_owned()))?;
    Ok((name, source))
}

fn value(name: &str, source: Source<'_>, is_typed: bool) -> Result<Secret, Failure> {
    let unread = |what: &str, problem: io::Error| {
        let why = match problem.kind() {
            io::ErrorKind::InvalidData => "it is no UTF-8 text".to_owned(),
            _ => problem.to_string(),
        };
        no_value(&format!("cannot read {what} for the field {name}: {why}"))
            .hint("a value is text; write what is none as base64")
    };
    let secret = match source {
        Source::Literal(text) => Secret::from(text),
        Source::File(path) => {
            let read = File::open(path).and_then(text_of);
            Secret::new(read.map_err(|problem| unread("the file", problem))?)
        }
        Source::Input if is_typed => {
            let typed = typed::secret(&format!("{name} (not shown): "));
            return typed.map_err(|problem| unread("what is typed", problem))?.ok_or_else(|| {
                no_value("nothing was typed, and nothing was written").exit(exit::INTERRUPTED)
            });
        }
        Source::Input => {
            let mut text = text_of(stdin()).map_err(|problem| unread("standard input", problem))?;
            if text.ends_with('\n') {
                text.pop();
                text.truncate(text.strip_suffix('\r').unwrap_or(&text).len());
            }
            Secret::new(text)
        }
    };
    if secret.is_empty() {
        return Err(no_value(&format!("there is no value for the field {name}"))
            .hint("type it, hand it over on standard input, or name a file: --field NAME=@FILE"));
    }
    Ok(secret)
}

/// A whole text of bounded length, in memory that need not grow.
fn text_of(from: impl Read) -> io::Result<String> {
    let most = limits::VAULT_SECRET_BYTES + 2;
    let mut text = String::with_capacity(most + 64);
    from.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_string(&mut text)?;
    Ok(text)
}

fn on_the_command_line() -> Failure {
    Failure::new("EP0907", "a value stands on the command line, where others can read it")
        .hint("type it, hand it over on standard input, or name a file: --field NAME=@FILE; see `eparch secrets put --help`")
        .exit(exit::USAGE)
}

fn no_field(why: String) -> Failure {
    Failure::new("EP0905", why)
        .hint("`eparch secrets put --help` shows how fields are given")
        .exit(exit::USAGE)
}

fn no_value(why: &str) -> Failure {
    Failure::new("EP0908", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_a_value_is_taken_from_anywhere_but_the_command_line() {
        let of =
            |word: &'static str, literal| source(word, literal).map_err(|failure| failure.code().to_owned());
        assert_eq!(of("password", false), Ok(("password", Source::Input)));
        assert_eq!(of("password=-", false), Ok(("password", Source::Input)));
        assert_eq!(of("password=@a=b", false), Ok(("password", Source::File("a=b"))));
        assert_eq!(of("password=hunter2", false), Err("EP0907".to_owned()));
        assert_eq!(of("user=ada", true), Ok(("user", Source::Literal("ada"))));
        for bad in ["", "=hunter2", "pass word", "=@file", &"a".repeat(65)] {
            let told = source(bad, true).map(drop).unwrap_err();
            assert!(told.code() == "EP0905" && !told.message().contains("hunter2"), "{bad}: {told:?}");
        }
    }
}
