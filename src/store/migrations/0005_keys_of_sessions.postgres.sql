-- Which API key opened a session: it ends with its key. Sessions from before have none.
ALTER TABLE sessions ADD COLUMN created_by TEXT COLLATE "C";
CREATE INDEX sessions_of_key ON sessions (created_by);

-- What callers know an entry of the audit by. The number tells how much all tenants together do, so it stays inside. Entries
-- from before get theirs by the column's default, for an update is refused.
ALTER TABLE audit ADD COLUMN ref TEXT COLLATE "C" NOT NULL DEFAULT ('aud_' || replace(gen_random_uuid()::text, '-', ''));
ALTER TABLE audit ALTER COLUMN ref DROP DEFAULT;
CREATE UNIQUE INDEX audit_by_ref ON audit (ref);
