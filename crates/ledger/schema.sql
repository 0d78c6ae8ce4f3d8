CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- SHA-256 of the script as it was applied.
    digest BLOB NOT NULL
) STRICT;

CREATE TABLE tenant (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4194303),
    name TEXT NOT NULL UNIQUE,
    seal BLOB NOT NULL
) STRICT;

CREATE TABLE entry (
    -- tenant * 2^40 + seq: one tree of pages for both keeps a body of a few kilobytes on its own page.
    place INTEGER PRIMARY KEY,
    -- The exact bytes that were decided on.
    body BLOB NOT NULL,
    -- SHA-256 of a zero byte and the body (RFC 6962).
    leaf BLOB NOT NULL,
    tenant INTEGER GENERATED ALWAYS AS (place >> 40) VIRTUAL,
    -- From 1, without gaps; leaf seq - 1 of the tenant's tree.
    seq INTEGER GENERATED ALWAYS AS (place & 1099511627775) VIRTUAL
) STRICT;

CREATE TABLE subtree (
    tenant INTEGER NOT NULL,
    -- The hash covers 256 to the power of level leaves, from leaf idx * 256^level.
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (tenant, level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
    tenant INTEGER NOT NULL,
    -- From 1, without gaps.
    no INTEGER NOT NULL,
    -- The entry that brought it.
    seq INTEGER NOT NULL,
    -- SHA-256 of the bytes.
    digest BLOB NOT NULL,
    kind TEXT NOT NULL,
    bytes BLOB NOT NULL,
    -- SHA-256 over the previous document's chain and this row.
    chain BLOB NOT NULL,
    UNIQUE (tenant, no),
    UNIQUE (tenant, digest)
) STRICT;

CREATE TABLE checkpoint (
    tenant INTEGER NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    -- The signed note, which says the same and more.
    note TEXT NOT NULL,
    PRIMARY KEY (tenant, size)
) STRICT, WITHOUT ROWID;

CREATE TABLE boot (
    -- From 1, without gaps: once more for each opening for writing.
    epoch INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    -- What was damaged of the work in progress and was made anew; empty when nothing was.
    repaired TEXT NOT NULL,
    -- SHA-256 over the previous boot's chain and this row.
    chain BLOB NOT NULL
) STRICT;

CREATE TABLE outbox (
    -- Effect idx of entry seq is written and has no result yet.
    tenant INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    seal BLOB NOT NULL,
    PRIMARY KEY (tenant, seq, idx)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tenant_in_order BEFORE INSERT ON tenant BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE EXISTS (SELECT 1 FROM tenant WHERE id = NEW.id OR name = NEW.name);
END;

CREATE TRIGGER entry_in_order BEFORE INSERT ON entry BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE EXISTS (SELECT 1 FROM entry WHERE place = NEW.place);
    SELECT RAISE(ABORT, 'history has no gaps')
    WHERE NOT EXISTS (SELECT 1 FROM entry WHERE place = NEW.place - 1)
    AND NOT (NEW.place & 1099511627775 = 1 AND EXISTS (SELECT 1 FROM tenant WHERE id = NEW.place >> 40));
END;

CREATE TRIGGER subtree_in_order BEFORE INSERT ON subtree BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE EXISTS (SELECT 1 FROM subtree WHERE tenant = NEW.tenant AND level = NEW.level AND idx = NEW.idx);
END;

CREATE TRIGGER document_in_order BEFORE INSERT ON document BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE EXISTS (SELECT 1 FROM document WHERE tenant = NEW.tenant AND (no = NEW.no OR digest = NEW.digest))
    OR EXISTS (SELECT 1 FROM document WHERE rowid = NEW.rowid);
    SELECT RAISE(ABORT, 'history has no gaps')
    WHERE NEW.no <> 1 + (SELECT coalesce(max(no), 0) FROM document WHERE tenant = NEW.tenant);
END;

CREATE TRIGGER checkpoint_in_order BEFORE INSERT ON checkpoint BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE NEW.size <= (SELECT max(size) FROM checkpoint WHERE tenant = NEW.tenant);
END;

CREATE TRIGGER boot_in_order BEFORE INSERT ON boot BEGIN
    SELECT RAISE(ABORT, 'history is append-only') WHERE EXISTS (SELECT 1 FROM boot WHERE epoch = NEW.epoch);
    SELECT RAISE(ABORT, 'history has no gaps') WHERE NEW.epoch <> 1 + (SELECT coalesce(max(epoch), 0) FROM boot);
END;

CREATE TRIGGER migration_in_order BEFORE INSERT ON schema_migrations BEGIN
    SELECT RAISE(ABORT, 'history is append-only')
    WHERE EXISTS (SELECT 1 FROM schema_migrations WHERE version = NEW.version);
END;

CREATE TRIGGER tenant_no_update BEFORE UPDATE ON tenant BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER tenant_no_delete BEFORE DELETE ON tenant BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER subtree_no_update BEFORE UPDATE ON subtree BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER subtree_no_delete BEFORE DELETE ON subtree BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER document_no_update BEFORE UPDATE ON document BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER document_no_delete BEFORE DELETE ON document BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER checkpoint_no_update BEFORE UPDATE ON checkpoint BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER checkpoint_no_delete BEFORE DELETE ON checkpoint BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER boot_no_update BEFORE UPDATE ON boot BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER boot_no_delete BEFORE DELETE ON boot BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER migration_no_update BEFORE UPDATE ON schema_migrations BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER migration_no_delete BEFORE DELETE ON schema_migrations BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TABLE tally (
    -- What the outbox of a tenant amounts to: the XOR of its seals. A page that was lost, with rows of it, does not go
    -- unnoticed.
    tenant INTEGER PRIMARY KEY,
    outbox BLOB NOT NULL
) STRICT;

