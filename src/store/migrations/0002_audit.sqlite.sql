-- What was written into the audit stays as it was written; only pruning takes entries away, and only old ones.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_pruning WHERE OLD.at < older_than)
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
