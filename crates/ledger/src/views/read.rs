//! Asking for runs and gates.

use eparch_domain::{Artifact, GateId, Name, RunId};
use rusqlite::named_params;

use super::column::Columns;
use super::{ApprovalView, RunDetail, RunSummary, StageView, Views, ViewsError, VoteView, WatchedView};

/// Which runs are asked for.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only those that have not ended.
    pub live_only: bool,
    /// At most so many.
    pub limit: u32,
    /// Older than this one: the last of the page before. After a run that is not known, there is none.
    pub before: Option<RunId>,
}

/// Which gates are asked for.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Only those that wait.
    pub waiting_only: bool,
    /// Opened after this one: the last of the page before. After a gate that is not known, there is none.
    pub after: Option<GateId>,
    /// At most so many.
    pub limit: u32,
}

const RUNS: &str = "SELECT * FROM runs WHERE tenant_id = :tenant";

const APPROVALS: &str = "SELECT * FROM approvals WHERE tenant_id = :tenant";

/// What is read of watched policies, and what makes two of their words the same.
const WATCHED: &str = "w.policy, w.would, w.reason_code, w.decided, w.otherwise, count(*) AS times";
const WATCHED_BY: &str = "w.policy, w.would, w.reason_code, w.decided, w.otherwise";

/// So many words of watched policies are shown of a run or a gate; each of them stands in the record.
const WATCHED_SHOWN: u32 = 256;

impl Views {
    /// Runs, newest first.
    pub fn runs(&self, tenant: &Name, filter: &RunFilter) -> Result<Vec<RunSummary>, ViewsError> {
        let live = if filter.live_only { " AND ended_at IS NULL" } else { "" };
        let query = format!(
            "{RUNS}{live} AND (:before IS NULL OR (opened_seq, run_id) < (SELECT opened_seq, run_id FROM runs \
             WHERE tenant_id = :tenant AND run_id = :before)) ORDER BY opened_seq DESC, run_id DESC LIMIT :limit"
        );
        let before = filter.before.map(|run| run.to_string());
        let values = named_params! { ":tenant": tenant.as_str(), ":before": before, ":limit": filter.limit };
        self.list(&query, values, summary)
    }

    /// The newest run.
    pub fn latest_run(&self, tenant: &Name) -> Result<Option<RunSummary>, ViewsError> {
        let newest = RunFilter { limit: 1, ..RunFilter::default() };
        Ok(self.runs(tenant, &newest)?.pop())
    }

    /// Everything about a run.
    pub fn run(&self, tenant: &Name, run: RunId) -> Result<Option<RunDetail>, ViewsError> {
        let run = run.to_string();
        let values = named_params! { ":tenant": tenant.as_str(), ":run": run };
        let Some(mut found) = self.list(&format!("{RUNS} AND run_id = :run"), values, detail)?.pop() else {
            return Ok(None);
        };
        let stages = "SELECT s.*, a.phase, a.confinement FROM stages s LEFT JOIN agents a USING (tenant_id, agent_id) \
                      WHERE s.tenant_id = :tenant AND s.run_id = :run ORDER BY s.ix";
        found.stages = self.list(stages, values, stage)?;
        let artifacts = "SELECT * FROM artifacts WHERE tenant_id = :tenant AND run_id = :run ORDER BY ix, no";
        for (ix, artifact) in self.list(artifacts, values, artifact)? {
            // Places have no gaps: a run's stages are written together.
            if let Some(stage) = found.stages.get_mut(ix) {
                stage.artifacts.push(artifact);
            }
        }
        let spawned = format!("{RUNS} AND parent_run = :run ORDER BY opened_seq, run_id");
        found.spawned = self.list(&spawned, values, |row| row.parsed("run_id"))?;
        let approvals = format!("{APPROVALS} AND run_id = :run ORDER BY opened_seq, opened_no");
        found.approvals = self.list(&approvals, values, approval)?;
        self.complete(tenant, &mut found.approvals)?;
        let watched = format!(
            "SELECT {WATCHED} FROM watched w WHERE tenant_id = :tenant AND run_id = :run GROUP BY {WATCHED_BY} \
             ORDER BY otherwise DESC, times DESC, {WATCHED_BY} LIMIT {WATCHED_SHOWN}"
        );
        found.watched = self.list(&watched, values, watched_row)?;
        Ok(Some(found))
    }

    /// The entry that a run began with: what was asked for stands there in full.
    pub fn beginning_of(&self, tenant: &Name, run: RunId) -> Result<Option<u64>, ViewsError> {
        let values = named_params! { ":tenant": tenant.as_str(), ":run": run.to_string() };
        let found =
            self.list(&format!("{RUNS} AND run_id = :run"), values, |row| row.number("opened_seq"))?;
        Ok(found.first().copied())
    }

    /// Gates, in the order they opened: those that wait, or all that ever did.
    pub fn approvals(&self, tenant: &Name, waiting_only: bool) -> Result<Vec<ApprovalView>, ViewsError> {
        self.approvals_page(tenant, &ApprovalFilter { waiting_only, after: None, limit: u32::MAX })
    }

    /// Gates, in the order they opened, a page at a time.
    pub fn approvals_page(
        &self,
        tenant: &Name,
        filter: &ApprovalFilter,
    ) -> Result<Vec<ApprovalView>, ViewsError> {
        let waiting = if filter.waiting_only { " AND outcome IS NULL" } else { "" };
        let query = format!(
            "{APPROVALS}{waiting} AND (:after IS NULL OR (opened_seq, opened_no) > (SELECT opened_seq, opened_no \
             FROM approvals WHERE tenant_id = :tenant AND gate_id = :after)) ORDER BY opened_seq, opened_no LIMIT :limit"
        );
        let after = filter.after.map(|gate| gate.to_string());
        let values = named_params! { ":tenant": tenant.as_str(), ":after": after, ":limit": filter.limit };
        let mut found = self.list(&query, values, approval)?;
        self.complete(tenant, &mut found)?;
        Ok(found)
    }

    /// One gate.
    pub fn approval(&self, tenant: &Name, gate: GateId) -> Result<Option<ApprovalView>, ViewsError> {
        let values = named_params! { ":tenant": tenant.as_str(), ":gate": gate.to_string() };
        let mut found = self.list(&format!("{APPROVALS} AND gate_id = :gate"), values, approval)?;
        self.complete(tenant, &mut found)?;
        Ok(found.pop())
    }

    /// Adds the answers, and what watched policies said beside the decision that opened each.
    fn complete(&self, tenant: &Name, approvals: &mut [ApprovalView]) -> Result<(), ViewsError> {
        let votes =
            "SELECT * FROM votes WHERE tenant_id = :tenant AND gate_id = :gate ORDER BY journal_seq, voter";
        // Whoever comes back for what was approved is decided on once more, for the same gate.
        let watched = format!(
            "SELECT {WATCHED} FROM approvals a JOIN watched w ON w.tenant_id = a.tenant_id \
             AND w.journal_seq = a.opened_seq AND w.gate_id = a.gate_id \
             WHERE a.tenant_id = :tenant AND a.gate_id = :gate GROUP BY {WATCHED_BY} \
             ORDER BY otherwise DESC, {WATCHED_BY} LIMIT {WATCHED_SHOWN}"
        );
        for approval in approvals {
            let values = named_params! { ":tenant": tenant.as_str(), ":gate": approval.gate.to_string() };
            approval.votes = self.list(votes, values, vote)?;
            approval.watched = self.list(&watched, values, watched_row)?;
        }
        Ok(())
    }
}

fn summary(columns: &Columns<'_>) -> Result<RunSummary, ViewsError> {
    Ok(RunSummary {
        pipeline_id: columns.parsed("run_id")?,
        name: columns.parsed("name")?,
        status: columns.parsed("status")?,
        reason: columns.text("reason")?,
        requester: columns.parsed("requester")?,
        tier: columns.tier("tier")?,
        plan_id: columns.parsed("plan_id")?,
        started_at: columns.parsed("started_at")?,
        ended_at: columns.parsed_or_null("ended_at")?,
        exit_code: columns.number_or_null("exit_code")?,
        repeats: columns.parsed_or_null("repeats")?,
        parent_id: columns.parsed_or_null("parent_run")?,
        parent_agent: columns.parsed_or_null("parent_agent")?,
        spawn_reason: columns.text_or_null("spawn_reason")?,
        stages_total: columns.number("stages_total")?,
        stages_ended: columns.number("stages_ended")?,
        approvals_waiting: columns.number("approvals_waiting")?,
        decided_otherwise: columns.number("decided_otherwise")?,
    })
}

fn detail(columns: &Columns<'_>) -> Result<RunDetail, ViewsError> {
    Ok(RunDetail {
        summary: summary(columns)?,
        definition: columns.parsed("definition")?,
        inputs: columns.json("inputs")?,
        root: columns.text("root")?,
        stages: Vec::new(),
        spawned: Vec::new(),
        approvals: Vec::new(),
        watched: Vec::new(),
    })
}

fn stage(columns: &Columns<'_>) -> Result<StageView, ViewsError> {
    Ok(StageView {
        name: columns.parsed("name")?,
        kind: columns.parsed("kind")?,
        status: columns.parsed("status")?,
        reason: columns.text("reason")?,
        parent: columns.parsed_or_null("parent")?,
        branch: columns.text_or_null("branch")?,
        requires: columns.json("requires")?,
        attempts: columns.number("attempts")?,
        agent: columns.parsed_or_null("agent_id")?,
        phase: columns.parsed_or_null("phase")?,
        tier: columns.tier_or_null("tier")?,
        started_at: columns.parsed_or_null("started_at")?,
        ended_at: columns.parsed_or_null("ended_at")?,
        outputs: columns.json("outputs")?,
        artifacts: Vec::new(),
        confinement: columns.json_or_default("confinement")?,
    })
}

/// An artifact with the place of its stage.
fn artifact(columns: &Columns<'_>) -> Result<(usize, Artifact), ViewsError> {
    let artifact = Artifact {
        path: columns.text("path")?,
        digest: columns.parsed("digest")?,
        size: columns.number("size")?,
        grade: columns.parsed("grade")?,
    };
    Ok((columns.number("ix")?, artifact))
}

fn approval(columns: &Columns<'_>) -> Result<ApprovalView, ViewsError> {
    Ok(ApprovalView {
        gate: columns.parsed("gate_id")?,
        pipeline_id: columns.parsed("run_id")?,
        pipeline: columns.parsed("pipeline")?,
        stage: columns.parsed("stage")?,
        purpose: columns.word("purpose")?,
        subject: columns.parsed("subject")?,
        sought: columns.json_or_default("sought")?,
        watched: Vec::new(),
        plan_id: columns.parsed("plan_id")?,
        approvers: columns.json("approvers")?,
        quorum: columns.number("quorum")?,
        requester: columns.parsed("requester")?,
        separation: columns.word("separation")?,
        votes: Vec::new(),
        outcome: columns.word_or_null("outcome")?,
        opened_at: columns.parsed("opened_at")?,
        expires_at: columns.parsed("expires_at")?,
    })
}

fn watched_row(columns: &Columns<'_>) -> Result<WatchedView, ViewsError> {
    Ok(WatchedView {
        policy: columns.text("policy")?,
        would: columns.word("would")?,
        reason_code: columns.text("reason_code")?,
        decided: columns.word("decided")?,
        otherwise: columns.number::<u64>("otherwise")? != 0,
        times: columns.number("times")?,
    })
}

fn vote(columns: &Columns<'_>) -> Result<VoteView, ViewsError> {
    Ok(VoteView {
        by: columns.parsed("voter")?,
        decision: columns.word("decision")?,
        rationale: columns.text("rationale")?,
        separation: columns.word("separation")?,
        at: columns.parsed("ts")?,
    })
}
