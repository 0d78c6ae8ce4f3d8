//! How agents stand from run to run, and the requests to promote them.

use std::collections::BTreeSet;

use eparch_domain::{Action, AgentId, AlertId, LedgerTime, Name, PermitId, StandingId, Tier};
use eparch_governor::{
    AttemptEnd, Conduct, Evidence, GateDecision, Lowered, PromotionOpened, Ruled, is_planning, next_tier,
};
use rusqlite::{OptionalExtension as _, params};

use super::{AgentRow, Writing};
use crate::views::audit::violations_from;
use crate::views::column::{count, json};

/// A row of `agent_metrics`, as far as it does not follow from others.
struct Metrics {
    name: String,
    tier: Tier,
    evidence: Evidence,
}

/// An attempt of it ended.
pub(super) fn ended(to: &Writing<'_>, row: &AgentRow, end: &AttemptEnd) -> Result<(), rusqlite::Error> {
    let conduct = Conduct {
        violations: u32::try_from(row.violations).unwrap_or(u32::MAX),
        did: actions(&row.did),
        escalated: row.escalated,
        left_files: has_left_files(to, &row.agent_id)?,
        acted: row.acted,
    };
    change(to, row.standing.as_deref(), Some(&row.agent_name), |metrics| metrics.evidence.take(end, &conduct))
}

fn has_left_files(to: &Writing<'_>, agent: &str) -> Result<bool, rusqlite::Error> {
    let mut found = to.sql.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM agent_artifacts WHERE tenant_id = ?1 AND agent_id = ?2)",
    )?;
    found.query_row(params![to.tenant, agent], |row| row.get(0))
}

/// An agent of it violated something.
pub(super) fn violated(to: &Writing<'_>, row: &AgentRow) -> Result<(), rusqlite::Error> {
    let now = to.record.at.ledger;
    change(to, row.standing.as_deref(), Some(&row.agent_name), |metrics| metrics.evidence.violate(now))
}

/// The alert that a violation of this entry raised.
pub(super) fn alerted(to: &Writing<'_>, alert: AlertId, agent: AgentId) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE violations SET alert_id = ?4 WHERE tenant_id = ?1 AND journal_seq = ?2 AND ts = ?3 AND agent_id = ?5 \
         AND no = (SELECT max(no) FROM violations WHERE tenant_id = ?1 AND journal_seq = ?2 AND agent_id = ?5)",
        &[&alert.to_string(), &agent.to_string()],
    )?;
    Ok(())
}

/// An agent was answered.
pub(super) fn ruled(to: &Writing<'_>, ruled: &Ruled) -> Result<(), rusqlite::Error> {
    let agent = ruled.agent.to_string();
    if let Some(given) = ruled.permit {
        to.run(
            "INSERT INTO permits (tenant_id, permit_id, agent_id, action, journal_seq, ts) VALUES (?1, ?4, ?5, ?6, ?2, ?3) \
             ON CONFLICT DO NOTHING",
            &[&given.permit.to_string(), &agent, &ruled.action.as_str()],
        )?;
    }
    if ruled.escalates() {
        to.run(
            "UPDATE agents SET escalated = 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
            &[&agent],
        )?;
    }
    Ok(())
}

/// What a permit is for was done: it was performed, or the agent says so, of which not everything counts.
pub(super) fn did(
    to: &Writing<'_>,
    agent: AgentId,
    permit: PermitId,
    ok: bool,
    counts: fn(Action) -> bool,
) -> Result<(), rusqlite::Error> {
    let mut action =
        to.sql.prepare_cached("SELECT action FROM permits WHERE tenant_id = ?1 AND permit_id = ?2")?;
    let action: Option<String> =
        action.query_row(params![to.tenant, permit.to_string()], |row| row.get(0)).optional()?;
    let (Some(row), Some(action), true) = (to.agent(agent)?, action, ok) else { return Ok(()) };
    let mut all = actions(&row.did);
    all.extend(action.parse::<Action>().ok().filter(|action| counts(*action)));
    to.run(
        "UPDATE agents SET did = ?5, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
        &[&row.agent_id, &json(&all)],
    )?;
    Ok(())
}

/// A permit is used: what it is for is being done.
pub(super) fn sets_out(to: &Writing<'_>, agent: AgentId, permit: PermitId) -> Result<(), rusqlite::Error> {
    let mut action =
        to.sql.prepare_cached("SELECT action FROM permits WHERE tenant_id = ?1 AND permit_id = ?2")?;
    let action: Option<String> =
        action.query_row(params![to.tenant, permit.to_string()], |row| row.get(0)).optional()?;
    if action.and_then(|action| action.parse::<Action>().ok()).is_some_and(is_planning) {
        return Ok(());
    }
    to.run(
        "UPDATE agents SET acted = 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
        &[&agent.to_string()],
    )?;
    Ok(())
}

fn actions(text: &str) -> BTreeSet<Action> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A standing is lower, or is to be earned again.
pub(super) fn lowered(
    to: &Writing<'_>,
    no: i64,
    standing: StandingId,
    tiers: (Tier, Tier),
    because: &Lowered,
) -> Result<(), rusqlite::Error> {
    let (by, why) = match because {
        Lowered::Violation { agent, violation } => (agent.to_string(), violation.to_string()),
        Lowered::Person { by, reason } => (by.to_string(), reason.clone()),
    };
    let row = NewPromotion { standing, tiers, kind: "demote", by: &by, rationale: &why, state: "approved" };
    row.write(to, no, &[], None)?;
    let id = standing.to_string();
    change(to, Some(&id), None, |metrics| {
        metrics.tier = tiers.1;
        if because.starts_anew() {
            metrics.evidence.start_anew();
        }
    })
}

/// Somebody asks for a promotion.
pub(super) fn requested(to: &Writing<'_>, no: i64, opened: &PromotionOpened) -> Result<(), rusqlite::Error> {
    let (by, subject) = (opened.by.to_string(), opened.subject.to_string());
    let (standing, tiers, rationale) = (opened.standing, (opened.from, opened.to), opened.rationale.as_str());
    let row = NewPromotion { standing, tiers, kind: "promote", by: &by, rationale, state: "requested" };
    row.write(to, no, &[], Some(&subject))
}

/// Somebody approved it, and others have to.
pub(super) fn answered(
    to: &Writing<'_>,
    no: i64,
    standing: StandingId,
    (by, decision): (&Name, GateDecision),
    rationale: &str,
) -> Result<(), rusqlite::Error> {
    // What it came to has a row of its own in the same entry.
    let decided = to.record.decision.facts.iter().any(|fact| {
        matches!(
            fact,
            eparch_governor::Fact::PromotionApproved { .. } | eparch_governor::Fact::PromotionDenied { .. }
        )
    });
    if decided || decision == GateDecision::Deny {
        return Ok(());
    }
    let Some(last) = last(to, standing)? else { return Ok(()) };
    let row = NewPromotion { rationale, ..NewPromotion::after(standing, &last, "requested") };
    row.write(to, no, &[by], last.subject.as_deref())
}

/// A promotion is decided on; with a tier, the standing has it from here on.
pub(super) fn decided(
    to: &Writing<'_>,
    no: i64,
    standing: StandingId,
    by: &[Name],
    raised_to: Option<Tier>,
) -> Result<(), rusqlite::Error> {
    let Some(last) = last(to, standing)? else { return Ok(()) };
    let state = if raised_to.is_some() { "approved" } else { "denied" };
    let answer = to.record.decision.facts.iter().find_map(|fact| match fact {
        eparch_governor::Fact::PromotionAnswered { rationale, .. } => Some(rationale.as_str()),
        _ => None,
    });
    let rationale = answer.unwrap_or("its standing was lowered");
    let row = NewPromotion { rationale, ..NewPromotion::after(standing, &last, state) };
    row.write(to, no, &by.iter().collect::<Vec<_>>(), last.subject.as_deref())?;
    let id = standing.to_string();
    change(to, Some(&id), None, |metrics| metrics.tier = raised_to.unwrap_or(metrics.tier))
}

/// A row of `promotions`: one for each change.
struct NewPromotion<'n> {
    standing: StandingId,
    tiers: (Tier, Tier),
    kind: &'static str,
    by: &'n str,
    rationale: &'n str,
    state: &'static str,
}

/// The last row of a standing.
struct Last {
    tiers: (Tier, Tier),
    by: String,
    subject: Option<String>,
}

impl<'n> NewPromotion<'n> {
    fn after(standing: StandingId, last: &'n Last, state: &'static str) -> NewPromotion<'n> {
        NewPromotion { standing, tiers: last.tiers, kind: "promote", by: &last.by, rationale: "", state }
    }

    fn write(
        &self,
        to: &Writing<'_>,
        no: i64,
        approvers: &[&Name],
        subject: Option<&str>,
    ) -> Result<(), rusqlite::Error> {
        to.run(
            "INSERT INTO promotions (tenant_id, journal_seq, ts, no, agent_id, from_tier, to_tier, kind, requested_by, \
             approved_by, second_approver, rationale, evidence_ref, state) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            &[
                &no,
                &self.standing.to_string(),
                &self.tiers.0.number(),
                &self.tiers.1.number(),
                &self.kind,
                &self.by,
                &approvers.first().map(|name| name.as_str()),
                &approvers.get(1).map(|name| name.as_str()),
                &self.rationale,
                &subject,
                &self.state,
            ],
        )?;
        Ok(())
    }
}

fn last(to: &Writing<'_>, standing: StandingId) -> Result<Option<Last>, rusqlite::Error> {
    let mut row = to.sql.prepare_cached(
        "SELECT from_tier, to_tier, requested_by, evidence_ref FROM promotions WHERE tenant_id = ?1 AND agent_id = ?2 \
         ORDER BY journal_seq DESC, no DESC LIMIT 1",
    )?;
    let tier = |number: i64| Tier::from_number(number.unsigned_abs()).unwrap_or_default();
    let row = row.query_row(params![to.tenant, standing.to_string()], |row| {
        Ok(Last { tiers: (tier(row.get(0)?), tier(row.get(1)?)), by: row.get(2)?, subject: row.get(3)? })
    });
    row.optional()
}

/// Changes a standing's row, or makes it. One whose agents never did anything has none.
fn change(
    to: &Writing<'_>,
    standing: Option<&str>,
    name: Option<&str>,
    change: impl FnOnce(&mut Metrics),
) -> Result<(), rusqlite::Error> {
    let Some(standing) = standing else { return Ok(()) };
    let mut row = to.sql.prepare_cached(
        "SELECT agent_name, current_tier, total_runs, compliant_runs, consecutive_compliant, actions, escalations, \
         last_violation_ms, plan_only_runs FROM agent_metrics WHERE tenant_id = ?1 AND agent_id = ?2",
    )?;
    let known = row.query_row(params![to.tenant, standing], |row| {
        let at: Option<i64> = row.get(7)?;
        let tier: i64 = row.get(1)?;
        let evidence = Evidence {
            runs: row.get(2)?,
            compliant: row.get(3)?,
            plan_only: row.get(8)?,
            consecutive: row.get(4)?,
            actions: actions(&row.get::<_, String>(5)?),
            escalations: row.get(6)?,
            last_violation: at.map(|at| LedgerTime::from_millis(at.unsigned_abs())),
        };
        let tier = Tier::from_number(tier.unsigned_abs()).unwrap_or_default();
        Ok(Metrics { name: row.get(0)?, tier, evidence })
    });
    let new = Metrics { name: String::new(), tier: Tier::T0, evidence: Evidence::default() };
    let mut metrics = known.optional()?.unwrap_or(new);
    let (runs, violated) = (metrics.evidence.runs, metrics.evidence.last_violation);
    change(&mut metrics);
    if let Some(name) = name {
        name.clone_into(&mut metrics.name);
    }
    let (evidence, now) = (&metrics.evidence, to.record.at.ledger);
    let eligible = next_tier(metrics.tier).is_some_and(|next| evidence.missing(next, now).is_empty());
    to.run(
        "INSERT INTO agent_metrics (tenant_id, agent_id, agent_name, current_tier, total_runs, compliant_runs, \
         consecutive_compliant, actions, escalations, violations_30d, last_run_at, last_violation_at, last_violation_ms, \
         promotion_eligible, plan_only_runs, journal_seq, ts) \
         SELECT ?1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, \
         (SELECT count(*) FROM violations WHERE tenant_id = ?1 AND standing = ?4 AND ts > ?12), \
         iif(?13, ?3, NULL), iif(?14, ?3, NULL), ?15, ?16, ?17, ?2, ?3 WHERE true \
         ON CONFLICT DO UPDATE SET agent_name = excluded.agent_name, current_tier = excluded.current_tier, \
         total_runs = excluded.total_runs, compliant_runs = excluded.compliant_runs, \
         consecutive_compliant = excluded.consecutive_compliant, actions = excluded.actions, \
         escalations = excluded.escalations, violations_30d = excluded.violations_30d, \
         last_run_at = coalesce(excluded.last_run_at, last_run_at), \
         last_violation_at = coalesce(excluded.last_violation_at, last_violation_at), \
         last_violation_ms = excluded.last_violation_ms, promotion_eligible = excluded.promotion_eligible, \
         plan_only_runs = excluded.plan_only_runs, \
         journal_seq = excluded.journal_seq, ts = excluded.ts",
        &[
            &standing,
            &metrics.name,
            &metrics.tier.number(),
            &evidence.runs,
            &evidence.compliant,
            &evidence.consecutive,
            &json(&evidence.actions),
            &evidence.escalations,
            &violations_from(to.record.at.wall).to_string(),
            &(evidence.runs > runs),
            &(evidence.last_violation != violated),
            &evidence.last_violation.map(|at| count(at.millis())),
            &eligible,
            &evidence.plan_only,
        ],
    )?;
    Ok(())
}
