//! F8: every subject, action, scope and phase, against the model written from the tables.

use eparch_domain::{Action, OperatorRole, Tier};
use eparch_policy::{
    AgentSubject, Circumstances, Credential, History, OperatorSubject, Owner, PolicySet, Request, Resource,
    ResourceKind, Subject, kinds_of,
};

use crate::common::{PROJECT, TENANT, agent, name, own, run};
use crate::model::{self, ACTIONS, Around, Cell, Job, PHASES, SUBJECTS, USUAL, WHERES, Where, Who};

/// A cell of the table as a request.
pub(crate) fn request(cell: &Cell) -> Request {
    let action: Action = cell.action.parse().expect("an action");
    let mut history = History::default();
    if cell.around.has_read_secret {
        history.note(Action::ReadSecret, "inventory/hosts");
    }
    Request {
        subject: subject(cell.who),
        action,
        resource: resource(cell, action),
        circumstances: Circumstances {
            phase: cell.phase.parse().expect("a phase"),
            planned: cell.around.planned,
            approvals: cell.around.approvals,
            outside: cell.around.outside,
            history,
            requester: cell.around.own_request.then(|| name("alice")),
            ..Circumstances::default()
        },
    }
}

fn subject(who: Who) -> Subject {
    let person = |role, tenant| {
        Subject::Operator(OperatorSubject {
            name: name("alice"),
            role,
            groups: vec![name("leads")],
            max_tier: Tier::from_number(model::PEOPLE_GRANT.into()).expect("a tier"),
            tenant: name(tenant),
        })
    };
    match who {
        Who::Anonymous => Subject::Anonymous,
        // Whatever they could do before.
        Who::Expired => Subject::Agent(AgentSubject { credential: Credential::Expired, ..agent(Tier::T4) }),
        Who::Revoked => Subject::Agent(AgentSubject { credential: Credential::Revoked, ..agent(Tier::T4) }),
        Who::Tier(tier) => Subject::Agent(agent(Tier::from_number(tier.into()).expect("a tier"))),
        Who::Person(Job::Viewer) => person(OperatorRole::Viewer, TENANT),
        Who::Person(Job::Auditor) => person(OperatorRole::Auditor, TENANT),
        Who::Person(Job::Operator) => person(OperatorRole::Operator, TENANT),
        Who::Person(Job::Approver) => person(OperatorRole::Approver, TENANT),
        Who::Person(Job::Admin) => person(OperatorRole::Admin, TENANT),
        Who::Stranger => person(OperatorRole::Admin, "globex"),
    }
}

fn resource(cell: &Cell, action: Action) -> Resource {
    let (tenant, owner) = match cell.place {
        Where::Own => (TENANT, own()),
        Where::SameProject => (TENANT, Owner::Run { project: name(PROJECT), run: run(2) }),
        Where::OtherProject => (TENANT, Owner::Project { project: name("billing") }),
        Where::OtherTenant => ("initech", own()),
        Where::Governance => (TENANT, Owner::Governance),
    };
    let kinds = kinds_of(action);
    let governs = cell.place == Where::Governance && kinds.contains(&ResourceKind::Governance);
    let kind = match (governs, action) {
        (true, _) => ResourceKind::Governance,
        (_, Action::Revoke) if cell.around.a_run => ResourceKind::Work,
        _ => kinds[0],
    };
    let Around { host, path, tier, .. } = cell.around;
    let tenant = name(tenant);
    let made = match kind {
        ResourceKind::Agent => {
            let tier = Tier::from_number(tier.into()).expect("a tier");
            Resource::agent("agt_another", tier, tenant, owner)
        }
        ResourceKind::Host => Resource::new(kind, host, tenant, owner),
        ResourceKind::Path => Resource::new(kind, path, tenant, owner),
        _ => Resource::new(kind, "something/else", tenant, owner),
    };
    made.expect("a resource")
}

/// Every cell around which things are as given.
pub(crate) fn cells(subjects: &'static [Who], around: Around) -> impl Iterator<Item = Cell> {
    subjects.iter().flat_map(move |who| {
        ACTIONS.iter().flat_map(move |action| {
            WHERES.iter().flat_map(move |place| {
                PHASES.iter().map(move |phase| Cell { who: *who, action, place: *place, phase, around })
            })
        })
    })
}

/// How the policies and the model differ about a cell.
pub(crate) fn difference(policies: &PolicySet, cell: &Cell) -> Option<String> {
    let verdict = policies.decide(&request(cell));
    let expected = model::answer(cell);
    let found = (verdict.decision.as_str(), &*verdict.reason);
    (found != expected)
        .then(|| format!("{cell:?}\n  model {expected:?}, policies {found:?} by {:?}", verdict.policies))
}

#[test]
fn f8_g4_every_cell_is_as_the_tables_say() {
    let policies = PolicySet::defaults();
    let cells: Vec<Cell> = cells(&SUBJECTS[..12], USUAL).collect();
    assert_eq!(cells.len(), 14_040);
    let differences: Vec<String> = cells.iter().filter_map(|cell| difference(&policies, cell)).collect();
    assert!(
        differences.is_empty(),
        "{} cells:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

#[test]
fn f8_whatever_surrounds_a_cell() {
    let policies = PolicySet::defaults();
    let mut count = 0;
    for around in model::arounds() {
        for cell in cells(&SUBJECTS, around) {
            count += 1;
            if let Some(difference) = difference(&policies, &cell) {
                panic!("{difference}");
            }
        }
    }

    assert_eq!(count, 14 * 26 * 5 * 9 * model::arounds().len());
}
