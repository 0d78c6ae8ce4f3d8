//! What is only watched decides nothing; and what may be let pass is what says so.

use eparch_domain::{Action, Phase, Tier};
use eparch_policy::{
    Circumstances, DEFAULTS, Owner, PolicySet, PolicyText, Request, Resource, ResourceKind, Subject, Verdict,
};

use crate::common::{PROJECT, TENANT, agent, name};
use crate::dice::Dice;
use crate::generated::{Generated, policy, request};

/// Sets that are compared with themselves and what only watches beside it.
const SETS: usize = 120;
/// Requests that each is asked.
const REQUESTS: usize = 400;

fn set(policies: &[&Generated]) -> PolicySet {
    let text: String = policies.iter().map(|policy| policy.text.as_str()).collect();
    PolicySet::load(&[PolicyText { name: "generated.cedar", text: &text }])
        .expect("what is generated is well")
}

/// What is enforced of a verdict.
fn enforced(verdict: &Verdict) -> Verdict {
    Verdict { shadowed: Vec::new(), candidates: 0, ..verdict.clone() }
}

/// Whatever is added to watch, what is enforced is the same: also where what watches cannot be evaluated, or is all there is that
/// could say something.
#[test]
fn a_set_says_the_same_with_watched_policies_and_without() {
    let mut dice = Dice::new(20_261_122);
    let requests: Vec<Request> = (0..REQUESTS).map(|_| request(&mut dice)).collect();
    let (mut spoke, mut in_error, mut differed) = (0, 0, 0);
    for _ in 0..SETS {
        let many = 1 + dice.below(20);
        let all: Vec<Generated> = (0..many).map(|number| policy(&mut dice, number)).collect();
        let deciding: Vec<&Generated> = all.iter().filter(|policy| !policy.shadow).collect();
        if deciding.is_empty() || deciding.len() == all.len() {
            continue;
        }
        let (without, with) = (set(&deciding), set(&all.iter().collect::<Vec<_>>()));
        for request in &requests {
            let (alone, beside) = (without.decide(request), with.decide(request));
            assert_eq!(enforced(&alone), enforced(&beside), "{request:?}");
            assert_eq!(without.is_breakable(&alone), with.is_breakable(&beside));
            assert!(alone.shadowed.is_empty());
            spoke += usize::from(!beside.shadowed.is_empty());
            in_error += beside.shadowed.iter().filter(|told| &*told.reason == "evaluation_error").count();
            differed += beside.shadowed.iter().filter(|told| told.decision != beside.decision).count();
        }
    }
    assert!(spoke > 500 && in_error > 20 && differed > 200, "{spoke} {in_error} {differed}");
}

/// What a watched policy would change is what it changes once it is enforced.
#[test]
fn a_watched_policy_would_change_what_it_changes_when_it_is_enforced() {
    let mut dice = Dice::new(20_261_123);
    let requests: Vec<Request> = (0..REQUESTS).map(|_| request(&mut dice)).collect();
    let (mut changed, mut same) = (0, 0);
    for _ in 0..SETS {
        let many = 1 + dice.below(20);
        let all: Vec<Generated> = (0..many).map(|number| policy(&mut dice, number)).collect();
        let deciding: Vec<&Generated> = all.iter().filter(|policy| !policy.shadow).collect();
        for one in all.iter().filter(|policy| policy.shadow) {
            let now_enforced =
                Generated { text: one.text.replace("@shadow", ""), shadow: false, ..one.clone() };
            let watching = set(&[&deciding[..], &[one]].concat());
            let enforcing = set(&[&deciding[..], &[&now_enforced]].concat());
            for request in &requests {
                let (beside, after) = (watching.decide(request), enforcing.decide(request));
                let would = beside.otherwise().map(|shadow| shadow.decision).next();
                assert_eq!(would.unwrap_or(beside.decision), after.decision, "{request:?}\n{}", one.text);
                changed += usize::from(would.is_some());
                same += usize::from(would.is_none() && !beside.shadowed.is_empty());
            }
        }
    }
    assert!(changed > 80 && same > 60, "{changed} {same}");
}

/// An agent in EXECUTE asks for something of its project, or of what governs.
fn asked(tier: Tier, action: Action, kind: ResourceKind, target: &str, planned: bool) -> Request {
    let owner = match kind {
        ResourceKind::Governance => Owner::Governance,
        _ => Owner::Project { project: name(PROJECT) },
    };
    Request {
        subject: Subject::Agent(agent(tier)),
        action,
        circumstances: Circumstances { phase: Phase::Execute, planned, ..Circumstances::default() },
        resource: Resource::new(kind, target, name(TENANT), owner).expect("a name"),
    }
}

fn shipped(tier: Tier, action: Action, kind: ResourceKind, target: &str, planned: bool) -> (Verdict, bool) {
    let policies = PolicySet::defaults();
    let verdict = policies.decide(&asked(tier, action, kind, target, planned));
    let breakable = policies.is_breakable(&verdict);
    (verdict, breakable)
}

/// Of what ships, exactly these may be let pass; an agent that has read a secret, is out of its phase, or asks for what governs
/// or for what nobody may have, is not among them (G5).
#[test]
fn g5_only_targets_by_tier_and_the_plan_may_be_let_pass() {
    let policies = PolicySet::defaults();
    let marked: Vec<&str> = policies.rules().filter(|rule| rule.breakable).map(|rule| &*rule.id).collect();
    assert_eq!(marked, ["never-11-prod-below-t3", "never-12-staging-db-below-t2", "phase-3-plan-first"]);
    let (verdict, breakable) = shipped(Tier::T1, Action::ExecuteCommand, ResourceKind::Host, "prod-1", false);
    assert!(breakable && verdict.policies.len() == 2, "{verdict:?}");
    assert!(shipped(Tier::T0, Action::ReadFile, ResourceKind::Path, "src", true).1, "nothing permits it");
    for (action, kind, target) in [
        (Action::ReadFile, ResourceKind::Path, "/etc/shadow"),
        (Action::ModifyGovernance, ResourceKind::Governance, "policy"),
        (Action::DeleteProduction, ResourceKind::Host, "prod-1"),
    ] {
        let (verdict, breakable) = shipped(Tier::T1, action, kind, target, true);
        assert!(!breakable, "{action} {target}: {verdict:?}");
    }
    let (verdict, breakable) = shipped(Tier::T1, Action::WriteFile, ResourceKind::Path, "src/x", true);
    assert!(!breakable, "what is allowed needs nobody: {verdict:?}");
}

/// A forbid of somebody's own is inviolable unless it says otherwise, and one that holds keeps what others would let pass.
#[test]
fn a_forbid_that_says_nothing_is_inviolable() {
    let own = |marked: &str| {
        let text = format!(
            "@id(\"own\")\n@reason(\"ours\")\n{marked}forbid (principal, action, resource in Host::\"prod-*\");\n"
        );
        let mut files = DEFAULTS.to_vec();
        files.push(PolicyText { name: "own.cedar", text: &text });
        let policies = PolicySet::load(&files).expect("it is well");
        let asked = asked(Tier::T1, Action::ExecuteCommand, ResourceKind::Host, "prod-1", true);
        let verdict = policies.decide(&asked);
        policies.is_breakable(&verdict)
    };
    assert!(!own("") && own("@breakable\n"));
    let permits = "@id(\"p\")\n@reason(\"r\")\n@breakable\npermit (principal, action, resource);\n";
    let problems = PolicySet::load(&[PolicyText { name: "p.cedar", text: permits }])
        .expect_err("a permit breaks nothing");
    assert!(
        problems.iter().any(|problem| problem.to_string().contains("@breakable belongs to a forbid")),
        "{problems:?}"
    );
}
