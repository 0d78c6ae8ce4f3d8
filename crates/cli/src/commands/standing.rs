//! What agents have earned: `agent list --earned`, `agent show`, `agent promote`, `agent demote`.

use eparch_daemon::promotion_statement;
use eparch_daemon::wire::{Answer, AskPromotion, Revoke, StandingDetail, StandingView};
use eparch_domain::Action;
use eparch_governor::GateDecision;

use super::approvals::sign;
use crate::args::Promote;
use crate::context::{Context, print_json};
use crate::failure::Failure;
use crate::holder::Desk;
use crate::output::outln;
use crate::paint;
use crate::table::{Table, plain};
use crate::when;

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
    outln!(
        "  {} runs, {} compliant, the last {} in a row; {} correct escalations",
        of.total_runs,
        of.compliant_runs,
        of.consecutive_compliant,
        of.escalations
    );
    if !of.actions.is_empty() {
        let actions: Vec<&str> = of.actions.iter().copied().map(Action::as_str).collect();
        outln!("  did in compliant runs: {}", actions.join(", "));
    }
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
            paint::harmless(&waits.rationale),
            waits.approved_by.len(),
            waits.approvals,
            of.standing,
            waits.subject
        );
    }
    for row in &detail.promotions {
        let (from, to, by) = (row.from_tier, row.to_tier, &row.requested_by);
        let why = paint::harmless(&row.rationale);
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
    let path = format!("/api/agents/{}", asked.id);
    let before: StandingDetail = desk.get(&path).await?;
    let standing = before.standing.standing;
    let waits = before.standing.promotion.map(|waits| waits.subject);
    let Some(subject) = asked.digest.or(waits) else {
        return Err(Failure::new("EP0644", format!("nobody has asked for {standing} to be promoted"))
            .hint("`eparch agent promote ID --rationale TEXT` asks for it"));
    };
    let by = match context.named_operator() {
        Some(name) => name.clone(),
        None => desk.home().owner()?,
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
