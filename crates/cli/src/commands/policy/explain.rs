//! Whether something may be done, why, and what would unlock it.

use eparch_governor::may_be_let_pass;
use eparch_policy::{Decision, PolicySet, Request, Subject, Unlock, Verdict, kinds_of};
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
        shown["would_help"] = json!(helps(&request, &verdict, unlock.as_ref()));
        shown["breakable"] = json!(may_pass(&policies, &request, &verdict));
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
        helps(&request, &verdict, unlock.as_ref())
            .iter()
            .for_each(|help| outln!("  {}", paint::harmless(help)));
    }
    if may_pass(&policies, &request, &verdict) {
        outln!("  two people can let it pass, for an hour at most: `eparch break-glass request`");
    } else if verdict.decision == Decision::Deny {
        outln!("  break-glass does not help: nobody can let it pass as it is");
    }
    if verdict.decision == Decision::Deny {
        outln!("  asking again later {}", if verdict.retryable { "can help" } else { "does not help" });
    }
    for shadow in &verdict.shadowed {
        outln!("  watched: {} would say {} ({})", shadow.policy, shadow.decision, shadow.reason);
    }
    outln!("  looked at {} of {} policies ({place})", verdict.candidates, policies.rules().len());
    Ok(exit::DONE)
}

/// What would unlock it, in words: what a policy says, what would do for this very request, and where nothing would, that.
fn helps(request: &Request, verdict: &Verdict, unlock: Option<&Unlock>) -> Vec<String> {
    let said = verdict.unlock.iter().map(|said| match said.strip_prefix("nothing: ") {
        Some(why) => format!("nothing would unlock it: {why}"),
        None => format!("what would unlock it: {said}"),
    });
    let mut helps: Vec<String> = said.collect();
    match unlock {
        Some(unlock) => helps.push(format!("this very request is allowed with: {unlock}")),
        None if verdict.decision == Decision::Deny && verdict.unlock.is_none() => {
            helps.push(format!("what would unlock it: {}", otherwise(request, verdict)));
        }
        None => {}
    }
    helps
}

/// What would help where no policy says so, and neither a tier, a role, a phase, a plan nor people would.
fn otherwise(request: &Request, verdict: &Verdict) -> String {
    use eparch_policy::reasons;
    let told = match &*verdict.reason {
        reasons::ANONYMOUS => "nothing for nobody; an agent asks with its token, a person with their key",
        reasons::CREDENTIAL_REVOKED => {
            "nothing for this agent; a person can start a run whose agents have tokens of their own"
        }
        reasons::OTHER_TENANT => "nothing from here; if there is such a thing, its own tenant asks for it",
        reasons::ABOUT_ITSELF => "somebody else who may: a person, or another agent",
        reasons::EVALUATION_ERROR => {
            "a policy that can be evaluated; `eparch policy check` looks for what is wrong"
        }
        reasons::WRONG_RESOURCE => {
            let kinds: Vec<&str> = kinds_of(request.action).iter().map(|kind| kind.as_str()).collect();
            return format!("another resource; {} is done to a {}", request.action, kinds.join(" or a "));
        }
        _ => {
            "a policy that permits it; none of these does, at any tier, for any role, in any phase and whoever approves"
        }
    };
    told.to_owned()
}

/// Whether people could let pass, for a while, what is denied so.
fn may_pass(policies: &PolicySet, request: &Request, verdict: &Verdict) -> bool {
    let by_agent = matches!(request.subject, Subject::Agent(_));
    by_agent && may_be_let_pass(request.action) && policies.is_breakable(verdict)
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
        reasons::HISTORY_OVERFLOW => {
            "the run has done more than policies can be told of, or what it repeats is not known any more"
        }
        reasons::NO_POLICY_ALLOWS => "no policy permits it, and what nothing permits is denied",
        reasons::EVALUATION_ERROR => {
            "a policy that may matter cannot be evaluated, so nothing is let through"
        }
        reasons::BREAK_GLASS => "policy denies it, and two people let it pass",
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
