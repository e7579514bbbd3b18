-- Which API key opened a session: it ends with its key. Sessions from before have none.
ALTER TABLE sessions ADD COLUMN created_by TEXT;
CREATE INDEX sessions_of_key ON sessions (created_by);

-- What callers know an entry of the audit by. The number tells how much all tenants together do, so it stays inside. Entries from
-- before, and those of an older agentcast that still runs, are given one; nothing else of an entry ever changes.
ALTER TABLE audit ADD COLUMN ref TEXT;
DROP TRIGGER audit_no_update;
UPDATE audit SET ref = 'aud_' || lower(hex(randomblob(16)));
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit WHEN OLD.ref IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
CREATE TRIGGER audit_ref AFTER INSERT ON audit WHEN NEW.ref IS NULL
BEGIN
    UPDATE audit SET ref = 'aud_' || lower(hex(randomblob(16))) WHERE id = NEW.id;
END;
CREATE UNIQUE INDEX audit_by_ref ON audit (ref);
