-- Whether an agent did anything else than look and plan, and in how many compliant runs of its standing it did not (R085).

ALTER TABLE agents ADD COLUMN acted INTEGER NOT NULL DEFAULT 0;

ALTER TABLE agent_metrics ADD COLUMN plan_only_runs INTEGER NOT NULL DEFAULT 0;
