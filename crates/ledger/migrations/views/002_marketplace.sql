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
