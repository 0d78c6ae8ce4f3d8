//! What agents have earned: `agent list --earned`, `agent show`, `agent promote`, `agent demote`.

use eparch_daemon::promotion_statement;
use eparch_daemon::wire::{Answer, AskPromotion, Revoke, StandingDetail, StandingView, Waiting};
use eparch_domain::{Action, Digest, Name};
use eparch_governor::GateDecision;

use super::approvals::sign;
use crate::args::Promote;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::{errln, outln};
use crate::table::{Table, plain};
use crate::{paint, watch, when};

pub(super) async fn list(context: &Context, desk: &Desk<'_>) -> Result<(), Failure> {
    let known: Vec<StandingView> = desk.get("/api/agents").await?;
    if context.is_json() {
        return print_json(&known);
    }
    if known.is_empty() {
        context.say("No agent has ended a run yet.");
        return Ok(());
    }
    let mut table = Table::new(&["STANDING", "AGENT", "TIER", "RUNS", "COMPLIANT", "IN A ROW", "VIOLATIONS"]);
    for of in &known {
        table.row([
            plain(of.standing.to_string()),
            plain(of.agent_name.clone()),
            plain(of.tier.to_string()),
            plain(of.total_runs.to_string()),
            plain(of.compliant_runs.to_string()),
            plain(of.consecutive_compliant.to_string()),
            plain(of.violations_30d.to_string()),
        ]);
    }
    table.print();
    Ok(())
}

pub(super) async fn show(context: &Context, desk: &Desk<'_>, id: &str) -> Result<(), Failure> {
    let detail: StandingDetail = desk.get(&format!("/api/agents/{id}")).await?;
    if context.is_json() {
        return print_json(&detail);
    }
    let of = &detail.standing;
    let name = if of.agent_name.is_empty() { "never worked yet" } else { &of.agent_name };
    outln!("{} ({name}) has earned {} ({})", of.standing, of.tier, of.tier.name());
    evidence(of).iter().for_each(|line| outln!("{line}"));
    match &of.next {
        None => outln!("  there is no tier above"),
        Some(next) if next.missing.is_empty() => outln!("  its evidence suffices for {}", next.tier),
        Some(next) => outln!("  for {} it lacks: {}", next.tier, next.missing.join(", ")),
    }
    if let Some(waits) = &of.promotion {
        outln!(
            "  {} asks for {}: {}\n  {} of {} approvals; answer with:\n    eparch agent promote {} --approve --digest {} \
             --rationale \"…\" --as NAME",
            waits.requested_by,
            waits.to,
            paint::written_out(&waits.rationale),
            waits.approved_by.len(),
            waits.approvals,
            of.standing,
            waits.subject
        );
    }
    for row in &detail.promotions {
        let (from, to, by) = (row.from_tier, row.to_tier, &row.requested_by);
        let why = paint::written_out(&row.rationale);
        outln!("  {} {} {from} → {to} {}, asked by {by}: {why}", when::ago(row.ts), row.kind, row.state);
    }
    for row in &detail.violations {
        let alert = row.alert_id.map(|alert| format!(", {alert}")).unwrap_or_default();
        let what = paint::harmless(&row.detail);
        outln!("  {} {} ({}{alert}) by {}: {what}", when::ago(row.ts), row.kind, row.severity, row.agent_id);
    }
    Ok(())
}

pub(super) async fn promote(context: &Context, asked: &Promote) -> Result<(), Failure> {
    // A signed answer proves itself; somebody of this home carries it.
    let desk = if asked.key.is_some() { Desk::for_owner(context)? } else { Desk::open(context)? };
    let decision = match (asked.approve, asked.deny) {
        (true, _) => GateDecision::Approve,
        (_, true) => GateDecision::Deny,
        (false, false) => return ask(context, &desk, asked).await,
    };
    let by = match context.named_operator() {
        Some(name) => name.clone(),
        None => desk.home().owner()?,
    };
    let before: StandingDetail = desk.get(&format!("/api/agents/{}", asked.id)).await?;
    let standing = before.standing.standing;
    let subject = match (asked.digest, &before.standing.promotion) {
        (Some(digest), _) => digest,
        (None, None) => {
            return Err(Failure::new("EP0644", format!("nobody has asked for {standing} to be promoted"))
                .hint("`eparch agent promote ID --rationale TEXT` asks for it"));
        }
        // A no gives nobody anything, whatever waits by now.
        (None, Some(waits)) if decision == GateDecision::Deny => waits.subject,
        (None, Some(waits)) => match see_and_say(context, &before.standing, waits, &by)? {
            Some(shown) => shown,
            None => {
                outln!("It waits.");
                return Ok(());
            }
        },
    };
    let statement = promotion_statement(standing, &subject, decision, &by, &asked.rationale);
    let signed = asked.key.as_ref().map(|file| sign(file, &by, &statement)).transpose()?;
    let body = Answer { decision, rationale: asked.rationale.clone(), subject, signed };
    let after: StandingDetail = desk.post(&format!("/api/agents/{standing}/promotion"), &body).await?;
    if context.is_json() {
        return print_json(&after);
    }
    match (decision, &after.standing.promotion) {
        (GateDecision::Deny, _) => outln!("{standing} is not promoted; it stays at {}.", after.standing.tier),
        (GateDecision::Approve, None) => outln!("{standing} has {} now.", after.standing.tier),
        (GateDecision::Approve, Some(waits)) => {
            outln!("Approved as {by}; {} of {} approvals.", waits.approved_by.len(), waits.approvals);
        }
    }
    Ok(())
}

/// Shows what waits to somebody at a terminal and asks them; the digest of what they saw, when they said yes. A standing stays while
/// requests come and go: who sees none has approved none.
fn see_and_say(
    context: &Context,
    of: &StandingView,
    waits: &Waiting,
    by: &Name,
) -> Result<Option<Digest>, Failure> {
    if context.is_json() || !watch::can_ask() {
        return Err(Failure::new("EP0649", "an approval says what it approves")
            .hint(format!(
                "`eparch agent show {}` shows what waits, and the --digest that names it",
                of.standing
            ))
            .exit(exit::USAGE));
    }
    errln!("{} from {} to {}", of.standing, waits.from, waits.to);
    evidence(of).iter().for_each(|line| errln!("{line}"));
    errln!("  {} asks for it: {}", waits.requested_by, paint::harmless(&waits.rationale));
    errln!("  {}", waits.subject);
    Ok(watch::says_yes(&format!("Approve as {by}? [y]es, Enter leaves it waiting: "))
        .then_some(waits.subject))
}

/// What an agent has shown so far.
fn evidence(of: &StandingView) -> Vec<String> {
    let mut lines = vec![format!(
        "  {} runs, {} compliant, {} of them plan-only, the last {} in a row; {} correct escalations",
        of.total_runs, of.compliant_runs, of.plan_only_runs, of.consecutive_compliant, of.escalations
    )];
    if !of.actions.is_empty() {
        let actions: Vec<&str> = of.actions.iter().copied().map(Action::as_str).collect();
        lines.push(format!("  did in compliant runs: {}", actions.join(", ")));
    }
    lines
}

async fn ask(context: &Context, desk: &Desk<'_>, asked: &Promote) -> Result<(), Failure> {
    let body = AskPromotion { to: asked.to, rationale: asked.rationale.clone() };
    let after: StandingDetail = desk.post(&format!("/api/agents/{}/promote", asked.id), &body).await?;
    if context.is_json() {
        return print_json(&after);
    }
    let standing = after.standing.standing;
    if let Some(waits) = after.standing.promotion {
        outln!("Asked for {standing} to be promoted from {} to {}.", waits.from, waits.to);
        outln!("It takes {} approvals of people who did not ask for it.", waits.approvals);
    }
    Ok(())
}

pub(super) async fn demote(
    context: &Context,
    desk: &Desk<'_>,
    id: &str,
    reason: String,
) -> Result<(), Failure> {
    let after: StandingDetail = desk.post(&format!("/api/agents/{id}/demote"), &Revoke { reason }).await?;
    if context.is_json() {
        return print_json(&after);
    }
    outln!("{} has {} now.", after.standing.standing, after.standing.tier);
    Ok(())
}
