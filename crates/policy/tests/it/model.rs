//! Who may do what, written down once more: from the tables of the requirements (1.3-a, 1.4, 1.8, 2.B), by hand, without a
//! word of the policies or of the crate that reads them.
//!
//! A table of what each tier may, one of what each person may, and the prohibitions that stand above them, gravest first.

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anonymous,
    Expired,
    Revoked,
    Tier(u8),
    Person(Job),
    /// An admin, of another tenant.
    Stranger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Viewer,
    Auditor,
    Operator,
    Approver,
    Admin,
}

/// Whose it is that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Own,
    SameProject,
    OtherProject,
    OtherTenant,
    Governance,
}

/// The twelve subjects of F8, and two more that people can be.
pub(crate) const SUBJECTS: [Who; 14] = [
    Who::Anonymous,
    Who::Expired,
    Who::Revoked,
    Who::Tier(0),
    Who::Tier(1),
    Who::Tier(2),
    Who::Tier(3),
    Who::Tier(4),
    Who::Person(Job::Operator),
    Who::Person(Job::Approver),
    Who::Person(Job::Auditor),
    Who::Stranger,
    Who::Person(Job::Viewer),
    Who::Person(Job::Admin),
];

pub(crate) const ACTIONS: [&str; 26] = [
    "llm_chat",
    "call_tool",
    "read_file",
    "list_directory",
    "search_code",
    "generate_plan",
    "request_review",
    "execute_command",
    "write_file",
    "ansible_check",
    "ansible_run",
    "terraform_plan",
    "terraform_apply",
    "docker_run",
    "delete_production",
    "access_vault_root",
    "modify_governance",
    "spawn_agent",
    "acquire_lock",
    "read_secret",
    "approve",
    "revoke",
    "promote",
    "publish_template",
    "read_ledger",
    "accept_partial",
];

pub(crate) const WHERES: [Where; 5] =
    [Where::Own, Where::SameProject, Where::OtherProject, Where::OtherTenant, Where::Governance];

pub(crate) const PHASES: [&str; 9] =
    ["BOOTSTRAP", "PREFLIGHT", "PLAN", "EXECUTE", "VERIFY", "PACKAGE", "REPORT", "EXIT", "REVOKED"];

/// What else can be different.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) host: &'static str,
    pub(crate) path: &'static str,
    /// Of the agent that is asked about.
    pub(crate) tier: u8,
    /// What is asked to be revoked is a run, and no agent.
    pub(crate) a_run: bool,
    pub(crate) planned: bool,
    pub(crate) approvals: u32,
    pub(crate) outside: bool,
    pub(crate) has_read_secret: bool,
    /// The person who asks also asked for what is answered.
    pub(crate) own_request: bool,
}

pub(crate) const USUAL: Around = Around {
    host: "localhost",
    path: "docs/guide.md",
    tier: 1,
    a_run: false,
    planned: true,
    approvals: 0,
    outside: false,
    has_read_secret: false,
    own_request: false,
};

/// Everything that has a rule of its own, at least once on either side of it.
pub(crate) fn arounds() -> Vec<Around> {
    let hosts = ["localhost", "sandbox-3", "staging-web-1", "staging-db-1", "prod-eu-1", "mirror-1"];
    let mut all = vec![USUAL];
    for host in hosts {
        for approvals in [0, 1, 2] {
            all.push(Around { host, approvals, ..USUAL });
        }
    }
    let paths = [
        "src/main.rs",
        "inventory/hosts",
        "/etc/shadow",
        "/etc/hosts",
        "/opt/vault/core/seal",
        "/root/.ssh/id_ed25519",
    ];
    all.extend(paths.map(|path| Around { path, ..USUAL }));
    all.extend([0, 2, 3, 4].map(|tier| Around { tier, ..USUAL }));
    all.extend([0, 1, 2].map(|approvals| Around {
        planned: false,
        approvals,
        host: "staging-web-1",
        ..USUAL
    }));
    all.push(Around { outside: true, ..USUAL });
    all.push(Around { has_read_secret: true, ..USUAL });
    all.push(Around { outside: true, has_read_secret: true, ..USUAL });
    all.push(Around { own_request: true, ..USUAL });
    all.push(Around { own_request: true, approvals: 1, ..USUAL });
    all.push(Around { a_run: true, ..USUAL });
    all
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) who: Who,
    pub(crate) action: &'static str,
    pub(crate) place: Where,
    pub(crate) phase: &'static str,
    pub(crate) around: Around,
}

type Answer = (&'static str, &'static str);

const NOTHING_SAYS_SO: Answer = ("deny", "no_policy_allows");

/// The highest tier that the people in the table may grant.
pub(crate) const PEOPLE_GRANT: u8 = 2;

/// The answer, and the reason for it.
pub(crate) fn answer(cell: &Cell) -> Answer {
    match cell.who {
        Who::Anonymous => ("deny", "anonymous"),
        Who::Expired => ("deny", "credential_expired"),
        Who::Revoked => ("deny", "credential_revoked"),
        // Everything in the table is the first tenant's but what is another's, which is not the stranger's either.
        Who::Stranger => ("deny", "other_tenant"),
        _ if cell.place == Where::OtherTenant => ("deny", "other_tenant"),
        Who::Tier(tier) => agent(cell, tier),
        Who::Person(job) => person(cell, job),
    }
}

fn is_work(action: &str) -> bool {
    matches!(
        action,
        "execute_command"
            | "ansible_check"
            | "ansible_run"
            | "terraform_plan"
            | "terraform_apply"
            | "docker_run"
    )
}

fn is_look(action: &str) -> bool {
    matches!(action, "read_file" | "list_directory" | "search_code")
}

/// What changes something, and so needs EXECUTE and a plan.
fn is_effect(action: &str) -> bool {
    is_work(action)
        || matches!(
            action,
            "call_tool"
                | "write_file"
                | "spawn_agent"
                | "acquire_lock"
                | "read_secret"
                | "revoke"
                | "publish_template"
        )
}

fn has_path(action: &str) -> bool {
    is_look(action) || action == "write_file"
}

fn agent(cell: &Cell, tier: u8) -> Answer {
    let Cell { action, place, phase, around, .. } = *cell;
    let proposal = tier == 4 && action == "generate_plan";
    let prohibited: [(bool, &'static str); 14] = [
        (phase == "REVOKED", "agent_revoked"),
        (action == "delete_production", "forbidden_action"),
        (action == "access_vault_root", "forbidden_action"),
        (action == "modify_governance", "forbidden_action"),
        (matches!(action, "approve" | "promote" | "accept_partial"), "people_only"),
        (action == "spawn_agent" && around.tier > tier, "above_own_tier"),
        (place == Where::Governance && !proposal, "governance_protected"),
        (
            (is_work(action) || matches!(action, "llm_chat" | "call_tool"))
                && around.outside
                && around.has_read_secret,
            "secret_then_send",
        ),
        (
            has_path(action)
                && ["/opt/vault", "/etc/shadow", "/root/.ssh"].iter().any(|bad| around.path.starts_with(bad)),
            "forbidden_path",
        ),
        (is_work(action) && around.host.starts_with("prod-") && tier < 3, "forbidden_target"),
        (is_work(action) && around.host.starts_with("staging-db-") && tier < 2, "forbidden_target"),
        (phase == "BOOTSTRAP" || phase == "EXIT", "wrong_phase"),
        (is_effect(action) && phase != "EXECUTE", "wrong_phase"),
        (is_effect(action) && !around.planned, "plan_first"),
    ];
    if let Some((_, reason)) = prohibited.iter().find(|(holds, _)| *holds) {
        return ("deny", reason);
    }
    let own = place == Where::Own;
    let project = own || place == Where::SameProject;
    let drafting = phase == "PLAN" || phase == "EXECUTE";
    let after_preflight = phase != "PREFLIGHT";
    match action {
        // T0 reads its own, and docs and inventory of its project; T1 its project.
        _ if is_look(action) => {
            let listed = around.path.starts_with("docs/") || around.path.starts_with("inventory/");
            if own {
                return ("allow", "own_work");
            }
            match project {
                // Who may for two reasons is told the first policy's.
                true if listed => ("allow", "observers_paths"),
                true if tier >= 1 => ("allow", "own_project"),
                _ => NOTHING_SAYS_SO,
            }
        }
        "llm_chat" if project && after_preflight => ("allow", "planned_thinking"),
        "generate_plan" if own && drafting => ("allow", "own_work"),
        "generate_plan" if place == Where::Governance && drafting => {
            with_people(around.approvals, 2, "approved_proposal")
        }
        "request_review" if own && after_preflight => ("allow", "own_work"),
        "read_ledger" if own => ("allow", "own_work"),
        "write_file" | "call_tool" | "acquire_lock" if project && tier >= 1 => ("allow", "own_project"),
        _ if is_work(action) && project => work(around, tier),
        "read_secret" if project && tier >= 2 => ("modify", "wrapped_secret"),
        "spawn_agent" if project && tier >= 3 && around.tier <= 2 => ("allow", "coordinates_agents"),
        "revoke" if own && tier >= 3 && around.tier <= 2 && !around.a_run => ("allow", "coordinates_agents"),
        "publish_template" if project && tier == 4 => with_people(around.approvals, 2, "approved_proposal"),
        _ => NOTHING_SAYS_SO,
    }
}

fn work(around: Around, tier: u8) -> Answer {
    let host = around.host;
    if tier >= 1 && (host == "localhost" || host.starts_with("sandbox-")) {
        return ("allow", "allowed_target");
    }
    let from = match host {
        _ if host.starts_with("staging-") => 2,
        _ if host.starts_with("prod-") => 3,
        _ => return NOTHING_SAYS_SO,
    };
    if tier < from { NOTHING_SAYS_SO } else { with_people(around.approvals, 1, "approved_target") }
}

/// Allowed once so many people have said so; until then they are to be asked.
fn with_people(approvals: u32, needed: u32, reason: &'static str) -> Answer {
    if approvals >= needed { ("allow", reason) } else { ("ask", "approval_needed") }
}

fn person(cell: &Cell, job: Job) -> Answer {
    let Cell { action, place, around, .. } = *cell;
    let answers = matches!(action, "approve" | "promote" | "accept_partial" | "modify_governance");
    if matches!(action, "spawn_agent" | "promote") && around.tier > PEOPLE_GRANT {
        return ("deny", "above_own_tier");
    }
    if answers && around.own_request {
        return ("deny", "own_request");
    }
    let governance = place == Where::Governance;
    let may = match (action, job) {
        _ if is_look(action) => !governance,
        ("request_review", Job::Operator | Job::Approver | Job::Admin) => !governance,
        ("read_ledger", Job::Auditor | Job::Admin) => true,
        ("read_ledger", Job::Operator | Job::Approver) => !governance,
        ("spawn_agent" | "revoke" | "generate_plan" | "publish_template", Job::Operator | Job::Admin) => {
            !governance
        }
        ("approve" | "accept_partial", Job::Operator | Job::Approver | Job::Admin) => !governance,
        ("promote", Job::Approver | Job::Admin) => !governance,
        ("read_secret", Job::Admin) => !governance,
        ("modify_governance", Job::Admin) if governance => {
            return with_people(around.approvals, 1, "approved_proposal");
        }
        _ => false,
    };
    if may { ("allow", "role_allows") } else { NOTHING_SAYS_SO }
}
