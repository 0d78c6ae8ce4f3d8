//! What would have to be different for a denied request to be allowed.

use eparch_domain::{OperatorRole, Phase, Tier};

use crate::load::PolicySet;
use crate::request::Request;
use crate::subject::{Credential, Subject};
use crate::verdict::{Decision, Verdict};

/// What would make a denied request allowed, or at least something to ask people for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unlock {
    /// The lowest tier that would do, when it is not the subject's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The roles of people that would do, when a person asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<OperatorRole>,
    /// An accepted plan that holds the action is needed.
    pub plan: bool,
    /// It has to be asked in EXECUTE.
    pub execute: bool,
    /// What the answer would be then.
    pub decision: Decision,
}

impl std::fmt::Display for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut needed = Vec::new();
        needed.extend(self.tier.map(|tier| format!("tier {tier}")));
        if !self.roles.is_empty() {
            let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
            needed.push(format!("the role {}", roles.join(" or ")));
        }
        needed.extend(self.execute.then(|| "the phase EXECUTE".to_owned()));
        needed.extend(self.plan.then(|| "an accepted plan that holds the action".to_owned()));
        let then = match self.decision {
            Decision::Ask => " (then people are asked)",
            Decision::Modify => " (then it is done in another way)",
            Decision::Allow | Decision::Deny => "",
        };
        write!(f, "{}{then}", needed.join(", "))
    }
}

impl PolicySet {
    /// The least that would have to be different for a denied request not to be denied; `None` when it is not denied, or
    /// when neither tier, role, plan nor phase would help. It decides up to forty times: it is for whoever asks why.
    pub fn unlock(&self, request: &Request, verdict: &Verdict) -> Option<Unlock> {
        if verdict.decision != Decision::Deny {
            return None;
        }
        match &request.subject {
            Subject::Anonymous => None,
            Subject::Agent(agent) if agent.credential != Credential::Valid => None,
            Subject::Agent(agent) => self.unlock_agent(request, agent.tier),
            Subject::Operator(_) => self.unlock_operator(request),
        }
    }

    fn unlock_agent(&self, request: &Request, own: Tier) -> Option<Unlock> {
        // What an agent can wait for is less than a tier, which people have to give it.
        let (planned, phase) = (request.circumstances.planned, request.circumstances.phase);
        let plans = if planned { &[false][..] } else { &[false, true] };
        let phases = if phase == Phase::Execute { &[false][..] } else { &[false, true] };
        for tier in Tier::ALL.into_iter().filter(|tier| *tier >= own) {
            for execute in phases {
                for plan in plans {
                    let mut other = request.clone();
                    if let Subject::Agent(agent) = &mut other.subject {
                        agent.tier = tier;
                    }
                    other.circumstances.planned |= plan;
                    if *execute {
                        other.circumstances.phase = Phase::Execute;
                    }
                    let decision = self.decide(&other).decision;
                    // Who was revoked does not go back to work.
                    if decision != Decision::Deny && phase != Phase::Revoked {
                        let tier = (tier != own).then_some(tier);
                        return Some(Unlock {
                            tier,
                            roles: Vec::new(),
                            plan: *plan,
                            execute: *execute,
                            decision,
                        });
                    }
                }
            }
        }
        None
    }

    fn unlock_operator(&self, request: &Request) -> Option<Unlock> {
        let with = |role: OperatorRole| {
            let mut other = request.clone();
            if let Subject::Operator(operator) = &mut other.subject {
                operator.role = role;
            }
            (role, self.decide(&other).decision)
        };
        let would: Vec<(OperatorRole, Decision)> = OperatorRole::ALL
            .into_iter()
            .map(with)
            .filter(|(_, decision)| *decision != Decision::Deny)
            .collect();
        let decision = would.iter().map(|(_, decision)| *decision).min()?;
        let roles = would.into_iter().map(|(role, _)| role).collect();
        Some(Unlock { tier: None, roles, plan: false, execute: false, decision })
    }
}
