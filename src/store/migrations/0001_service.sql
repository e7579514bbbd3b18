-- Everything the service must not forget. Written for SQLite; for PostgreSQL the words BLOB and TEXT are replaced (`open.rs`).
-- Ids rise with time, so lists are read in their order. Times are Unix ms, truth values 0 or 1, so that one text serves both.

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    author TEXT NOT NULL,
    model TEXT NOT NULL,
    avatar TEXT,
    enabled BIGINT NOT NULL,
    defaults TEXT NOT NULL,
    limits TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX agents_of_tenant ON agents (tenant_id, id);
CREATE INDEX agents_enabled ON agents (id) WHERE enabled = 1;

CREATE TABLE avatars (
    agent_id TEXT PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    bytes BLOB NOT NULL
);

CREATE TABLE destinations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    agent_id TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    via TEXT NOT NULL,
    ingest TEXT,
    room TEXT,
    enabled BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX destinations_of_agent ON destinations (agent_id, id);

-- Sealed: nothing here opens without a key-encryption key, which is not in the store.
CREATE TABLE stream_keys (
    destination_id TEXT PRIMARY KEY REFERENCES destinations (id) ON DELETE CASCADE,
    agent_id TEXT NOT NULL,
    host TEXT NOT NULL,
    record_version BIGINT NOT NULL,
    kid TEXT NOT NULL,
    blob BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    last_used_at BIGINT
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT REFERENCES tenants (id),
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    hash BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id, id);

CREATE TABLE matches (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    reference TEXT NOT NULL,
    title TEXT NOT NULL,
    sides TEXT NOT NULL,
    phase TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    closed_at BIGINT,
    -- Number of the next event, and what its events and its snapshot take.
    log_next BIGINT NOT NULL DEFAULT 1,
    log_bytes BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX matches_of_tenant ON matches (tenant_id, id);
CREATE INDEX matches_open ON matches (id) WHERE phase <> 'closed';
CREATE INDEX matches_with_log ON matches (closed_at, id) WHERE log_bytes > 0;

CREATE TABLE match_events (
    match_id TEXT NOT NULL REFERENCES matches (id) ON DELETE CASCADE,
    n BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    json TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (match_id, n)
);

CREATE TABLE match_snapshots (
    match_id TEXT PRIMARY KEY REFERENCES matches (id) ON DELETE CASCADE,
    bytes BLOB NOT NULL,
    size BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    match_id TEXT NOT NULL REFERENCES matches (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    sees TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_of_tenant ON sessions (tenant_id, id);
CREATE INDEX sessions_of_match ON sessions (match_id);

-- History: stays when its agent goes.
CREATE TABLE streams (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    match_id TEXT NOT NULL,
    wanted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    reason TEXT
);
CREATE INDEX streams_of_tenant ON streams (tenant_id, id);
CREATE INDEX streams_open ON streams (id) WHERE ended_at IS NULL;

CREATE TABLE flags (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    tenant_id TEXT,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL,
    origin TEXT
);
CREATE INDEX audit_of_tenant ON audit (tenant_id, id);
CREATE INDEX audit_by_time ON audit (at);
-- The last id given: stays when old entries go, and rises without gaps.
CREATE TABLE audit_last (
    id BIGINT NOT NULL
);
INSERT INTO audit_last (id) VALUES (0);
-- Holds a row only inside the transaction that prunes: what is older than this may be deleted.
CREATE TABLE audit_pruning (
    older_than BIGINT NOT NULL
);

CREATE TABLE usage_days (
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    day TEXT NOT NULL,
    stream_seconds BIGINT NOT NULL,
    output_seconds BIGINT NOT NULL,
    PRIMARY KEY (agent_id, day)
);
CREATE INDEX usage_by_day ON usage_days (day);

CREATE TABLE answers (
    tenant_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request TEXT NOT NULL,
    status BIGINT NOT NULL,
    body BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, idempotency_key)
);
CREATE INDEX answers_by_time ON answers (at);
