-- What policies that are only watched would have said.

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

-- How many decisions of it would have been others, had any watched policy been enforced.
ALTER TABLE runs ADD COLUMN decided_otherwise INTEGER NOT NULL DEFAULT 0;
