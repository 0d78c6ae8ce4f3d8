-- Everything in this file follows from the journal. In a table of what happened, journal_seq and ts are the entry that
-- brought the row; in a table of how things stand, the entry that changed it last. Every row of a tenant goes with the
-- tenant's.

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

-- Which keys were good, from when to when.
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
