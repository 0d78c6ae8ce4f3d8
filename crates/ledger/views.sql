CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- SHA-256 of the script as it was applied; a file that other scripts made is made anew.
    digest BLOB NOT NULL
) STRICT;

CREATE TABLE tenants (
    tenant_id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (tenant_id, project_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    -- The newest entry that is in the tables, and its leaf: another history does not pass for this one.
    seq INTEGER NOT NULL,
    leaf BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_quotas (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    resource TEXT NOT NULL,
    quota INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, resource)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_usage (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    -- `runs` or `agents`: those that began.
    resource TEXT NOT NULL,
    -- The day that is counted (UTC).
    period TEXT NOT NULL,
    used INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, resource, period)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    api_key_id TEXT NOT NULL GENERATED ALWAYS AS (journal_seq || '.' || no) VIRTUAL,
    ts TEXT NOT NULL,
    user_id TEXT NOT NULL,
    kept TEXT NOT NULL CHECK (kept IN ('home', 'remote')),
    -- SHA-256 of a key kept in the home, or a public key; the key itself is nowhere.
    key TEXT NOT NULL,
    revoked_at TEXT,
    PRIMARY KEY (tenant_id, journal_seq, no)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_good ON api_keys (tenant_id, user_id) WHERE revoked_at IS NULL;

CREATE TABLE user_roles (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    -- A JSON list of names.
    groups TEXT NOT NULL,
    max_tier INTEGER NOT NULL,
    added_by TEXT,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_templates (
    -- What templates_fts counts by.
    number INTEGER PRIMARY KEY,
    -- Who published it.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    template_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    -- A JSON list of words.
    tags TEXT NOT NULL DEFAULT '[]',
    tier INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    UNIQUE (tenant_id, template_id)
) STRICT;

CREATE TABLE template_versions (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    template_id TEXT NOT NULL,
    version TEXT NOT NULL,
    -- SHA-256 of the definition, which the journal keeps.
    digest TEXT NOT NULL,
    changelog TEXT,
    yanked INTEGER NOT NULL DEFAULT 0,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, template_id, version),
    FOREIGN KEY (tenant_id, template_id) REFERENCES agent_templates (tenant_id, template_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE template_installations (
    -- Who installed it, and whose it is.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    publisher_id TEXT NOT NULL,
    template_id TEXT NOT NULL,
    version TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, project_id, publisher_id, template_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects ON DELETE CASCADE,
    FOREIGN KEY (publisher_id, template_id, version) REFERENCES template_versions ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE template_ratings (
    -- Who rated it, and whose it is.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    publisher_id TEXT NOT NULL,
    template_id TEXT NOT NULL,
    rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment TEXT,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, publisher_id, template_id),
    FOREIGN KEY (publisher_id, template_id) REFERENCES agent_templates (tenant_id, template_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE template_downloads (
    -- Who fetched it, and whose it is.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    publisher_id TEXT NOT NULL,
    template_id TEXT NOT NULL,
    version TEXT NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, journal_seq, no),
    FOREIGN KEY (publisher_id, template_id, version) REFERENCES template_versions ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE templates_fts USING fts5 (name, description, tags, content = agent_templates, content_rowid = number);

CREATE TRIGGER template_added AFTER INSERT ON agent_templates BEGIN
    INSERT INTO templates_fts (rowid, name, description, tags)
    VALUES (NEW.number, NEW.name, NEW.description, NEW.tags);
END;

CREATE TRIGGER template_removed AFTER DELETE ON agent_templates BEGIN
    INSERT INTO templates_fts (templates_fts, rowid, name, description, tags)
    VALUES ('delete', OLD.number, OLD.name, OLD.description, OLD.tags);
END;

CREATE TRIGGER template_changed AFTER UPDATE ON agent_templates BEGIN
    INSERT INTO templates_fts (templates_fts, rowid, name, description, tags)
    VALUES ('delete', OLD.number, OLD.name, OLD.description, OLD.tags);
    INSERT INTO templates_fts (rowid, name, description, tags)
    VALUES (NEW.number, NEW.name, NEW.description, NEW.tags);
END;

CREATE TABLE runs (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    -- `pipeline_id` on the wire.
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    requester TEXT NOT NULL,
    tier INTEGER NOT NULL,
    plan_id TEXT NOT NULL,
    definition TEXT NOT NULL,
    -- A JSON object.
    inputs TEXT NOT NULL,
    root TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    repeats TEXT,
    repeats_from TEXT,
    stages_total INTEGER NOT NULL,
    stages_ended INTEGER NOT NULL DEFAULT 0,
    approvals_waiting INTEGER NOT NULL DEFAULT 0,
    -- The entry that brought it: runs are listed by it.
    opened_seq INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL, parent_run TEXT, parent_agent TEXT, spawn_reason TEXT, decided_otherwise INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, run_id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects ON DELETE CASCADE
) STRICT;

CREATE INDEX runs_by_age ON runs (tenant_id, opened_seq, run_id);

CREATE INDEX runs_alive ON runs (tenant_id, opened_seq, run_id) WHERE ended_at IS NULL;

CREATE TABLE stages (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    -- Its place in the definition.
    ix INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    parent TEXT,
    -- A branch's name, `then` or `else`.
    branch TEXT,
    -- A JSON list of names.
    requires TEXT NOT NULL,
    tier INTEGER,
    template TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- The agent of the last attempt.
    agent_id TEXT,
    started_at TEXT,
    ended_at TEXT,
    -- A JSON object.
    outputs TEXT NOT NULL DEFAULT '{}',
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL, standing TEXT,
    PRIMARY KEY (tenant_id, run_id, ix),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) STRICT;

CREATE TABLE agents (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    -- One agent is one attempt at one stage.
    agent_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    ix INTEGER NOT NULL,
    stage TEXT NOT NULL,
    -- Its name from run to run, pipeline/stage: what its standing is kept under.
    agent_name TEXT NOT NULL,
    -- The template it was made from, name@version.
    agent_version TEXT,
    attempt INTEGER NOT NULL,
    tier INTEGER NOT NULL,
    phase TEXT NOT NULL,
    status TEXT NOT NULL,
    -- The first word of its command.
    program TEXT,
    -- SHA-256 of its command as a JSON list.
    params_digest TEXT,
    packet TEXT,
    plan TEXT,
    manifest TEXT,
    report TEXT,
    -- A JSON list.
    confinement TEXT NOT NULL DEFAULT '[]',
    errors INTEGER NOT NULL DEFAULT 0,
    violations INTEGER NOT NULL DEFAULT 0,
    -- 1 once how it will have ended is settled.
    ending INTEGER NOT NULL DEFAULT 0,
    -- 1 once its holder died.
    cut_off INTEGER NOT NULL DEFAULT 0,
    began_at TEXT NOT NULL,
    -- Ledger time, for durations.
    began_ms INTEGER NOT NULL,
    released_at TEXT,
    ended_at TEXT,
    -- How, as JSON.
    ended TEXT,
    cpu_ms INTEGER,
    max_rss_bytes INTEGER,
    wall_ms INTEGER,
    lines INTEGER,
    lines_dropped INTEGER,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL, standing TEXT, did TEXT NOT NULL DEFAULT '[]', escalated INTEGER NOT NULL DEFAULT 0, acted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) STRICT;

CREATE INDEX agents_of_run ON agents (tenant_id, run_id);

CREATE TABLE agent_outputs (
    -- What an attempt put out so far, a row for each value: it may be much, and comes piece by piece.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    -- JSON.
    value TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, name)
) STRICT;

CREATE TABLE agent_artifacts (
    -- The files an attempt left so far, in their order.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    agent_id TEXT NOT NULL,
    no INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    grade TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    -- What completed and kept stages have left.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    run_id TEXT NOT NULL,
    ix INTEGER NOT NULL,
    no INTEGER NOT NULL,
    -- Who left it; nobody in this run when it was kept from an earlier one.
    agent_id TEXT,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    grade TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, run_id, ix, no),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX artifacts_by_digest ON artifacts (tenant_id, digest);

CREATE TABLE approvals (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    gate_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    ix INTEGER NOT NULL,
    stage TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    purpose TEXT NOT NULL,
    -- SHA-256 of exactly what is to be approved.
    subject TEXT NOT NULL,
    -- What an agent seeks to do, as JSON; nothing at a gate of the pipeline.
    sought TEXT,
    plan_id TEXT NOT NULL,
    -- A JSON list of names.
    approvers TEXT NOT NULL,
    quorum INTEGER NOT NULL,
    requester TEXT NOT NULL,
    separation TEXT NOT NULL,
    outcome TEXT,
    opened_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    closed_at TEXT,
    -- The entry that brought it and its number in it: gates are listed by them.
    opened_seq INTEGER NOT NULL,
    opened_no INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL, ends_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, gate_id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) STRICT;

CREATE INDEX approvals_by_age ON approvals (tenant_id, opened_seq, opened_no);

CREATE INDEX approvals_waiting ON approvals (tenant_id, opened_seq, opened_no) WHERE outcome IS NULL;

CREATE INDEX approvals_of_run ON approvals (tenant_id, run_id);

CREATE TABLE votes (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    gate_id TEXT NOT NULL,
    voter TEXT NOT NULL,
    decision TEXT NOT NULL,
    rationale TEXT NOT NULL,
    separation TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, gate_id, voter),
    FOREIGN KEY (tenant_id, gate_id) REFERENCES approvals ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_actions (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    -- Row 0 of an entry is what was asked and decided; the others are what agents did or were let do through it.
    no INTEGER NOT NULL,
    action_id TEXT NOT NULL GENERATED ALWAYS AS (journal_seq || '.' || no) VIRTUAL,
    ts TEXT NOT NULL,
    -- An operator or an agent; nobody when it was the home itself.
    actor TEXT,
    agent_id TEXT,
    -- pipeline/stage, as in agent_metrics.
    agent_name TEXT,
    agent_version TEXT,
    tier INTEGER,
    -- The holder's epoch.
    session_id TEXT NOT NULL,
    -- The run.
    pipeline_id TEXT,
    phase TEXT,
    action TEXT NOT NULL,
    target TEXT,
    decision TEXT NOT NULL CHECK (decision IN ('allow', 'deny')),
    decision_reason TEXT,
    confidence REAL,
    params_digest TEXT,
    result TEXT CHECK (result IN ('ok', 'error', 'denied')),
    error_type TEXT,
    error_message TEXT,
    duration_ms INTEGER,
    token_accessor TEXT,
    trace_id TEXT,
    span_id TEXT,
    side_effect TEXT,
    rollback_ref TEXT,
    PRIMARY KEY (tenant_id, journal_seq, no)
) STRICT, WITHOUT ROWID;

CREATE INDEX actions_of_run ON agent_actions (tenant_id, pipeline_id, journal_seq, no) WHERE pipeline_id IS NOT NULL;

CREATE INDEX actions_of_agent ON agent_actions (tenant_id, agent_id, journal_seq, no) WHERE agent_id IS NOT NULL;

CREATE INDEX actions_denied ON agent_actions (tenant_id, journal_seq, no) WHERE decision = 'deny';

CREATE VIEW audit_log_tenant AS
    -- What people did, which is the part of the trail an auditor reads first.
    SELECT action_id AS audit_id, tenant_id, journal_seq, ts, actor, action, target, pipeline_id, decision, decision_reason
    FROM agent_actions WHERE actor IS NOT NULL AND agent_id IS NULL;

CREATE TABLE violations (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    violation_id TEXT NOT NULL GENERATED ALWAYS AS (journal_seq || '.' || no) VIRTUAL,
    ts TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_name TEXT,
    pipeline_id TEXT,
    type TEXT NOT NULL,
    severity TEXT NOT NULL,
    revocation_type TEXT NOT NULL,
    detail TEXT NOT NULL,
    evidence_ref TEXT,
    remediation TEXT,
    acknowledged_by TEXT,
    acknowledged_at TEXT, standing TEXT, alert_id TEXT,
    PRIMARY KEY (tenant_id, journal_seq, no)
) STRICT, WITHOUT ROWID;

CREATE INDEX violations_by_name ON violations (tenant_id, agent_name, ts);

CREATE TABLE promotions (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    no INTEGER NOT NULL,
    promotion_id TEXT NOT NULL GENERATED ALWAYS AS (journal_seq || '.' || no) VIRTUAL,
    ts TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    from_tier INTEGER NOT NULL,
    to_tier INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('promote', 'demote')),
    requested_by TEXT NOT NULL,
    approved_by TEXT,
    second_approver TEXT,
    rationale TEXT NOT NULL,
    evidence_ref TEXT,
    state TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'denied')),
    PRIMARY KEY (tenant_id, journal_seq, no)
) STRICT, WITHOUT ROWID;

CREATE INDEX violations_by_standing ON violations (tenant_id, standing, ts);

CREATE TABLE permits (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    permit_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    action TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, permit_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_metrics (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    -- The standing.
    agent_id TEXT NOT NULL,
    -- pipeline/stage, where it worked last.
    agent_name TEXT NOT NULL,
    -- The tier it has earned.
    current_tier INTEGER NOT NULL,
    total_runs INTEGER NOT NULL,
    compliant_runs INTEGER NOT NULL,
    consecutive_compliant INTEGER NOT NULL,
    -- What was done in compliant runs, a JSON list of actions.
    actions TEXT NOT NULL,
    escalations INTEGER NOT NULL,
    -- In the 30 days before ts.
    violations_30d INTEGER NOT NULL,
    last_run_at TEXT,
    last_violation_at TEXT,
    -- Ledger time, for durations.
    last_violation_ms INTEGER,
    -- Whether the evidence sufficed for the next tier at ts.
    promotion_eligible INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL, plan_only_runs INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, agent_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX promotions_of_standing ON promotions (tenant_id, agent_id, journal_seq, no);

CREATE INDEX runs_by_parent ON runs (tenant_id, parent_run) WHERE parent_run IS NOT NULL;

CREATE TABLE watched (
    -- One row for each policy that spoke beside a decision.
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    journal_seq INTEGER NOT NULL,
    -- The decision's place among the facts of its entry.
    no INTEGER NOT NULL,
    policy TEXT NOT NULL,
    ts TEXT NOT NULL,
    run_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    -- The gate at which people are asked, when that was decided.
    gate_id TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    decided TEXT NOT NULL,
    would TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    -- 1 when the decision would have been another one, had the policy been enforced.
    otherwise INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, journal_seq, no, policy),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX watched_of_run ON watched (tenant_id, run_id);

