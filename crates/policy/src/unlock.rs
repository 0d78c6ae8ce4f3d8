//! What would have to be different for a request to be allowed that is not.

use eparch_domain::{OperatorRole, Phase, Tier, limits};

use crate::circumstances::History;
use crate::load::PolicySet;
use crate::request::Request;
use crate::subject::{AgentSubject, Credential, OperatorSubject, Subject};
use crate::verdict::{Decision, Verdict};

/// The most approvals that are tried.
const APPROVALS: u32 = limits::ACTION_APPROVALS as u32;

/// What would make a request allowed that is denied, or for which people are asked. All of it together does, and less of what is
/// tried first does not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unlock {
    /// The lowest tier that would do, when it is not the subject's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The roles of people that would do, when a person asks and their own does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<OperatorRole>,
    /// The lowest tier that a person has to be allowed to grant, when theirs is not enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Tier>,
    /// Another person has to ask: it is the person's own request.
    #[serde(skip_serializing_if = "is_false")]
    pub another_person: bool,
    /// So many people have to approve it.
    #[serde(skip_serializing_if = "is_zero")]
    pub approvals: u32,
    /// An accepted plan that holds the action is needed.
    pub plan: bool,
    /// It has to be asked in EXECUTE.
    pub execute: bool,
    /// The token has to be renewed first.
    #[serde(skip_serializing_if = "is_false")]
    pub renewed: bool,
    /// It takes another run, which has not done what this one has.
    #[serde(skip_serializing_if = "is_false")]
    pub fresh_run: bool,
    /// What the answer would be then.
    pub decision: Decision,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl std::fmt::Display for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut needed = Vec::new();
        needed.extend(self.renewed.then(|| "a renewed token".to_owned()));
        needed.extend(self.fresh_run.then(|| "another run, which has not done what this one has".to_owned()));
        needed.extend(self.tier.map(|tier| format!("tier {tier}")));
        if !self.roles.is_empty() {
            let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
            needed.push(match roles.split_last() {
                Some((last, others)) if !others.is_empty() => {
                    format!("the role {} or {last}", others.join(", "))
                }
                _ => format!("the role {}", roles.join("")),
            });
        }
        needed.extend(self.grants.map(|tier| format!("somebody who may grant {tier}")));
        needed.extend(self.another_person.then(|| "another person than who asked".to_owned()));
        needed.extend(self.execute.then(|| "the phase EXECUTE".to_owned()));
        needed.extend(self.plan.then(|| "an accepted plan that holds the action".to_owned()));
        match self.approvals {
            0 => {}
            1 => needed.push("the approval of one person at a gate".to_owned()),
            many => needed.push(format!("the approval of {many} people at a gate")),
        }
        let then = match self.decision {
            Decision::Ask => " (then people are asked)",
            Decision::Modify => " (then it is done in another way)",
            Decision::Allow | Decision::Deny => "",
        };
        write!(f, "{}{then}", needed.join(", "))
    }
}

impl Unlock {
    /// Nothing yet.
    fn nothing(decision: Decision) -> Unlock {
        Unlock {
            tier: None,
            roles: Vec::new(),
            grants: None,
            another_person: false,
            approvals: 0,
            plan: false,
            execute: false,
            renewed: false,
            fresh_run: false,
            decision,
        }
    }

    /// The request with all of this as it says; of several roles the first. What [`PolicySet::decide`] says of it is
    /// [`Unlock::decision`].
    pub fn applied_to(&self, request: &Request) -> Request {
        let mut other = request.clone();
        match &mut other.subject {
            Subject::Anonymous => {}
            Subject::Agent(agent) => {
                agent.tier = self.tier.unwrap_or(agent.tier);
                if self.renewed {
                    agent.credential = Credential::Valid;
                }
            }
            Subject::Operator(operator) => {
                operator.role = self.roles.first().copied().unwrap_or(operator.role);
                operator.max_tier = self.grants.unwrap_or(operator.max_tier);
            }
        }
        let now = &mut other.circumstances;
        now.approvals = now.approvals.max(self.approvals);
        now.planned |= self.plan;
        if self.execute {
            now.phase = Phase::Execute;
        }
        if self.fresh_run {
            now.history = History::default();
        }
        if self.another_person {
            now.requester = None;
        }
        other
    }
}

impl PolicySet {
    /// The least that would have to be different for a request to be allowed which is denied, or for which people are asked;
    /// `None` when it is allowed, or when nothing of it would help: then the verdict's own `unlock` says what else would, or
    /// nothing does. It decides up to three hundred times: it is for whoever asks why.
    pub fn unlock(&self, request: &Request, verdict: &Verdict) -> Option<Unlock> {
        if !matches!(verdict.decision, Decision::Deny | Decision::Ask) {
            return None;
        }
        let tried: Vec<Unlock> = match &request.subject {
            Subject::Anonymous => Vec::new(),
            Subject::Agent(agent) if agent.credential == Credential::Revoked => Vec::new(),
            // Who was revoked does not go back to work.
            Subject::Agent(_) if request.circumstances.phase == Phase::Revoked => Vec::new(),
            Subject::Agent(agent) => of_agent(request, agent),
            Subject::Operator(operator) => of_operator(request, operator),
        };
        let mut asks = None;
        for candidate in tried {
            let decision = self.decide(&candidate.applied_to(request)).decision;
            let found = Unlock { decision, ..candidate };
            match decision {
                Decision::Allow | Decision::Modify => return Some(self.with_all_roles(request, found)),
                Decision::Ask if verdict.decision == Decision::Deny => asks = asks.or(Some(found)),
                Decision::Ask | Decision::Deny => {}
            }
        }
        asks.map(|found| self.with_all_roles(request, found))
    }

    /// Every role that would do as well as the one that was found.
    fn with_all_roles(&self, request: &Request, found: Unlock) -> Unlock {
        if found.roles.is_empty() {
            return found;
        }
        let does = |role: &OperatorRole| {
            let with = Unlock { roles: vec![*role], ..found.clone() };
            self.decide(&with.applied_to(request)).decision <= found.decision
        };
        let roles = OperatorRole::ALL.into_iter().filter(does).collect();
        Unlock { roles, ..found }
    }
}

/// What may help an agent, the least first: what it can wait for before what people have to do, and those before a tier.
fn of_agent(request: &Request, agent: &AgentSubject) -> Vec<Unlock> {
    let now = &request.circumstances;
    let renewed = agent.credential == Credential::Expired;
    let either = |can: bool| if can { &[false, true][..] } else { &[false] };
    let mut tried = Vec::new();
    for tier in Tier::ALL.into_iter().filter(|tier| *tier >= agent.tier) {
        for fresh_run in either(now.history != History::default()) {
            for approvals in std::iter::once(0).chain(now.approvals + 1..=APPROVALS) {
                for execute in either(now.phase != Phase::Execute) {
                    for plan in either(!now.planned) {
                        tried.push(Unlock {
                            tier: (tier != agent.tier).then_some(tier),
                            fresh_run: *fresh_run,
                            approvals,
                            execute: *execute,
                            plan: *plan,
                            renewed,
                            ..Unlock::nothing(Decision::Deny)
                        });
                    }
                }
            }
        }
    }
    tried
}

/// What may help a person, the least first.
fn of_operator(request: &Request, operator: &OperatorSubject) -> Vec<Unlock> {
    let now = &request.circumstances;
    let own = now.requester.as_ref() == Some(&operator.name);
    let people = if own { &[false, true][..] } else { &[false] };
    let mut tried = Vec::new();
    for grants in Tier::ALL.into_iter().filter(|tier| *tier >= operator.max_tier) {
        for another_person in people {
            for approvals in std::iter::once(0).chain(now.approvals + 1..=APPROVALS) {
                let others = OperatorRole::ALL.into_iter().filter(|role| *role != operator.role);
                for role in std::iter::once(None).chain(others.map(Some)) {
                    tried.push(Unlock {
                        roles: role.into_iter().collect(),
                        grants: (grants != operator.max_tier).then_some(grants),
                        another_person: *another_person,
                        approvals,
                        ..Unlock::nothing(Decision::Deny)
                    });
                }
            }
        }
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_not_written() {
        let none = Unlock {
            tier: None,
            roles: Vec::new(),
            grants: None,
            another_person: false,
            approvals: 0,
            plan: false,
            execute: false,
            renewed: false,
            fresh_run: false,
            decision: Decision::Allow,
        };
        let written = |unlock: &Unlock| serde_json::to_value(unlock).expect("it is plain data");
        assert_eq!(
            written(&none),
            serde_json::json!({ "plan": false, "execute": false, "decision": "allow" })
        );
        let needed = Unlock { another_person: true, renewed: true, fresh_run: true, approvals: 2, ..none };
        let written = written(&needed);
        let flags = ["another_person", "renewed", "fresh_run"].map(|name| written[name].clone());
        assert!(flags.iter().all(|flag| *flag == true) && written["approvals"] == 2, "{written}");
    }
}
