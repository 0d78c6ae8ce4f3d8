//! Putting the home's policies in force, and answering for those that wait for another person.

use eparch_daemon::policies_statement;
use eparch_daemon::wire::{Answer, InForce, PoliciesWait, PutInForce};
use eparch_domain::Digest;
use eparch_governor::GateDecision;
use serde_json::json;

use crate::args::LoadPolicies;
use crate::commands::approvals::sign;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::{paint, when};

/// `eparch policy load …`.
pub(super) async fn carry_out(context: &Context, asked: &LoadPolicies) -> Result<u8, Failure> {
    match (asked.approve, asked.deny) {
        (Some(policies), _) => answer(context, asked, policies, GateDecision::Approve).await,
        (None, Some(policies)) => answer(context, asked, policies, GateDecision::Deny).await,
        (None, None) => put_in_force(context).await,
    }
}

/// The holder reads them: what it cannot use it refuses, and keeps those it has.
async fn put_in_force(context: &Context) -> Result<u8, Failure> {
    let done: PutInForce = Desk::open(context)?.post_again("/api/policies", &json!({})).await?;
    if context.is_json() {
        print_json(&done)?;
        return Ok(exit::DONE);
    }
    let PutInForce { place, policies, digest, changed, waiting, alone, .. } = done;
    let state = match (&waiting, changed) {
        (Some(_), _) => "not in force yet",
        (None, true) => "in force now",
        (None, false) => "in force already",
    };
    outln!("{place}: {policies} policies, {state}, {digest}");
    if alone {
        outln!("Nobody else could look at them, which the record says.");
    }
    if let Some(waits) = &waiting {
        tell(waits);
        outln!("`eparch policy waiting` shows what would change.");
    }
    Ok(exit::DONE)
}

/// Who has to do what, until policies that wait are in force.
pub(super) fn tell(waits: &PoliciesWait) {
    let PoliciesWait { digest, offered_by, approvals, approved_by, .. } = waits;
    let missing = usize::from(*approvals).saturating_sub(approved_by.len());
    let many = super::counted(missing, "other person", "other people");
    let until = when::until(waits.until);
    outln!("{}", paint::out().warn(&format!("{digest} waits for {many}; those in force stay until then")));
    outln!(
        "An approver or an admin looks and answers who cannot be {offered_by}, as far as keys can tell; unanswered it is over {until}:"
    );
    outln!("  eparch --as NAME policy load --approve {digest} --rationale TEXT");
    outln!("  eparch --as NAME policy load --deny {digest} --rationale TEXT");
}

async fn answer(
    context: &Context,
    asked: &LoadPolicies,
    policies: Digest,
    decision: GateDecision,
) -> Result<u8, Failure> {
    // A signed answer proves itself; somebody of this home carries it.
    let desk = if asked.key.is_some() { Desk::for_owner(context)? } else { Desk::open(context)? };
    let by = match context.named_operator() {
        Some(name) => name.clone(),
        None => desk.home().owner()?,
    };
    let rationale = asked.rationale.clone().unwrap_or_default();
    let signed = match &asked.key {
        None => None,
        Some(file) => {
            let before: InForce = desk.get("/api/policies").await?;
            let waits = before.waiting.ok_or_else(|| {
                Failure::new("EP0814", format!("{policies} waits for nobody"))
                    .hint("`eparch policy load` offers those of the home")
            })?;
            let PoliciesWait { offered_by, at, .. } = waits;
            let statement = policies_statement(&offered_by, at, &policies, decision, &by, &rationale);
            Some(sign(file, &by, &statement)?)
        }
    };
    let body = Answer { decision, rationale, subject: policies, signed };
    let after: InForce = desk.post("/api/policies/answer", &body).await?;
    if context.is_json() {
        print_json(&after)?;
        return Ok(exit::DONE);
    }
    match &after.waiting {
        Some(waits) if waits.digest == policies => tell(waits),
        _ if after.digest == policies => {
            outln!("{} policies, in force now, {policies}", after.policies.len());
        }
        _ => outln!("{policies} waits no longer; {} stays in force.", after.digest),
    }
    Ok(exit::DONE)
}
