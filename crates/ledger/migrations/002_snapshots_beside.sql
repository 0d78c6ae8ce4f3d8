-- Snapshots are files beside the journal, so that nobody who appends waits for one; those that were here are made anew.

DROP TABLE snapshot;

CREATE TABLE kept AS SELECT tenant, outbox FROM tally;

DROP TABLE tally;

CREATE TABLE tally (
    -- What the outbox of a tenant amounts to: the XOR of its seals. A page that was lost, with rows of it, does not go
    -- unnoticed.
    tenant INTEGER PRIMARY KEY,
    outbox BLOB NOT NULL
) STRICT;

INSERT INTO tally (tenant, outbox) SELECT tenant, outbox FROM kept;

DROP TABLE kept;
