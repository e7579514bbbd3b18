-- A large table takes as long as it takes.
SET LOCAL statement_timeout = 0;

-- Which API key opened a session: it ends with its key. Sessions from before have none.
ALTER TABLE sessions ADD COLUMN created_by TEXT COLLATE "C";
CREATE INDEX sessions_of_key ON sessions (created_by);

-- What callers know an entry of the audit by. The number tells how much all tenants together do, so it stays inside. The default
-- is for entries from before, which no update may touch, and for an older agentcast that still runs.
ALTER TABLE audit ADD COLUMN ref TEXT COLLATE "C" NOT NULL
    DEFAULT ('aud_' || md5(random()::text || clock_timestamp()::text));
CREATE UNIQUE INDEX audit_by_ref ON audit (ref);
