//! What every command knows: where the home is, who acts, how answers are written.

use std::path::{Path, PathBuf};

use eparch_daemon::{Home, Settings, TENANT};
use eparch_domain::Name;
use serde::Serialize;

use crate::args::{Format, Global};
use crate::failure::{Failure, exit};
use crate::output::{errln, outln};
use crate::paint;

/// The global options, and what follows from them.
#[derive(Debug)]
pub(crate) struct Context {
    global: Global,
}

impl Context {
    pub(crate) fn new(global: Global) -> Context {
        paint::settle(global.color);
        Context { global }
    }

    /// Whether answers are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.global.format == Format::Json
    }

    /// The format that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.global.format
    }

    /// Refuses the formats that only one command has.
    pub(crate) fn check_format(&self, own: &[Format]) -> Result<(), Failure> {
        let format = self.global.format;
        if matches!(format, Format::Text | Format::Json) || own.contains(&format) {
            return Ok(());
        }
        Err(Failure::new(
            "EP0701",
            format!("this command does not write {}", format!("{format:?}").to_lowercase()),
        )
        .hint("--format is text or json here")
        .exit(exit::USAGE))
    }

    /// Refuses a tenant or a project that a home of this build cannot have: acting on another one than was meant would be
    /// worse than not acting.
    pub(crate) fn check_tenant(&self) -> Result<(), Failure> {
        let other = |name: &&Name| name.as_str() != TENANT;
        let tenant = self.global.tenant.as_ref().filter(other).map(|name| ("tenant", name));
        let project = self.global.project.as_ref().filter(other).map(|name| ("project", name));
        match tenant.or(project) {
            None => Ok(()),
            Some((what, name)) => Err(Failure::new(
                "EP0708",
                format!("there is no {what} {name}: this build has one, `{TENANT}`"),
            )
            .hint(format!("leave --{what} out; a home with --home DIR keeps things apart today"))
            .exit(exit::UNAVAILABLE)),
        }
    }

    /// Whether progress is told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// Whether everything is told.
    pub(crate) fn is_verbose(&self) -> bool {
        self.global.verbose
    }

    /// Where the home is, or would be.
    pub(crate) fn home_root(&self) -> PathBuf {
        Home::locate(self.global.home.clone(), |key| std::env::var(key).ok())
    }

    /// Whether a home was named, rather than found.
    pub(crate) fn names_home(&self) -> bool {
        self.global.home.is_some()
    }

    /// The home, which must be there.
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        Ok(Home::open(&self.home_root())?)
    }

    /// The home for commands that only read what was written down, which needs none of its keys.
    pub(crate) fn home_at_rest(&self) -> Result<Home, Failure> {
        Ok(Home::at_rest(&self.home_root())?)
    }

    /// The settings file that was named.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.global.config.as_deref()
    }

    /// The settings in force.
    pub(crate) fn settings(&self, home: &Path) -> Result<Settings, Failure> {
        Ok(Settings::load(self.config_file(), home, |key| std::env::var(key).ok())?)
    }

    /// Who was named with `--as`.
    pub(crate) fn named_operator(&self) -> Option<&Name> {
        self.global.as_operator.as_ref()
    }

    /// Who acts: the operator of `--as`, else the home's owner.
    pub(crate) fn operator(&self, home: &Home) -> Result<Name, Failure> {
        match &self.global.as_operator {
            Some(name) => Ok(name.clone()),
            None => Ok(home.owner()?),
        }
    }

    /// Says that something was decided, although it cannot be shown.
    pub(crate) fn say_unseen(&self, why: &str) {
        let why = paint::harmless(why);
        self.say(&format!(
            "It is decided; what it is like now cannot be shown: {why}\n  `eparch ledger rebuild-views` makes the read models anew"
        ));
    }

    /// Says something beside the answer, on standard error.
    pub(crate) fn say(&self, text: &str) {
        if !self.global.quiet {
            errln!("{text}");
        }
    }
}

/// Prints a JSON document, readable by people as well.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|problem| Failure::new("EP0706", format!("cannot write the answer as JSON: {problem}")))?;
    outln!("{}", escaped(&text));
    Ok(())
}

/// A value as one line of JSON that does nothing to a terminal.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    escaped(&serde_json::to_string(value).expect("an answer is plain data"))
}

/// The same JSON with the control characters escaped that JSON leaves as they are and terminals obey (U+007F to U+009F).
pub(crate) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_terminals_obey_is_escaped_and_stays_the_same_json() {
        let value = serde_json::json!("a\u{9b}31m\u{7f}ü\n");
        let text = escaped(&value.to_string());
        assert_eq!(text, "\"a\\u009b31m\\u007fü\\n\"");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
