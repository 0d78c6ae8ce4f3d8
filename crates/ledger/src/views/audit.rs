//! Asking the audit trail: what was done and decided, what was violated, how agents stand.

use std::fmt;
use std::str::FromStr;

use eparch_domain::{
    AgentId, AlertId, Digest, Name, Phase, RevocationType, RunId, Severity, StandingId, Tier, Timestamp,
    ViolationType, limits,
};
use rusqlite::{ToSql, named_params};
use serde::{Deserialize, Serialize};

use super::column::{Columns, count, word};
use super::error::sql;
use super::{Views, ViewsError};

/// What was decided about an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// It may be.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionResult {
    /// It was done.
    Ok,
    /// It went wrong.
    Error,
    /// It was refused.
    Denied,
}

/// The place of an action in a tenant's history; `12.0` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionPlace {
    /// The entry.
    pub seq: u64,
    /// Which of its actions: 0 is what was asked, the others are what followed.
    pub no: u32,
}

impl fmt::Display for ActionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.no)
    }
}

/// Why a text is not an [`ActionPlace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the place of an action: expected two numbers with a dot between them, as in 12.0")]
pub struct BadActionPlace;

impl FromStr for ActionPlace {
    type Err = BadActionPlace;
    fn from_str(text: &str) -> Result<Self, BadActionPlace> {
        let (seq, no) = text.split_once('.').ok_or(BadActionPlace)?;
        let (seq, no) = (seq.parse().map_err(|_| BadActionPlace)?, no.parse().map_err(|_| BadActionPlace)?);
        Ok(ActionPlace { seq, no })
    }
}

impl Serialize for ActionPlace {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActionPlace {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which actions are asked for; everything that is left out fits.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// By or about this agent.
    pub agent: Option<AgentId>,
    /// Of this name, such as `execute_command`.
    pub action: Option<String>,
    /// Decided so.
    pub decision: Option<Ruling>,
    /// Not before this instant.
    pub since: Option<Timestamp>,
    /// Older than this one: the last of the page before.
    pub before: Option<ActionPlace>,
    /// At most so many.
    pub limit: u32,
}

impl ActionFilter {
    /// The index that leaves the fewest rows. It is named because SQLite, without statistics, walks the whole trail in
    /// order rather than sort, although none of these has to be sorted.
    fn index(&self) -> &'static str {
        match self {
            ActionFilter { agent: Some(_), .. } => "INDEXED BY actions_of_agent",
            ActionFilter { run: Some(_), .. } => "INDEXED BY actions_of_run",
            ActionFilter { decision: Some(Ruling::Deny), .. } => "INDEXED BY actions_denied",
            _ => "",
        }
    }
}

/// One row of the audit trail (requirements 1.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    /// Its place.
    pub action_id: ActionPlace,
    /// When it was decided.
    pub ts: Timestamp,
    /// Who acted: an operator or an agent; nobody when it was the home itself.
    pub actor: Option<String>,
    /// The agent, if one acted or was acted on.
    pub agent_id: Option<AgentId>,
    /// That agent's name from run to run: `pipeline/stage`.
    pub agent_name: Option<String>,
    /// The template that agent was made from.
    pub agent_version: Option<String>,
    /// The tier it works at.
    pub tier: Option<Tier>,
    /// The holder's epoch.
    pub session_id: String,
    /// The run.
    pub pipeline_id: Option<RunId>,
    /// Where the agent was in its life.
    pub phase: Option<Phase>,
    /// What it was.
    pub action: String,
    /// With or on what.
    pub target: Option<String>,
    /// What was decided.
    pub decision: Ruling,
    /// Why.
    pub decision_reason: Option<String>,
    /// The digest of everything it was asked with.
    pub params_digest: Option<Digest>,
    /// What came of it.
    pub result: Option<ActionResult>,
    /// The code of what went wrong.
    pub error_type: Option<String>,
    /// What went wrong, for people.
    pub error_message: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
}

/// A violation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViolationRow {
    /// Its place.
    pub violation_id: ActionPlace,
    /// When it was found.
    pub ts: Timestamp,
    /// By which agent.
    pub agent_id: AgentId,
    /// That agent's name from run to run.
    pub agent_name: Option<String>,
    /// In which run.
    pub pipeline_id: Option<RunId>,
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: ViolationType,
    /// How bad.
    pub severity: Severity,
    /// The coarse cause.
    pub revocation_type: RevocationType,
    /// What exactly.
    pub detail: String,
    /// The standing it counts against.
    pub standing: Option<StandingId>,
    /// The alert it raised; one that is less than HIGH raises none.
    pub alert_id: Option<AlertId>,
}

/// One change of what an agent has earned (requirements 1.5): asked for, approved, denied, or lowered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromotionRow {
    /// Its place.
    pub promotion_id: ActionPlace,
    /// When.
    pub ts: Timestamp,
    /// The standing.
    pub agent_id: StandingId,
    /// The tier it had.
    pub from_tier: Tier,
    /// The tier it is about.
    pub to_tier: Tier,
    /// `promote` or `demote`.
    pub kind: String,
    /// Who asked; of a demotion that a violation led to, the agent.
    pub requested_by: String,
    /// Who approved or denied it.
    pub approved_by: Option<Name>,
    /// Who else approved it.
    pub second_approver: Option<Name>,
    /// Why.
    pub rationale: String,
    /// The digest of what was approved.
    pub evidence_ref: Option<Digest>,
    /// `requested`, `approved` or `denied`.
    pub state: String,
}

/// How an agent stands from run to run. An agent's run is an attempt that ended, well or badly, by its own doing; one
/// that was cancelled or cut off counts for nothing. It is compliant when it ended well and violated nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentMetrics {
    /// The standing.
    pub agent_id: StandingId,
    /// `pipeline/stage`, where it worked last.
    pub agent_name: String,
    /// The tier it has earned.
    pub current_tier: Tier,
    /// Runs.
    pub total_runs: u64,
    /// Compliant ones.
    pub compliant_runs: u64,
    /// Compliant ones in which it planned, and did nothing else.
    pub plan_only_runs: u64,
    /// Compliant ones since the last that was not, or since the last violation.
    pub consecutive_compliant: u64,
    /// Violations in the last 30 days.
    pub violations_30d: u64,
    /// When it last ended a run.
    pub last_run_at: Option<Timestamp>,
    /// When it last violated something.
    pub last_violation_at: Option<Timestamp>,
    /// Whether the evidence sufficed for the next tier when it last changed.
    pub promotion_eligible: bool,
}

/// The instant before which violations no longer count.
pub(super) fn violations_from(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(count(limits::VIOLATIONS_COUNT.millis())))
}

impl Views {
    /// Actions, newest first.
    pub fn actions(&self, tenant: &Name, filter: &ActionFilter) -> Result<Vec<ActionRow>, ViewsError> {
        let index = filter.index();
        let mut query = format!("SELECT * FROM agent_actions {index} WHERE tenant_id = :tenant");
        let mut values: Vec<(&str, Box<dyn ToSql>)> = vec![(":tenant", Box::new(tenant.to_string()))];
        let mut only = |condition: &str, name: &'static str, value: Box<dyn ToSql>| {
            query.push_str(" AND ");
            query.push_str(condition);
            values.push((name, value));
        };
        if let Some(run) = filter.run {
            only("pipeline_id = :run", ":run", Box::new(run.to_string()));
        }
        if let Some(agent) = filter.agent {
            only("agent_id = :agent", ":agent", Box::new(agent.to_string()));
        }
        if let Some(action) = &filter.action {
            only("action = :action", ":action", Box::new(action.clone()));
        }
        if let Some(decision) = filter.decision {
            // Spelled out: the index of denials is used only where the statement itself says so.
            only(&format!("decision = '{}' AND :decision", word(&decision)), ":decision", Box::new(true));
        }
        if let Some(since) = filter.since {
            only("ts >= :since", ":since", Box::new(since.to_string()));
        }
        if let Some(before) = filter.before {
            only("(journal_seq, no) < (:before_seq, :before_no)", ":before_seq", Box::new(count(before.seq)));
            values.push((":before_no", Box::new(before.no)));
        }
        query.push_str(" ORDER BY journal_seq DESC, no DESC LIMIT :limit");
        values.push((":limit", Box::new(filter.limit)));
        let values: Vec<(&str, &dyn ToSql)> =
            values.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        self.list(&query, values.as_slice(), action_row)
    }

    /// Violations, newest first; of every agent, or of the one with this name from run to run.
    pub fn violations(
        &self,
        tenant: &Name,
        agent_name: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ViolationRow>, ViewsError> {
        // Two statements, since one with a condition that may not apply can use no index.
        let order = "ORDER BY journal_seq DESC, no DESC LIMIT :limit";
        match agent_name {
            None => self.list(
                &format!("SELECT * FROM violations WHERE tenant_id = :tenant {order}"),
                named_params! { ":tenant": tenant.as_str(), ":limit": limit },
                violation_row,
            ),
            Some(name) => self.list(
                &format!("SELECT * FROM violations WHERE tenant_id = :tenant AND agent_name = :name {order}"),
                named_params! { ":tenant": tenant.as_str(), ":name": name, ":limit": limit },
                violation_row,
            ),
        }
    }

    /// How every agent stands at `now`, by name.
    pub fn metrics(&self, tenant: &Name, now: Timestamp) -> Result<Vec<AgentMetrics>, ViewsError> {
        let query = "SELECT m.*, (SELECT count(*) FROM violations v WHERE v.tenant_id = m.tenant_id \
                     AND v.standing = m.agent_id AND v.ts > :from) AS violations_now \
                     FROM agent_metrics m WHERE m.tenant_id = :tenant ORDER BY m.agent_id";
        let from = violations_from(now).to_string();
        self.list(query, named_params! { ":tenant": tenant.as_str(), ":from": from }, metrics_row)
    }

    /// Violations under a standing, newest first.
    pub fn violations_of(
        &self,
        tenant: &Name,
        standing: StandingId,
        limit: u32,
    ) -> Result<Vec<ViolationRow>, ViewsError> {
        let query = "SELECT * FROM violations WHERE tenant_id = :tenant AND standing = :standing \
                     ORDER BY journal_seq DESC, no DESC LIMIT :limit";
        let values =
            named_params! { ":tenant": tenant.as_str(), ":standing": standing.to_string(), ":limit": limit };
        self.list(query, values, violation_row)
    }

    /// Changes of what agents have earned, newest first; of every standing, or of one.
    pub fn promotions(
        &self,
        tenant: &Name,
        standing: Option<StandingId>,
        limit: u32,
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        let order = "ORDER BY journal_seq DESC, no DESC LIMIT :limit";
        match standing {
            None => self.list(
                &format!("SELECT * FROM promotions WHERE tenant_id = :tenant {order}"),
                named_params! { ":tenant": tenant.as_str(), ":limit": limit },
                promotion_row,
            ),
            Some(standing) => self.list(
                &format!("SELECT * FROM promotions WHERE tenant_id = :tenant AND agent_id = :standing {order}"),
                named_params! { ":tenant": tenant.as_str(), ":standing": standing.to_string(), ":limit": limit },
                promotion_row,
            ),
        }
    }

    /// Under which standing an agent works or worked.
    pub fn standing_of(&self, tenant: &Name, agent: AgentId) -> Result<Option<StandingId>, ViewsError> {
        let query = "SELECT standing FROM agents WHERE tenant_id = :tenant AND agent_id = :agent";
        let values = named_params! { ":tenant": tenant.as_str(), ":agent": agent.to_string() };
        Ok(self.list(query, values, |columns| columns.parsed_or_null("standing"))?.pop().flatten())
    }

    /// Every row that a query yields.
    pub(super) fn list<P: rusqlite::Params, T>(
        &self,
        query: &str,
        values: P,
        read: impl Fn(&Columns<'_>) -> Result<T, ViewsError>,
    ) -> Result<Vec<T>, ViewsError> {
        let doing = sql("read the views");
        let mut rows = self.connection.prepare_cached(query).map_err(doing)?;
        let mut rows = rows.query(values).map_err(doing)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(doing)? {
            found.push(read(&Columns(row))?);
        }
        Ok(found)
    }
}

fn place(columns: &Columns<'_>) -> Result<ActionPlace, ViewsError> {
    Ok(ActionPlace { seq: columns.number("journal_seq")?, no: columns.number("no")? })
}

fn action_row(columns: &Columns<'_>) -> Result<ActionRow, ViewsError> {
    Ok(ActionRow {
        action_id: place(columns)?,
        ts: columns.parsed("ts")?,
        actor: columns.text_or_null("actor")?,
        agent_id: columns.parsed_or_null("agent_id")?,
        agent_name: columns.text_or_null("agent_name")?,
        agent_version: columns.text_or_null("agent_version")?,
        tier: columns.tier_or_null("tier")?,
        session_id: columns.text("session_id")?,
        pipeline_id: columns.parsed_or_null("pipeline_id")?,
        phase: columns.parsed_or_null("phase")?,
        action: columns.text("action")?,
        target: columns.text_or_null("target")?,
        decision: columns.word("decision")?,
        decision_reason: columns.text_or_null("decision_reason")?,
        params_digest: columns.parsed_or_null("params_digest")?,
        result: columns.word_or_null("result")?,
        error_type: columns.text_or_null("error_type")?,
        error_message: columns.text_or_null("error_message")?,
        duration_ms: columns.number_or_null("duration_ms")?,
    })
}

fn violation_row(columns: &Columns<'_>) -> Result<ViolationRow, ViewsError> {
    Ok(ViolationRow {
        violation_id: place(columns)?,
        ts: columns.parsed("ts")?,
        agent_id: columns.parsed("agent_id")?,
        agent_name: columns.text_or_null("agent_name")?,
        pipeline_id: columns.parsed_or_null("pipeline_id")?,
        kind: columns.parsed("type")?,
        severity: columns.parsed("severity")?,
        revocation_type: columns.parsed("revocation_type")?,
        detail: columns.text("detail")?,
        standing: columns.parsed_or_null("standing")?,
        alert_id: columns.parsed_or_null("alert_id")?,
    })
}

fn promotion_row(columns: &Columns<'_>) -> Result<PromotionRow, ViewsError> {
    Ok(PromotionRow {
        promotion_id: place(columns)?,
        ts: columns.parsed("ts")?,
        agent_id: columns.parsed("agent_id")?,
        from_tier: columns.tier("from_tier")?,
        to_tier: columns.tier("to_tier")?,
        kind: columns.text("kind")?,
        requested_by: columns.text("requested_by")?,
        approved_by: columns.parsed_or_null("approved_by")?,
        second_approver: columns.parsed_or_null("second_approver")?,
        rationale: columns.text("rationale")?,
        evidence_ref: columns.parsed_or_null("evidence_ref")?,
        state: columns.text("state")?,
    })
}

fn metrics_row(columns: &Columns<'_>) -> Result<AgentMetrics, ViewsError> {
    Ok(AgentMetrics {
        agent_id: columns.parsed("agent_id")?,
        agent_name: columns.text("agent_name")?,
        current_tier: columns.tier("current_tier")?,
        total_runs: columns.number("total_runs")?,
        compliant_runs: columns.number("compliant_runs")?,
        plan_only_runs: columns.number("plan_only_runs")?,
        consecutive_compliant: columns.number("consecutive_compliant")?,
        violations_30d: columns.number("violations_now")?,
        last_run_at: columns.parsed_or_null("last_run_at")?,
        last_violation_at: columns.parsed_or_null("last_violation_at")?,
        promotion_eligible: columns.number::<u8>("promotion_eligible")? == 1,
    })
}
