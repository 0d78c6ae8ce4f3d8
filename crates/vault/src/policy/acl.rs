//! Which rule of a policy counts for a path, as Vault's own documentation settles it.

use std::cmp::Ordering;

use eparch_domain::Span;

/// Something that may be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Make what is not there.
    Create,
    /// Read.
    Read,
    /// Change what is there.
    Update,
    /// Change a part of it.
    Patch,
    /// Delete.
    Delete,
    /// List what lies below.
    List,
    /// Use what only the root may otherwise.
    Sudo,
    /// Nothing, whatever another rule for the same path says.
    Deny,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Capability; 8] = [
        Capability::Create,
        Capability::Read,
        Capability::Update,
        Capability::Patch,
        Capability::Delete,
        Capability::List,
        Capability::Sudo,
        Capability::Deny,
    ];

    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Create => "create",
            Capability::Read => "read",
            Capability::Update => "update",
            Capability::Patch => "patch",
            Capability::Delete => "delete",
            Capability::List => "list",
            Capability::Sudo => "sudo",
            Capability::Deny => "deny",
        }
    }

    pub(super) fn named(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|capability| capability.name() == name)
    }
}

/// For how long what is read at a path must or may be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrapBounds {
    /// At least so long; with it, nothing is read unwrapped.
    pub least: Option<Span>,
    /// At most so long.
    pub most: Option<Span>,
}

/// One block `path "…" { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As it is written: `secret/data/inventory/*`.
    pub path: String,
    /// What may be done there; `deny` among them forbids all.
    pub capabilities: Vec<Capability>,
    /// How reading there is wrapped.
    pub wrap: Option<WrapBounds>,
    pub(super) pattern: Pattern,
}

/// A policy: what may be done at which paths. What no rule is about is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    pub(super) fn new(rules: Vec<Rule>) -> Policy {
        Policy { rules }
    }

    /// Its rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What it alone allows at a path, in order; nothing where it denies or says nothing.
    pub fn capabilities(&self, path: &str) -> Vec<Capability> {
        capabilities(&[self], path).map_or(Vec::new(), |found| found.capabilities)
    }
}

/// What counts for one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) wrap: Option<WrapBounds>,
}

/// What several policies together allow at a path; nothing when no rule is about it, or one that counts denies. The most
/// specific pattern counts, and all rules with that pattern together.
pub(crate) fn capabilities(policies: &[&Policy], path: &str) -> Option<Found> {
    let matching =
        || policies.iter().flat_map(|policy| &policy.rules).filter(|rule| rule.pattern.matches(path));
    let best = matching().map(|rule| &rule.pattern).max_by(|a, b| a.specificity(b))?;
    let mut found = Found { capabilities: Vec::new(), wrap: None };
    for rule in matching().filter(|rule| rule.pattern == *best) {
        found.capabilities.extend(&rule.capabilities);
        if let Some(wrap) = rule.wrap {
            let so_far = found.wrap.unwrap_or_default();
            // Of several, the shortest bounds count.
            let shorter = |a: Option<Span>, b: Option<Span>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let (least, most) = (shorter(so_far.least, wrap.least), shorter(so_far.most, wrap.most));
            found.wrap = Some(WrapBounds { least, most });
        }
    }
    found.capabilities.sort_unstable();
    found.capabilities.dedup();
    (!found.capabilities.contains(&Capability::Deny)).then_some(found)
}

/// A path in which `+` stands for one part, and `*` at the end for any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    is_prefix: bool,
}

impl Pattern {
    pub(super) fn new(path: &str) -> Result<Pattern, &'static str> {
        if path.is_empty() || path.starts_with('/') {
            return Err("a path is not empty, and begins with no `/`");
        }
        if path.contains("{{") {
            return Err("what a path is filled in with is not read here");
        }
        let (text, is_prefix) = path.strip_suffix('*').map_or((path, false), |text| (text, true));
        if text.contains('*') {
            return Err("`*` stands at the end of a path only");
        }
        if text.split('/').any(|part| part != "+" && part.contains('+')) {
            return Err("`+` stands for one whole part of a path");
        }
        Ok(Pattern { text: text.to_owned(), is_prefix })
    }

    fn matches(&self, path: &str) -> bool {
        if !self.text.contains('+') {
            return if self.is_prefix { path.starts_with(&self.text) } else { path == self.text };
        }
        let (mut parts, mut given) = (self.text.split('/').peekable(), path.split('/'));
        while let Some(part) = parts.next() {
            let Some(found) = given.next() else { return false };
            let is_last = parts.peek().is_none();
            let fits = match part {
                "+" => true,
                _ if is_last && self.is_prefix => found.starts_with(part),
                _ => found == part,
            };
            if !fits {
                return false;
            }
        }
        self.is_prefix || given.next().is_none()
    }

    /// Which of two patterns that match the same path counts: an exact one; else the one whose first `+` or `*` comes
    /// later; else the one without `*` at its end; else the one with fewer `+`; else the longer one; else the one that
    /// comes later in the alphabet.
    fn specificity(&self, other: &Pattern) -> Ordering {
        let wild = |pattern: &Pattern| match pattern.text.find('+') {
            Some(at) => at,
            None if pattern.is_prefix => pattern.text.len(),
            None => usize::MAX,
        };
        let pluses = |pattern: &Pattern| pattern.text.matches('+').count();
        wild(self)
            .cmp(&wild(other))
            .then_with(|| other.is_prefix.cmp(&self.is_prefix))
            .then_with(|| pluses(other).cmp(&pluses(self)))
            .then_with(|| self.text.len().cmp(&other.text.len()))
            .then_with(|| self.text.cmp(&other.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[(&str, &[Capability])], path: &str) -> Option<Vec<Capability>> {
        let text: String = rules
            .iter()
            .map(|(path, capabilities)| {
                let names: Vec<String> =
                    capabilities.iter().map(|capability| format!("\"{}\"", capability.name())).collect();
                format!("path \"{path}\" {{\n capabilities = [{}]\n}}\n", names.join(", "))
            })
            .collect();
        capabilities(&[&Policy::parse(&text).unwrap()], path).map(|found| found.capabilities)
    }

    const R: &[Capability] = &[Capability::Read];
    const L: &[Capability] = &[Capability::List];

    #[test]
    fn g4_what_no_rule_is_about_is_denied() {
        assert_eq!(allowed(&[], "a"), None);
        assert_eq!(allowed(&[("a", R)], "ab"), None);
        assert_eq!(allowed(&[("a/*", R)], "a"), None);
        assert_eq!(allowed(&[("a/+", R)], "a/b/c"), None);
        assert_eq!(allowed(&[("a/+/c", R)], "a/b/d"), None);
        assert_eq!(allowed(&[("a/+/c", R)], "a/b"), None);
    }

    #[test]
    fn the_most_specific_pattern_counts() {
        type Rules<'a> = &'a [(&'a str, &'a [Capability])];
        let cases: [(Rules<'_>, &str); 7] = [
            (&[("a/*", L), ("a/b", R)], "a/b"),
            (&[("a/*", L), ("a/b*", R)], "a/bc"),
            (&[("+/b", L), ("a/+", R)], "a/b"),
            (&[("a/+/*", L), ("a/+/c", R)], "a/b/c"),
            (&[("a/+/+", L), ("a/+/c", R)], "a/b/c"),
            (&[("a/+/c*", L), ("a/+/cd*", R)], "a/b/cde"),
            (&[("*", L), ("a*", R)], "a"),
        ];
        for (rules, path) in cases {
            assert_eq!(allowed(rules, path).as_deref(), Some(R), "{rules:?} {path}");
            let reversed: Vec<_> = rules.iter().rev().copied().collect();
            assert_eq!(allowed(&reversed, path).as_deref(), Some(R), "{reversed:?} {path}");
        }
    }

    #[test]
    fn a_denial_wins_over_what_is_allowed_at_the_same_path_only() {
        let deny: &[Capability] = &[Capability::Read, Capability::Deny];
        assert_eq!(allowed(&[("a/*", deny)], "a/b"), None);
        assert_eq!(allowed(&[("a/*", deny), ("a/b", R)], "a/b").as_deref(), Some(R));
        let (one, two) =
            ("path \"a\" {\n capabilities = [\"read\"]\n}", "path \"a\" {\n capabilities = [\"deny\"]\n}");
        let (one, two) = (Policy::parse(one).unwrap(), Policy::parse(two).unwrap());
        assert_eq!(capabilities(&[&one, &two], "a"), None);
        assert!(capabilities(&[&one], "a").is_some());
    }
}
