-- What agents have earned from run to run.

-- Under which standing a stage's agents work.
ALTER TABLE stages ADD COLUMN standing TEXT;

ALTER TABLE agents ADD COLUMN standing TEXT;

-- What it was permitted and did well, a JSON list of actions.
ALTER TABLE agents ADD COLUMN did TEXT NOT NULL DEFAULT '[]';

-- 1 once it asked for what only a person may allow.
ALTER TABLE agents ADD COLUMN escalated INTEGER NOT NULL DEFAULT 0;

ALTER TABLE violations ADD COLUMN standing TEXT;

-- The one alert it raised, when it is HIGH or CRITICAL.
ALTER TABLE violations ADD COLUMN alert_id TEXT;

CREATE INDEX violations_by_standing ON violations (tenant_id, standing, ts);

-- Which action a permit is for.
CREATE TABLE permits (
    tenant_id TEXT NOT NULL REFERENCES tenants ON DELETE CASCADE,
    permit_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    action TEXT NOT NULL,
    journal_seq INTEGER NOT NULL,
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, permit_id)
) STRICT, WITHOUT ROWID;

DROP TABLE agent_metrics;

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
    ts TEXT NOT NULL,
    PRIMARY KEY (tenant_id, agent_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX promotions_of_standing ON promotions (tenant_id, agent_id, journal_seq, no);
