//! Why not, and what would unlock it: what is said is true, and where nothing is said nothing would help.

use eparch_domain::{OperatorRole, Phase, Tier};
use eparch_policy::{Credential, Decision, History, OperatorSubject, PolicySet, Request, Subject, Verdict};

use crate::common::load;
use crate::matrix::{cells, request};
use crate::model::{self, Cell, SUBJECTS, USUAL, Where, Who};

/// What is wrong with what is said of a request.
fn lie(policies: &PolicySet, request: &Request, verdict: &Verdict) -> Option<String> {
    let Some(unlock) = policies.unlock(request, verdict) else {
        let lighter = |other: &Request| policies.decide(other).decision < verdict.decision;
        let helps = everything(request).into_iter().find(lighter);
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
    let askers = [request.circumstances.requester.clone(), None];
    for tier in Tier::ALL.into_iter().filter(|_| !is_lost(request)) {
        for (approvals, requester) in
            [0, 9].into_iter().flat_map(|so_many| askers.iter().map(move |asker| (so_many, asker)))
        {
            let mut other = request.clone();
            other.circumstances.requester = requester.clone();
            other.circumstances.phase = Phase::Execute;
            other.circumstances.planned = true;
            other.circumstances.approvals = approvals;
            other.circumstances.history = History::default();
            match &mut other.subject {
                Subject::Agent(agent) if tier >= agent.tier => {
                    agent.tier = tier;
                    if agent.credential == Credential::Expired {
                        agent.credential = Credential::Valid;
                    }
                    all.push(other);
                }
                Subject::Agent(_) | Subject::Anonymous => {}
                Subject::Operator(operator) => {
                    let with = |role| {
                        Subject::Operator(OperatorSubject { role, max_tier: tier, ..operator.clone() })
                    };
                    let subjects = OperatorRole::ALL.map(with);
                    all.extend(subjects.map(|subject| Request { subject, ..other.clone() }));
                }
            }
        }
    }
    all
}

/// Where people are asked whatever anybody does, nothing is said to help: to be asked is what there is already.
#[test]
fn who_is_asked_in_any_case_is_told_of_nothing_that_helps() {
    let always = "@id(\"a\") @reason(\"r\") @verdict(\"ask\") permit (principal, action, resource);";
    let policies = load(always).expect("sound");
    let all = cells(&SUBJECTS, USUAL).step_by(7).map(|cell| request(&cell));
    let asked: Vec<Request> = all.filter(|asked| policies.decide(asked).decision == Decision::Ask).collect();
    assert!(asked.len() > 100, "{}", asked.len());
    for request in asked {
        let verdict = policies.decide(&request);
        assert_eq!(policies.unlock(&request, &verdict), None, "{request:?}");
    }
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

/// What is asked of people whoever approves is the most that there is: it is told, as less than a yes.
#[test]
fn where_nothing_lets_it_be_done_it_is_told_what_would_have_people_asked() {
    let set = load(
        r#"@id("asks") @reason("r") @verdict("ask")
        permit (principal in Tier::"T2", action == Action::"read_file", resource);"#,
    )
    .expect("a policy");
    let asked = |tier| {
        let cell = Cell {
            who: Who::Tier(tier),
            action: "read_file",
            place: Where::Own,
            phase: "EXECUTE",
            around: USUAL,
        };
        let request = request(&cell);
        let verdict = set.decide(&request);
        (verdict.decision, set.unlock(&request, &verdict))
    };
    let (decision, unlock) = asked(1);
    let unlock = unlock.expect("a higher tier");
    assert_eq!((decision, unlock.tier, unlock.decision), (Decision::Deny, Some(Tier::T2), Decision::Ask));
    assert_eq!(asked(2), (Decision::Ask, None));
}
