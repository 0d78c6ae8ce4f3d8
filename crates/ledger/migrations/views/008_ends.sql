-- When a gate has waited long enough by ledger time, in milliseconds: once the wall clock is set back, what it says then follows
-- from that.

ALTER TABLE approvals ADD COLUMN ends_ms INTEGER NOT NULL DEFAULT 0;
