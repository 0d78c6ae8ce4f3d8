//! Whether something may be done, why, and what would unlock it.

use eparch_policy::{Decision, PolicySet, Request, Verdict};
use serde_json::{Value, json};

use super::question::{self, Asker, Known};
use crate::args::Explain;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;
use crate::paint;

/// `eparch policy explain`.
pub(super) fn explain(context: &Context, asked: &Explain) -> Result<u8, Failure> {
    let request = request(asked)?;
    let (policies, place) = super::load(context, &asked.which)?;
    let verdict = policies.decide(&request);
    let unlock = policies.unlock(&request, &verdict);
    if context.is_json() {
        let mut shown = serde_json::to_value(&verdict)
            .map_err(|problem| Failure::new("EP0706", format!("cannot write the answer: {problem}")))?;
        shown["place"] = json!(place);
        shown["digest"] = json!(policies.digest());
        shown["would_do"] = json!(unlock);
        shown["rules"] =
            verdict.policies.iter().filter_map(|id| policies.rule(id)).map(|rule| json!(rule)).collect();
        print_json(&shown)?;
        return Ok(exit::DONE);
    }
    outln!("{}, {}", coloured(verdict.decision), verdict.reason);
    outln!("  {}", meaning(&verdict));
    for rule in verdict.policies.iter().filter_map(|id| policies.rule(id)) {
        outln!("  decided by {} ({}:{})", rule.id, paint::harmless(&rule.file), rule.line);
    }
    for change in &verdict.changes {
        outln!("  changed: {}", change.as_str());
    }
    if verdict.decision != Decision::Allow {
        tell_unlock(&policies, &request, &verdict);
    }
    for shadow in &verdict.shadowed {
        outln!("  watched: {} would say {} ({})", shadow.policy, shadow.decision, shadow.reason);
    }
    outln!("  looked at {} of {} policies of {place}", verdict.candidates, policies.rules().len());
    Ok(exit::DONE)
}

fn tell_unlock(policies: &PolicySet, request: &Request, verdict: &Verdict) {
    if let Some(unlock) = &verdict.unlock {
        outln!("  what would unlock it: {}", paint::harmless(unlock));
    }
    match policies.unlock(request, verdict) {
        Some(unlock) => outln!("  this very request with: {unlock}"),
        None if verdict.decision == Decision::Deny && verdict.unlock.is_none() => {
            outln!("  neither another tier, role or phase nor a plan would unlock it");
        }
        None => {}
    }
    if verdict.decision == Decision::Deny {
        outln!("  asking again later {}", if verdict.retryable { "can help" } else { "does not help" });
    }
}

/// What a reason that comes from no policy means; for others, what the decision means.
fn meaning(verdict: &Verdict) -> &'static str {
    use eparch_policy::reasons;
    match &*verdict.reason {
        reasons::ANONYMOUS => "nobody that is known asks",
        reasons::CREDENTIAL_EXPIRED => "the token's time is over; with a renewed one it is decided anew",
        reasons::CREDENTIAL_REVOKED => "the token was taken away",
        reasons::OTHER_TENANT => "it is not this tenant's; whether it exists is not told",
        reasons::WRONG_RESOURCE => "this action cannot be done to such a thing",
        reasons::ABOUT_ITSELF => "an agent has no say about itself",
        reasons::HISTORY_OVERFLOW => "the run has done more than policies can be told of",
        reasons::NO_POLICY_ALLOWS => "no policy permits it, and what nothing permits is denied",
        reasons::EVALUATION_ERROR => {
            "a policy that may matter cannot be evaluated, so nothing is let through"
        }
        _ => match verdict.decision {
            Decision::Allow => "a policy permits it, and none forbids it",
            Decision::Modify => "it is permitted in another way than asked",
            Decision::Ask => "people are asked first",
            Decision::Deny => "a policy forbids it, whatever another permits",
        },
    }
}

fn coloured(decision: Decision) -> String {
    let paint = paint::out();
    match decision {
        Decision::Allow => paint.good("allow"),
        Decision::Modify => paint.warn("modify"),
        Decision::Ask => paint.warn("ask"),
        Decision::Deny => paint.bad("deny"),
    }
}

fn request(asked: &Explain) -> Result<Request, Failure> {
    let mut known = Known::default();
    let wrong = |message: String| {
        Failure::new("EP0812", format!("--context cannot be used: {message}"))
            .hint("for example --context '{\"phase\": \"PLAN\", \"planned\": false, \"approvals\": 1}'")
            .exit(exit::USAGE)
    };
    if let Some(text) = &asked.context {
        let said: Value = serde_json::from_str(text).map_err(|problem| wrong(problem.to_string()))?;
        let said = said.as_object().ok_or_else(|| wrong("it is no JSON object".to_owned()))?;
        for (key, value) in said {
            known.set(key, value).map_err(wrong)?;
        }
    }
    let asker = match (asked.agent, asked.operator) {
        (Some(tier), _) => Asker::Agent(tier),
        (None, Some(role)) => Asker::Operator(role),
        (None, None) => Asker::Anonymous,
    };
    question::request(asker, asked.action, &asked.resource, asked.scope, &known).map_err(|message| {
        Failure::new("EP0812", format!("--resource cannot be used: {message}"))
            .hint("names are written without detours: docs/guide.md, staging-web-1, agt_x@T2, governance:policy")
            .exit(exit::USAGE)
    })
}
