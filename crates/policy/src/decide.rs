//! From a request to a verdict.

use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Request as CedarRequest, Response};

use crate::index::Bucket;
use crate::load::{PolicySet, ground};
use crate::names::{Printed, names_of_resource, names_of_subject};
use crate::question::{Mentioned, Question};
use crate::request::Request;
use crate::resource::{ResourceKind, kinds_of};
use crate::rule::Rule;
use crate::subject::{Credential, Subject};
use crate::verdict::{Decision, Shadowed, Verdict, reasons};

impl PolicySet {
    /// May they? The same set and request always have the same answer.
    ///
    /// Who asks comes first: nobody, an expired or revoked token, and what is another tenant's are denied without any
    /// policy being looked at. Then the policies that can matter decide: deny before ask before modify before allow; an
    /// error in any of them denies, and so does silence. What was asked before is remembered, and answered as it was then.
    pub fn decide(&self, request: &Request) -> Verdict {
        self.look(request, |question, buckets| {
            self.remembered.or_ask(question.digest(), || self.answer(question, buckets))
        })
    }

    /// [`PolicySet::decide`], whatever is remembered: for whoever measures what policies cost, or compares.
    pub fn decide_afresh(&self, request: &Request) -> Verdict {
        self.look(request, |question, buckets| self.answer(question, buckets))
    }

    /// [`PolicySet::decide`] of something that has two names: under the one it was asked about by, and under `other`. Of that there is
    /// nothing where this set cannot tell one name from the other, and says the same, nor where nothing can be called so.
    pub fn decide_by_both_names(&self, mut request: Request, other: &str) -> (Verdict, Option<Verdict>) {
        let other = request.resource.renamed(other).ok();
        let mut may_differ = other.is_some();
        let own = self.look(&request, |question, buckets| {
            may_differ = other.as_ref().is_some_and(|other| self.index.tells_apart(question, other));
            self.remembered.or_ask(question.digest(), || self.answer(question, buckets))
        });
        let other = other.filter(|_| may_differ).map(|other| {
            request.resource = other;
            self.decide(&request)
        });
        (own, other)
    }

    fn look(&self, request: &Request, answer: impl FnOnce(&Question<'_>, &[&Bucket]) -> Verdict) -> Verdict {
        if let Some(reason) = refused_unasked(request) {
            return denied(reason, reason == reasons::CREDENTIAL_EXPIRED, 0);
        }
        let printed = Printed::new(request);
        let subject = self.index.known(&names_of_subject(&request.subject, &printed));
        let resource = self.index.known(&names_of_resource(request, &printed));
        let buckets = self.index.candidates(request.action, &subject, &resource);
        if buckets.is_empty() {
            return denied(reasons::NO_POLICY_ALLOWS, false, 0);
        }
        let mentioned = buckets.iter().fold(Mentioned::default(), |all, bucket| all.with(bucket.mentioned));
        answer(&Question::new(request, (&subject, &resource), mentioned), &buckets)
    }

    /// What the policies say that can matter.
    fn answer(&self, question: &Question<'_>, buckets: &[&Bucket]) -> Verdict {
        let (cedar, entities) = ground().vocabulary.ask(question);
        let mut said = Said::default();
        let authorizer = Authorizer::new();
        for bucket in buckets {
            if !bucket.enforced.is_empty() {
                said.take(self, &authorizer.is_authorized(&cedar, &bucket.enforced, &entities));
            }
        }
        let watched = buckets.iter().flat_map(|bucket| &bucket.watched);
        let mut shadowed: Vec<Shadowed> =
            watched.filter_map(|(rule, alone)| watch(&authorizer, rule, alone, &cedar, &entities)).collect();
        shadowed.sort_by(|one, other| one.policy.cmp(&other.policy));
        let candidates = buckets.iter().map(|bucket| bucket.count).sum();
        Verdict { candidates, shadowed, ..said.verdict() }
    }

    /// Whether people may let pass, for a while, what was denied so: nothing permits it, or all that forbids it is marked
    /// `@breakable`. Who asks, whose it is and what cannot be evaluated are never theirs to overlook.
    pub fn is_breakable(&self, verdict: &Verdict) -> bool {
        let breakable = |id: &Arc<str>| self.rule(id).is_some_and(|rule| rule.breakable);
        match (verdict.decision, &*verdict.reason) {
            (Decision::Deny, reasons::NO_POLICY_ALLOWS) => true,
            (Decision::Deny, reasons::EVALUATION_ERROR) => false,
            (Decision::Deny, _) => !verdict.policies.is_empty() && verdict.policies.iter().all(breakable),
            (Decision::Allow | Decision::Modify | Decision::Ask, _) => false,
        }
    }
}

/// Why a request is denied before any policy is asked.
fn refused_unasked(request: &Request) -> Option<&'static str> {
    let resource = &request.resource;
    match &request.subject {
        Subject::Anonymous => return Some(reasons::ANONYMOUS),
        Subject::Agent(agent) => match agent.credential {
            Credential::Valid => {}
            Credential::Expired => return Some(reasons::CREDENTIAL_EXPIRED),
            Credential::Revoked => return Some(reasons::CREDENTIAL_REVOKED),
        },
        Subject::Operator(_) => {}
    }
    if request.subject.tenant() != Some(resource.tenant()) {
        return Some(reasons::OTHER_TENANT);
    }
    if !kinds_of(request.action).contains(&resource.kind()) {
        return Some(reasons::WRONG_RESOURCE);
    }
    if let Subject::Agent(agent) = &request.subject
        && resource.kind() == ResourceKind::Agent
        && resource.name() == agent.id.to_string()
    {
        return Some(reasons::ABOUT_ITSELF);
    }
    request.circumstances.history.overflowed().then_some(reasons::HISTORY_OVERFLOW)
}

fn denied(reason: &str, retryable: bool, candidates: usize) -> Verdict {
    Verdict {
        decision: Decision::Deny,
        reason: reason.into(),
        policies: Vec::new(),
        retryable,
        unlock: None,
        changes: Vec::new(),
        candidates,
        shadowed: Vec::new(),
    }
}

/// What the policies said that are enforced.
#[derive(Default)]
struct Said<'p> {
    applied: Vec<&'p Rule>,
    failed: Vec<Arc<str>>,
}

impl<'p> Said<'p> {
    fn take(&mut self, set: &'p PolicySet, response: &Response) {
        let diagnostics = response.diagnostics();
        // Forbids hide permits from this answer, which is right: what is forbidden is denied whoever permits it.
        self.applied.extend(diagnostics.reason().filter_map(|id| set.rule(id.as_ref())));
        self.failed.extend(diagnostics.errors().map(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            Arc::from(AsRef::<str>::as_ref(error.policy_id()))
        }));
    }

    fn verdict(mut self) -> Verdict {
        if !self.failed.is_empty() {
            self.failed.sort_unstable();
            return Verdict { policies: self.failed, ..denied(reasons::EVALUATION_ERROR, false, 0) };
        }
        let Some(decision) = self.applied.iter().map(|rule| rule.decision).max() else {
            return denied(reasons::NO_POLICY_ALLOWS, false, 0);
        };
        self.applied.retain(|rule| rule.decision == decision);
        self.applied.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let mut unlocks: Vec<&str> = Vec::new();
        for unlock in self.applied.iter().filter_map(|rule| rule.unlock.as_deref()) {
            if !unlocks.contains(&unlock) {
                unlocks.push(unlock);
            }
        }
        let mut changes: Vec<_> = self.applied.iter().filter_map(|rule| rule.change).collect();
        changes.sort_unstable();
        changes.dedup();
        Verdict {
            decision,
            reason: Arc::clone(&self.applied[0].reason),
            policies: self.applied.iter().map(|rule| Arc::clone(&rule.id)).collect(),
            // Of several that deny, one that stays is enough.
            retryable: self.applied.iter().all(|rule| rule.retryable),
            unlock: (!unlocks.is_empty()).then(|| unlocks.join("; and ")),
            changes,
            candidates: 0,
            shadowed: Vec::new(),
        }
    }
}

/// What a policy that is only watched would have said.
fn watch(
    authorizer: &Authorizer,
    rule: &Rule,
    alone: &cedar_policy::PolicySet,
    request: &CedarRequest,
    entities: &Entities,
) -> Option<Shadowed> {
    let response = authorizer.is_authorized(request, alone, entities);
    let diagnostics = response.diagnostics();
    let policy = Arc::clone(&rule.id);
    if diagnostics.errors().next().is_some() {
        return Some(Shadowed { policy, decision: Decision::Deny, reason: reasons::EVALUATION_ERROR.into() });
    }
    diagnostics.reason().next()?;
    Some(Shadowed { policy, decision: rule.decision, reason: Arc::clone(&rule.reason) })
}
