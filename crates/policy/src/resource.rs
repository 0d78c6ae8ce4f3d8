//! What is asked about.

use eparch_domain::{Action, Name, RunId, Tier, limits};

/// Something that can be asked about. Its name is checked and brought into one form when it is made, so that one thing has
/// one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    kind: ResourceKind,
    name: String,
    tier: Option<Tier>,
    tenant: Name,
    owner: Owner,
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A file or folder, relative to the project or absolute.
    Path,
    /// A machine.
    Host,
    /// A secret of the vault, by its path.
    Secret,
    /// A tool, `server/tool`.
    Tool,
    /// A model, `provider/model`.
    Model,
    /// An agent.
    Agent,
    /// A run, as something that is planned, reviewed, read about, stopped.
    Work,
    /// An agent template.
    Template,
    /// A lock.
    Lock,
    /// A gate.
    Gate,
    /// A part of what governs: `policy`, `tiers`, `budget`, `ledger`, `vault-root`.
    Governance,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [ResourceKind; 11] = [
        ResourceKind::Path,
        ResourceKind::Host,
        ResourceKind::Secret,
        ResourceKind::Tool,
        ResourceKind::Model,
        ResourceKind::Agent,
        ResourceKind::Work,
        ResourceKind::Template,
        ResourceKind::Lock,
        ResourceKind::Gate,
        ResourceKind::Governance,
    ];

    /// The name in messages, test files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ResourceKind::Path => "path",
            ResourceKind::Host => "host",
            ResourceKind::Secret => "secret",
            ResourceKind::Tool => "tool",
            ResourceKind::Model => "model",
            ResourceKind::Agent => "agent",
            ResourceKind::Work => "work",
            ResourceKind::Template => "template",
            ResourceKind::Lock => "lock",
            ResourceKind::Gate => "gate",
            ResourceKind::Governance => "governance",
        }
    }
}

/// Whose a thing is, within its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A run's.
    Run {
        /// The run's project.
        project: Name,
        /// The run.
        run: RunId,
    },
    /// A project's, and no run's alone.
    Project {
        /// The project.
        project: Name,
    },
    /// Shared by all of the tenant's projects.
    Tenant,
    /// It governs: no project's, and out of agents' reach.
    Governance,
}

/// Why something cannot be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadResource {
    /// No name at all.
    #[error("a resource's name cannot be empty")]
    Empty,
    /// More than [`limits::RESOURCE_BYTES`].
    #[error("a resource's name has at most {} bytes", limits::RESOURCE_BYTES)]
    TooLong,
    /// More than [`limits::RESOURCE_PARTS`] parts.
    #[error("a resource's name has at most {} parts", limits::RESOURCE_PARTS)]
    TooManyParts,
    /// `..`, `.` or nothing between two slashes.
    #[error(
        "`.`, `..` and empty parts cannot stand in a resource's name; write it as it is, without detours"
    )]
    Detour,
    /// A character that is no text, or that the kind does not allow.
    #[error("{} cannot stand in the name of a {kind}", named(*found))]
    Character {
        /// The character.
        found: char,
        /// The kind.
        kind: &'static str,
    },
    /// An agent without a tier.
    #[error("an agent is asked about together with its tier, as in worker@T2")]
    NoTier,
}

/// A character as it can be told: one that nobody sees by its number.
fn named(letter: char) -> String {
    match eparch_domain::is_unseen(letter) {
        true => format!("U+{:04X}, which nobody sees for what it is,", u32::from(letter)),
        false => format!("{letter:?}"),
    }
}

impl Resource {
    /// Something other than an agent.
    ///
    /// # Errors
    ///
    /// When the name cannot be that of such a thing ([`BadResource`]).
    pub fn new(kind: ResourceKind, name: &str, tenant: Name, owner: Owner) -> Result<Resource, BadResource> {
        if kind == ResourceKind::Agent {
            return Err(BadResource::NoTier);
        }
        Ok(Resource { kind, name: canonical(kind, name)?, tier: None, tenant, owner })
    }

    /// An agent with its tier: the one it has, or for `spawn_agent` and `promote` the one it would have.
    ///
    /// # Errors
    ///
    /// When the name cannot be an agent's ([`BadResource`]).
    pub fn agent(name: &str, tier: Tier, tenant: Name, owner: Owner) -> Result<Resource, BadResource> {
        let kind = ResourceKind::Agent;
        Ok(Resource { kind, name: canonical(kind, name)?, tier: Some(tier), tenant, owner })
    }

    /// The same under another name.
    pub(crate) fn renamed(&self, name: &str) -> Result<Resource, BadResource> {
        Ok(Resource { name: canonical(self.kind, name)?, ..self.clone() })
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its name, in its one form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    pub fn tenant(&self) -> &Name {
        &self.tenant
    }

    /// Whose it is within the tenant.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// An agent's tier.
    pub fn tier(&self) -> Option<Tier> {
        self.tier
    }

    /// What it lies in by its name, nearest first: the folders of a path, `staging-*` of `staging-3`.
    pub(crate) fn groups(&self) -> Groups<'_> {
        Groups { kind: self.kind, rest: &self.name }
    }
}

/// The kinds of things an action can be done to, the usual one first.
pub fn kinds_of(action: Action) -> &'static [ResourceKind] {
    match action {
        Action::LlmChat => &[ResourceKind::Model],
        Action::CallTool => &[ResourceKind::Tool],
        Action::ReadFile | Action::ListDirectory | Action::SearchCode | Action::WriteFile => {
            &[ResourceKind::Path]
        }
        Action::GeneratePlan | Action::ReadLedger => &[ResourceKind::Work, ResourceKind::Governance],
        Action::RequestReview | Action::AcceptPartial => &[ResourceKind::Work],
        Action::ExecuteCommand
        | Action::AnsibleCheck
        | Action::AnsibleRun
        | Action::TerraformPlan
        | Action::TerraformApply
        | Action::DockerRun
        | Action::DeleteProduction => &[ResourceKind::Host],
        Action::AccessVaultRoot | Action::ModifyGovernance => &[ResourceKind::Governance],
        Action::SpawnAgent | Action::Promote => &[ResourceKind::Agent],
        Action::AcquireLock => &[ResourceKind::Lock],
        Action::ReadSecret => &[ResourceKind::Secret],
        Action::Approve => &[ResourceKind::Gate],
        Action::Revoke => &[ResourceKind::Agent, ResourceKind::Work],
        Action::PublishTemplate => &[ResourceKind::Template],
    }
}

/// What is meant by the text of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'t> {
    /// What kind of thing it is.
    pub kind: ResourceKind,
    /// What it is called.
    pub name: &'t str,
    /// An agent's tier, where one was said.
    pub tier: Option<Tier>,
}

impl<'t> Target<'t> {
    /// Reads a target. Of an action that is done to several kinds of things, the usual one is meant unless the text begins with
    /// another: `governance:policy`, `work:run-1`. An agent may have its tier behind it: `worker@T2`.
    pub fn read(action: Action, text: &'t str) -> Target<'t> {
        let kinds = kinds_of(action);
        let usual = kinds.first().copied().unwrap_or(ResourceKind::Governance);
        let named = |word: &str| kinds.iter().copied().find(|kind| kind.as_str() == word);
        let said = text.split_once(':').and_then(|(word, rest)| Some((named(word)?, rest)));
        // Where one kind alone fits, `path:x` is a file of that name.
        let (kind, name) = said.filter(|_| kinds.len() > 1).unwrap_or((usual, text));
        let tiered = |text: &'t str| {
            let (name, tier) = text.rsplit_once('@')?;
            Some((name, Tier::ALL.into_iter().find(|known| known.to_string() == tier)?))
        };
        match (kind == ResourceKind::Agent).then(|| tiered(name)).flatten() {
            Some((name, tier)) => Target { kind, name, tier: Some(tier) },
            None => Target { kind, name, tier: None },
        }
    }
}

/// The form in which policies know what an action is done to; what is compared or counted has to be in this form as well.
///
/// # Errors
///
/// A name that there cannot be.
pub fn one_form(action: Action, target: &str) -> Result<String, BadResource> {
    let Target { kind, name, tier } = Target::read(action, target);
    let name = canonical(kind, name)?;
    let usual = kinds_of(action).first() == Some(&kind);
    let kind = if usual { String::new() } else { format!("{}:", kind.as_str()) };
    Ok(match tier {
        Some(tier) => format!("{kind}{name}@{tier}"),
        None => format!("{kind}{name}"),
    })
}

/// The one form of a name: hosts in small letters, no slash at the end.
pub(crate) fn canonical(kind: ResourceKind, name: &str) -> Result<String, BadResource> {
    if name.len() > limits::RESOURCE_BYTES {
        return Err(BadResource::TooLong);
    }
    let host = kind == ResourceKind::Host;
    let fits = |c: char| match host {
        true => c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'),
        // What differs in what nobody sees is one thing to people, and another to policy.
        false => !eparch_domain::is_unseen(c),
    };
    if let Some(found) = name.chars().find(|c| !fits(*c)) {
        return Err(BadResource::Character { found, kind: kind.as_str() });
    }
    if host {
        // A name with a dot at its end is the same host.
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        return match (name.is_empty(), name.matches('-').count() < limits::RESOURCE_PARTS) {
            (true, _) => Err(BadResource::Empty),
            (false, false) => Err(BadResource::TooManyParts),
            (false, true) => Ok(name),
        };
    }
    if name == "/" && kind == ResourceKind::Path {
        return Ok(name.to_owned());
    }
    let body = name.strip_prefix('/').unwrap_or(name);
    let body = body.strip_suffix('/').unwrap_or(body);
    if body.is_empty() {
        return Err(BadResource::Empty);
    }
    // The project's own folder is `.`, and nothing else is.
    let alone = body == "." && !name.starts_with('/');
    if !alone && body.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(BadResource::Detour);
    }
    if body.split('/').count() > limits::RESOURCE_PARTS {
        return Err(BadResource::TooManyParts);
    }
    let absolute = if name.starts_with('/') { "/" } else { "" };
    Ok(format!("{absolute}{body}"))
}

/// What a name lies in, nearest first.
#[derive(Debug, Clone)]
pub(crate) struct Groups<'n> {
    kind: ResourceKind,
    rest: &'n str,
}

impl<'n> Iterator for Groups<'n> {
    /// What comes before the `*` of a group of hosts, or a whole name.
    type Item = &'n str;

    fn next(&mut self) -> Option<&'n str> {
        let by = match self.kind {
            ResourceKind::Host => '-',
            ResourceKind::Path
            | ResourceKind::Secret
            | ResourceKind::Tool
            | ResourceKind::Model
            | ResourceKind::Template
            | ResourceKind::Lock => '/',
            ResourceKind::Agent | ResourceKind::Work | ResourceKind::Gate | ResourceKind::Governance => {
                return None;
            }
        };
        let at = self.rest.rfind(by)?;
        let group = match (by, at) {
            // `staging-`, of which `staging-*` is made; what is left is `staging`.
            ('-', at) => &self.rest[..=at],
            // The root of all absolute paths.
            (_, 0) if self.rest.len() > 1 => &self.rest[..1],
            (_, 0) => return None,
            (_, at) => &self.rest[..at],
        };
        self.rest = if by == '-' { &self.rest[..at] } else { group };
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: ResourceKind, name: &str) -> Result<String, BadResource> {
        let tenant = Name::new("acme").expect("a name");
        Resource::new(kind, name, tenant, Owner::Tenant).map(|made| made.name)
    }

    fn groups(kind: ResourceKind, name: &str) -> Vec<String> {
        let tenant = Name::new("acme").expect("a name");
        let made = Resource::new(kind, name, tenant, Owner::Tenant).expect("a resource");
        made.groups().map(str::to_owned).collect()
    }

    #[test]
    fn one_thing_has_one_name() {
        assert_eq!(made(ResourceKind::Path, "docs/"), Ok("docs".to_owned()));
        assert_eq!(made(ResourceKind::Path, "."), Ok(".".to_owned()));
        assert_eq!(made(ResourceKind::Path, "/"), Ok("/".to_owned()));
        assert_eq!(made(ResourceKind::Host, "PROD-1."), Ok("prod-1".to_owned()));
        for detour in ["docs/../.ssh", "./docs", "docs//x", "..", "/..", "a/./b", "//etc/shadow", "a//"] {
            assert_eq!(made(ResourceKind::Path, detour), Err(BadResource::Detour), "{detour}");
        }
        for empty in ["", "//"] {
            assert!(made(ResourceKind::Path, empty).is_err(), "{empty}");
        }
        // A letter that only looks like another must not make another host of it.
        assert!(matches!(made(ResourceKind::Host, "prоd-1"), Err(BadResource::Character { .. })));
        assert!(matches!(made(ResourceKind::Path, "a\u{202e}b"), Err(BadResource::Character { .. })));
        assert_eq!(made(ResourceKind::Agent, "x"), Err(BadResource::NoTier));
        assert_eq!(made(ResourceKind::Path, &"a/".repeat(65)), Err(BadResource::TooManyParts));
        assert_eq!(made(ResourceKind::Host, &"a-".repeat(64)), Err(BadResource::TooManyParts));
        assert_eq!(made(ResourceKind::Path, &"a".repeat(4_097)), Err(BadResource::TooLong));
    }

    #[test]
    fn a_target_says_its_kind_and_its_tier() {
        let read = |action, text| {
            let Target { kind, name, tier } = Target::read(action, text);
            (kind, name.to_owned(), tier)
        };
        let (agent, work, governs) = (ResourceKind::Agent, ResourceKind::Work, ResourceKind::Governance);
        let named = |kind, name: &str| (kind, name.to_owned(), None);
        assert_eq!(read(Action::GeneratePlan, "."), named(work, "."));
        assert_eq!(read(Action::GeneratePlan, "governance:policy"), named(governs, "policy"));
        assert_eq!(read(Action::GeneratePlan, "policy"), named(work, "policy"));
        assert_eq!(read(Action::GeneratePlan, "path:docs"), named(work, "path:docs"));
        assert_eq!(read(Action::Revoke, "work:run_1"), named(work, "run_1"));
        assert_eq!(read(Action::ReadFile, "path:docs"), named(ResourceKind::Path, "path:docs"));
        assert_eq!(read(Action::ExecuteCommand, "host:22"), named(ResourceKind::Host, "host:22"));
        assert_eq!(read(Action::SpawnAgent, "worker@T2"), (agent, "worker".to_owned(), Some(Tier::T2)));
        assert_eq!(read(Action::Revoke, "agent:a@b@T0"), (agent, "a@b".to_owned(), Some(Tier::T0)));
        assert_eq!(read(Action::SpawnAgent, "worker@T9"), named(agent, "worker@T9"));
        assert_eq!(read(Action::ReadFile, "worker@T2"), named(ResourceKind::Path, "worker@T2"));
        // One thing has one name, however it is said.
        for (action, text, form) in [
            (Action::GeneratePlan, "work:./", None),
            (Action::GeneratePlan, "work:run_1/", Some("run_1")),
            (Action::GeneratePlan, "governance:policy/", Some("governance:policy")),
            (Action::SpawnAgent, "worker/@T2", Some("worker@T2")),
        ] {
            assert_eq!(one_form(action, text).ok().as_deref(), form.or(Some(".")), "{text}");
        }
    }

    #[test]
    fn a_name_lies_in_what_it_begins_with() {
        assert_eq!(groups(ResourceKind::Path, "docs/api/x.md"), ["docs/api", "docs"]);
        assert_eq!(groups(ResourceKind::Path, "/etc/ssl/x"), ["/etc/ssl", "/etc", "/"]);
        assert_eq!(groups(ResourceKind::Path, "/"), Vec::<String>::new());
        assert_eq!(groups(ResourceKind::Host, "staging-db-1"), ["staging-db-", "staging-"]);
        assert_eq!(groups(ResourceKind::Host, "localhost"), Vec::<String>::new());
        assert_eq!(groups(ResourceKind::Model, "anthropic/claude-x"), ["anthropic"]);
        assert_eq!(groups(ResourceKind::Gate, "a/b"), Vec::<String>::new());
    }
}
