//! Why not, and what would unlock it: what is said is true, and where nothing is said nothing would help.

use eparch_domain::{Phase, Tier};
use eparch_policy::{Credential, Decision, History, PolicySet, Request, Subject, Verdict};

use crate::matrix::{cells, request};
use crate::model::{self, SUBJECTS, USUAL};

/// What is wrong with what is said of a request.
fn lie(policies: &PolicySet, request: &Request, verdict: &Verdict) -> Option<String> {
    let Some(unlock) = policies.unlock(request, verdict) else {
        let helps =
            everything(request).into_iter().find(|other| policies.decide(other).decision < Decision::Ask);
        if let Some(other) = helps {
            return Some(format!("nothing is said to help, and this would: {other:?}"));
        }
        // What else there is stands in the policy, or follows from a reason that no policy gives.
        let silent = verdict.unlock.is_none() && !verdict.policies.is_empty();
        return silent.then(|| "a policy forbids it, and nobody says what would help".to_owned());
    };
    if is_lost(request) {
        return Some(format!("{unlock} is said to help whom nothing helps"));
    }
    let found = policies.decide(&unlock.applied_to(request)).decision;
    if found != unlock.decision || found >= verdict.decision {
        return Some(format!("with {unlock} it is {found}"));
    }
    (unlock.to_string().trim().is_empty()).then(|| "what would help is said in no words".to_owned())
}

/// Whether nothing can help: nobody asks, or somebody who was revoked and does not go back to work.
fn is_lost(request: &Request) -> bool {
    match &request.subject {
        Subject::Agent(agent) => {
            agent.credential == Credential::Revoked || request.circumstances.phase == Phase::Revoked
        }
        Subject::Anonymous => true,
        Subject::Operator(_) => false,
    }
}

/// The request with everything that may help, tried out one by one and all at once.
fn everything(request: &Request) -> Vec<Request> {
    let mut all = Vec::new();
    for tier in Tier::ALL.into_iter().filter(|_| !is_lost(request)) {
        for approvals in [0, 9] {
            let mut other = request.clone();
            other.circumstances.phase = Phase::Execute;
            other.circumstances.planned = true;
            other.circumstances.approvals = approvals;
            other.circumstances.history = History::default();
            match &mut other.subject {
                Subject::Agent(agent) if tier >= agent.tier => agent.tier = tier,
                Subject::Agent(_) | Subject::Anonymous => continue,
                Subject::Operator(operator) => operator.max_tier = tier,
            }
            all.push(other);
        }
    }
    all
}

/// Every third cell of the table as it is usually, and some of each of what may surround it: agents of T0 to T4, people, nobody, and
/// tokens that are worth nothing.
#[test]
fn g4_what_is_said_to_unlock_a_denial_does() {
    let policies = PolicySet::defaults();
    let around = model::arounds().into_iter().flat_map(|around| cells(&SUBJECTS, around)).step_by(97);
    let (mut denied, mut asked) = (0, 0);
    for cell in cells(&SUBJECTS, USUAL).step_by(3).chain(around) {
        let request = request(&cell);
        let verdict = policies.decide(&request);
        match verdict.decision {
            Decision::Deny => denied += 1,
            Decision::Ask => asked += 1,
            Decision::Allow | Decision::Modify => continue,
        }
        let lie = lie(&policies, &request, &verdict);
        assert!(lie.is_none(), "{cell:?}: {} by {:?}: {lie:?}", verdict.reason, verdict.policies);
    }
    println!("{denied} denials and {asked} questions were explained");
    assert!(denied > 3_000 && asked > 10, "{denied} denials, {asked} questions");
}
