//! Policies and requests that nobody would think of.

use eparch_domain::{Action, AgentId, OperatorRole, Phase, Role, Tier};
use eparch_policy::{
    AgentSubject, Circumstances, Credential, History, OperatorSubject, Owner, Request, Resource,
    ResourceKind, Subject, kinds_of,
};

use crate::common::{TENANT, name, run};
use crate::dice::Dice;

const PROJECTS: [&str; 3] = ["web", "billing", "infra"];
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

pub(crate) fn names_of(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::Path => &[
            "docs/api/x.md",
            "docs/api",
            "docs",
            "src/main.rs",
            "src/a/b/c/d/e.rs",
            "/etc/shadow",
            "/etc",
            "/",
            ".",
            "inventory/hosts",
        ],
        ResourceKind::Host => &[
            "localhost",
            "sandbox-1",
            "staging-db-1",
            "staging-web-eu-1",
            "prod-1",
            "prod-db-eu-2",
            "-odd--",
        ],
        ResourceKind::Secret => &["inventory/hosts", "inventory", "prod/db/password", "api-keys/openrouter"],
        ResourceKind::Tool => &["github/create_issue", "github/search", "shell", "files/read"],
        ResourceKind::Model => &["anthropic/claude-sonnet-4", "openai/gpt-x", "local"],
        ResourceKind::Agent => &["agt_one", "agt_two"],
        ResourceKind::Template => &["default", "terraform", "team/terraform"],
        ResourceKind::Lock => &["deploy", "deploy/eu"],
        ResourceKind::Work | ResourceKind::Gate => &["run_one", "run_two"],
        ResourceKind::Governance => &["policy", "tiers", "ledger", "vault-root"],
    }
}

/// A policy in text, and what is to be known of it.
#[derive(Clone)]
pub(crate) struct Generated {
    pub(crate) id: String,
    pub(crate) text: String,
    /// What it says when it applies: deny, ask, modify or allow, by weight.
    pub(crate) says: &'static str,
    pub(crate) shadow: bool,
}

/// A policy that fits the schema and can apply to something.
pub(crate) fn policy(dice: &mut Dice, number: usize) -> Generated {
    // So that ids are not in the order in which policies are made.
    let id = format!("p{:x}-{number}", dice.below(1 << 16));
    let action = dice.of(Action::ALL);
    let kind = dice.of(kinds_of(action));
    let (principal, asker) = principal(dice);
    let action_scope = action_scope(dice, action);
    // Only an action that is named makes sure of which type the resource is.
    let narrow = action_scope.starts_with("action ==");
    let (resource, is_kind) = resource_scope(dice, kind, narrow);
    let mut conditions = String::new();
    for _ in 0..dice.below(3) {
        let word = if dice.once_in(3) { "unless" } else { "when" };
        let plain = condition(dice, asker, is_kind.then_some(kind));
        let condition = if number % 3 == 1 { escaped(number, &plain) } else { plain };
        conditions.push_str(&format!("\n{word} {{ {condition} }}"));
    }
    let shadow = dice.once_in(8);
    let (effect, says, verdict) = match dice.below(8) {
        0..3 => ("forbid", "deny", ""),
        3 => ("permit", "ask", "@verdict(\"ask\")\n"),
        4 => ("permit", "modify", "@verdict(\"modify\")\n@change(\"wrap\")\n"),
        _ => ("permit", "allow", ""),
    };
    let watched = if shadow { "@shadow\n" } else { "" };
    let text = format!(
        "@id(\"{id}\")\n@reason(\"r_{number}\")\n{verdict}{watched}{effect} ({principal}, {action_scope}, {resource}){conditions};\n"
    );
    Generated { id, text, says, shadow }
}

/// Which kind of principal a scope leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Any,
    Agent,
    Operator,
}

fn principal(dice: &mut Dice) -> (String, Asker) {
    let tier = dice.of(&Tier::ALL);
    match dice.below(13) {
        0..2 => ("principal".to_owned(), Asker::Any),
        2..5 => (format!("principal in Tier::\"{tier}\""), Asker::Agent),
        5 => (format!("principal is Agent in Project::\"{}\"", dice.of(&PROJECTS)), Asker::Agent),
        6 => ("principal is Agent".to_owned(), Asker::Agent),
        7 => ("principal is Operator".to_owned(), Asker::Operator),
        8 => (format!("principal in Role::\"{}\"", dice.of(&OperatorRole::ALL).as_str()), Asker::Operator),
        9 => (format!("principal in Tenant::\"{}\"", dice.of(&[TENANT, "globex"])), Asker::Any),
        10 => (format!("principal == Operator::\"{}\"", dice.of(&PEOPLE)), Asker::Operator),
        11 => (format!("principal in Seat::\"{}\"", dice.of(Role::ALL)), Asker::Agent),
        _ => (
            format!("principal in MadeFrom::\"{}\"", dice.of(names_of(ResourceKind::Template))),
            Asker::Agent,
        ),
    }
}

fn action_scope(dice: &mut Dice, action: Action) -> String {
    let other = dice.of(Action::ALL);
    match dice.below(6) {
        0 => "action".to_owned(),
        1 => format!("action in [Action::\"{action}\", Action::\"{other}\"]"),
        2 => {
            let look = matches!(action, Action::ReadFile | Action::ListDirectory | Action::SearchCode);
            let host = kinds_of(action) == [ResourceKind::Host] && action != Action::DeleteProduction;
            match (look, host) {
                (true, _) => "action in Action::\"look\"".to_owned(),
                (_, true) => {
                    format!("action in Action::\"{}\"", dice.of(&["work_on_host", "effect", "send"]))
                }
                _ => format!("action == Action::\"{action}\""),
            }
        }
        _ => format!("action == Action::\"{action}\""),
    }
}

/// A scope that fits a kind, and whether it leaves no other kind.
fn resource_scope(dice: &mut Dice, kind: ResourceKind, narrow: bool) -> (String, bool) {
    let group = |dice: &mut Dice| {
        let name = dice.of(names_of(kind));
        match kind {
            ResourceKind::Host => match name.find('-') {
                Some(at) => format!("{}-*", &name[..at]),
                None => name.to_owned(),
            },
            _ => name.rfind('/').filter(|at| *at > 0).map_or(name, |at| &name[..at]).to_owned(),
        }
    };
    let only = narrow && !matches!(kind, ResourceKind::Work | ResourceKind::Governance | ResourceKind::Agent);
    let has_groups = !matches!(
        kind,
        ResourceKind::Work | ResourceKind::Gate | ResourceKind::Governance | ResourceKind::Agent
    );
    let scope = dice.of(&["own", "project", "tenant", "governance"]);
    match dice.below(9) {
        0 => ("resource".to_owned(), only),
        1 => (format!("resource is {kind:?}"), true),
        2 => (format!("resource is {kind:?} in Scope::\"{scope}\""), true),
        3 => (format!("resource in Project::\"{}\"", dice.of(&PROJECTS)), only),
        4 => (format!("resource == {kind:?}::\"{}\"", dice.of(names_of(kind))), true),
        5..7 if has_groups => (format!("resource in {kind:?}::\"{}\"", group(dice)), true),
        7 if has_groups => (format!("resource is {kind:?} in {kind:?}::\"{}\"", group(dice)), true),
        _ => (format!("resource in Scope::\"{scope}\""), only),
    }
}

fn condition(dice: &mut Dice, asker: Asker, kind: Option<ResourceKind>) -> String {
    let phase = dice.of(Phase::ALL);
    let number = dice.below(4);
    match dice.below(16) {
        0 => format!("context.phase == Phase::\"{phase}\""),
        1 => "context.planned".to_owned(),
        2 => format!("context.approvals >= {number}"),
        3 => "context.outside && context.history.contains(\"read_secret\")".to_owned(),
        4 => "context.history.containsAny([\"write_file\", \"read_secret:inventory/hosts\"])".to_owned(),
        5 => "context has requester && context.requester like \"a*\"".to_owned(),
        // An error where the number is two or more.
        6 => "context.approvals * 9223372036854775807 > 0".to_owned(),
        7 => format!("context.spent_tokens < {}", number * 1_000),
        8 => "resource in principal.tenant".to_owned(),
        9 => "resource in Scope::\"project\"".to_owned(),
        10 if asker == Asker::Agent => format!("principal.level >= {number}"),
        10 if asker == Asker::Operator => format!("principal.max_level > {number}"),
        11 if asker == Asker::Agent => "principal has project && resource in principal.project".to_owned(),
        11 if asker == Asker::Operator => {
            "context has requester && context.requester == principal.name".to_owned()
        }
        12 if asker == Asker::Agent => format!("principal.tier == Tier::\"{}\"", dice.of(&Tier::ALL)),
        12 if asker == Asker::Operator => "principal.role == Role::\"admin\"".to_owned(),
        // Another error.
        13 if kind == Some(ResourceKind::Agent) => "resource.level + 9223372036854775805 > 0".to_owned(),
        13..15 if kind.is_some() => "resource.name like \"*e*\"".to_owned(),
        15 if kind == Some(ResourceKind::Path) => {
            "resource in Path::\"docs\" || resource in Path::\"/\"".to_owned()
        }
        _ => "principal in Tenant::\"acme\"".to_owned(),
    }
}

/// The same condition with attributes named by a text in which letters are escaped: `resource["n\u{61}me"]`.
fn escaped(number: usize, condition: &str) -> String {
    let mut left = condition;
    let mut made = String::new();
    let of = ["principal.", "resource.", "context."];
    while let Some((at, of)) = of.iter().filter_map(|of| Some((left.find(of)?, of))).min() {
        let begins = at + of.len();
        let ends = left[begins..].find(|c: char| !c.is_ascii_lowercase() && c != '_');
        let (before, name) =
            (&left[..begins - 1], &left[begins..ends.map_or(left.len(), |end| begins + end)]);
        let which = number % name.len();
        made.push_str(before);
        made.push_str("[\"");
        for (at, letter) in name.chars().enumerate() {
            match at == which {
                true => made.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
                false => made.push(letter),
            }
        }
        made.push_str("\"]");
        left = &left[begins + name.len()..];
    }
    made + left
}

/// A request whose subject is who they say and whose resource is of their tenant.
pub(crate) fn request(dice: &mut Dice) -> Request {
    let action = dice.of(Action::ALL);
    let kind = dice.of(kinds_of(action));
    let project = || name(PROJECTS[0]);
    let other = name(dice.of(&PROJECTS));
    let owner = match dice.below(6) {
        0 => Owner::Governance,
        1 => Owner::Tenant,
        2 => Owner::Project { project: other },
        3 => Owner::Run { project: other, run: run(2) },
        _ => Owner::Run { project: project(), run: run(1) },
    };
    let tier = dice.of(&Tier::ALL);
    let made = match kind {
        ResourceKind::Agent => Resource::agent(dice.of(names_of(kind)), tier, name(TENANT), owner),
        _ => Resource::new(kind, dice.of(names_of(kind)), name(TENANT), owner),
    };
    let mut history = History::default();
    for _ in 0..dice.below(4) {
        history.note(dice.of(Action::ALL), dice.of(names_of(kind)));
    }
    if dice.once_in(3) {
        history.note(Action::ReadSecret, "inventory/hosts");
    }
    let requester = name(dice.of(&PEOPLE));
    Request {
        subject: subject(dice),
        action,
        resource: made.expect("a resource"),
        circumstances: Circumstances {
            phase: dice.of(Phase::ALL),
            planned: dice.once_in(2),
            approvals: u32::try_from(dice.below(4)).expect("small"),
            outside: dice.once_in(2),
            history,
            spent_tokens: dice.next() % 4_000,
            spent_microdollars: if dice.once_in(9) { u64::MAX } else { dice.next() % 100 },
            requester: dice.once_in(2).then_some(requester),
        },
    }
}

fn subject(dice: &mut Dice) -> Subject {
    let template = name(dice.of(&["default", "terraform"]));
    if dice.once_in(4) {
        return Subject::Operator(OperatorSubject {
            name: name(dice.of(&PEOPLE)),
            role: dice.of(&OperatorRole::ALL),
            groups: if dice.once_in(2) { vec![name("leads"), name("ops")] } else { Vec::new() },
            max_tier: dice.of(&Tier::ALL),
            tenant: name(TENANT),
        });
    }
    Subject::Agent(AgentSubject {
        id: AgentId::from_bits(u128::from(dice.next() % 3)),
        tier: dice.of(&Tier::ALL),
        tenant: name(TENANT),
        project: name(dice.of(&PROJECTS)),
        run: run(1),
        template: dice.once_in(2).then_some(template),
        seat: dice.once_in(3).then(|| dice.of(Role::ALL)),
        credential: Credential::Valid,
    })
}
