//! A question to policies, put in a few words: by flags of `policy explain`, or by a case of a test file.

use clap::ValueEnum as _;
use eparch_domain::{Action, AgentId, Name, OperatorRole, Role, RunId, Tier};
use eparch_policy::{
    AgentSubject, BadResource, Circumstances, Credential, History, OperatorSubject, Owner, Request, Resource,
    ResourceKind, Subject, Target, kinds_of,
};
use serde_json::Value;

use crate::args::Scope;

/// Who asks, in a word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    Anonymous,
    Agent(Tier),
    Operator(OperatorRole),
}

impl Asker {
    /// `anonymous`, `T0` to `T4`, or a role. The bare names of tiers are none: `operator` is a role.
    pub(super) fn named(word: &str) -> Option<Asker> {
        if word == "anonymous" {
            return Some(Asker::Anonymous);
        }
        let role = word.parse().ok().map(Asker::Operator);
        role.or_else(|| Tier::ALL.into_iter().find(|tier| tier.to_string() == word).map(Asker::Agent))
    }
}

impl Scope {
    /// The scope with this name.
    pub(super) fn named(word: &str) -> Option<Scope> {
        Scope::from_str(word, false).ok()
    }
}

/// What is known when it is asked. It begins as it is for an agent at work: EXECUTE, with a plan.
#[derive(Debug, Clone)]
pub(super) struct Known {
    circumstances: Circumstances,
    credential: Credential,
    max_tier: Tier,
    project: Name,
    template: Option<Name>,
    seat: Option<Role>,
    groups: Vec<Name>,
}

/// The person that asks is called so; `requester: me` is their own request.
const ME: &str = "me";
const PROJECT: &str = "default";
const OTHER: &str = "another";

fn known_name(text: &str) -> Name {
    Name::new(text).expect("a name written here is one")
}

impl Default for Known {
    fn default() -> Self {
        let phase = eparch_domain::Phase::Execute;
        Known {
            circumstances: Circumstances { phase, planned: true, ..Circumstances::default() },
            credential: Credential::Valid,
            max_tier: Tier::T4,
            project: known_name(PROJECT),
            template: None,
            seat: None,
            groups: Vec::new(),
        }
    }
}

impl Known {
    /// What can be said.
    pub(super) const KEYS: [&str; 14] = [
        "phase",
        "planned",
        "approvals",
        "outside",
        "history",
        "spent_tokens",
        "spent_microdollars",
        "requester",
        "credential",
        "max_tier",
        "project",
        "template",
        "seat",
        "groups",
    ];

    /// Says one thing.
    ///
    /// # Errors
    ///
    /// A sentence, when there is no such thing or it cannot be this.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let now = &mut self.circumstances;
        match key {
            "phase" => now.phase = word(key, value)?,
            "planned" => now.planned = yes_or_no(key, value)?,
            "approvals" => now.approvals = number(key, value)?,
            "outside" => now.outside = yes_or_no(key, value)?,
            "history" => {
                let mut history = History::default();
                for fact in texts(key, value)? {
                    history.note_fact(fact);
                }
                now.history = history;
            }
            "spent_tokens" => now.spent_tokens = number(key, value)?,
            "spent_microdollars" => now.spent_microdollars = number(key, value)?,
            "requester" => now.requester = Some(word(key, value)?),
            "credential" => {
                self.credential = match value.as_str() {
                    Some("valid") => Credential::Valid,
                    Some("expired") => Credential::Expired,
                    Some("revoked") => Credential::Revoked,
                    _ => return Err("`credential` is valid, expired or revoked".to_owned()),
                }
            }
            "max_tier" => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.max_tier =
                    text.parse().map_err(|_| format!("`max_tier` is a tier, 0 to 4, and not {text}"))?;
            }
            "project" => self.project = word(key, value)?,
            "template" => self.template = Some(word(key, value)?),
            "seat" => self.seat = Some(word(key, value)?),
            "groups" => {
                let name = |text: &str| Name::new(text).map_err(|problem| format!("`groups`: {problem}"));
                self.groups = texts(key, value)?.into_iter().map(name).collect::<Result<_, _>>()?;
            }
            _ => {
                return Err(format!("there is no `{key}` to say; there are {}", Known::KEYS.join(", ")));
            }
        }
        Ok(())
    }
}

fn word<T: std::str::FromStr>(key: &str, value: &Value) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let text = value.as_str().ok_or_else(|| format!("`{key}` is a text"))?;
    text.parse().map_err(|problem| format!("`{key}`: {problem}"))
}

fn yes_or_no(key: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("`{key}` is true or false"))
}

fn number<T: TryFrom<u64>>(key: &str, value: &Value) -> Result<T, String> {
    let found = value.as_u64().and_then(|number| T::try_from(number).ok());
    found.ok_or_else(|| format!("`{key}` is a whole number from 0"))
}

fn texts<'v>(key: &str, value: &'v Value) -> Result<Vec<&'v str>, String> {
    let items = value.as_array().map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    items.flatten().ok_or_else(|| format!("`{key}` is a list of texts"))
}

/// The question as policies take it.
///
/// # Errors
///
/// A sentence, when the resource cannot be what it is said to be.
pub(super) fn request(
    asker: Asker,
    action: Action,
    resource: &str,
    scope: Scope,
    known: &Known,
) -> Result<Request, String> {
    let tenant = || known_name(PROJECT);
    let (mine, other) = (RunId::from_bits(1), RunId::from_bits(2));
    let project = known.project.clone();
    let (of, owner) = match scope {
        Scope::Own => (tenant(), Owner::Run { project, run: mine }),
        Scope::Project => (tenant(), Owner::Project { project }),
        Scope::Shared => (tenant(), Owner::Tenant),
        Scope::OtherProject => (tenant(), Owner::Run { project: known_name(OTHER), run: other }),
        Scope::OtherTenant => (known_name(OTHER), Owner::Tenant),
        Scope::Governance => (tenant(), Owner::Governance),
    };
    let subject = match asker {
        Asker::Anonymous => Subject::Anonymous,
        Asker::Agent(tier) => Subject::Agent(AgentSubject {
            id: AgentId::from_bits(1),
            tier,
            tenant: tenant(),
            project: known.project.clone(),
            run: mine,
            template: known.template.clone(),
            seat: known.seat,
            credential: known.credential,
        }),
        Asker::Operator(role) => Subject::Operator(OperatorSubject {
            name: known_name(ME),
            role,
            groups: known.groups.clone(),
            max_tier: known.max_tier,
            tenant: tenant(),
        }),
    };
    let resource = thing(action, resource, of, owner, scope)?;
    Ok(Request { subject, action, resource, circumstances: known.circumstances.clone() })
}

/// The resource that is meant by a text: its kind follows from the action unless the text begins with one.
fn thing(action: Action, text: &str, tenant: Name, owner: Owner, scope: Scope) -> Result<Resource, String> {
    let kinds = kinds_of(action);
    let target = Target::read(action, text);
    // What governs is meant where it is said to govern, whatever is usual.
    let governs = scope == Scope::Governance && kinds.contains(&ResourceKind::Governance);
    let governs = governs && target == Target { kind: kinds[0], name: text, tier: None };
    let kind = if governs { ResourceKind::Governance } else { target.kind };
    let name = target.name;
    let made = match kind {
        ResourceKind::Agent => {
            let tier = target.tier.ok_or_else(|| {
                format!("an agent is asked about together with its tier: {name}@T2, not {name}")
            })?;
            Resource::agent(name, tier, tenant, owner)
        }
        _ => Resource::new(kind, name, tenant, owner),
    };
    made.map_err(|problem: BadResource| format!("{:?}: {problem}", eparch_domain::harmless(text)))
}
