-- What began a run that no person asked for.

ALTER TABLE runs ADD COLUMN parent_run TEXT;

ALTER TABLE runs ADD COLUMN parent_agent TEXT;

ALTER TABLE runs ADD COLUMN spawn_reason TEXT;

CREATE INDEX runs_by_parent ON runs (tenant_id, parent_run) WHERE parent_run IS NOT NULL;
