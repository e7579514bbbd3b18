-- What of a native record a match plays, or was fed: opaque to the store.
CREATE TABLE match_records (
    match_id TEXT PRIMARY KEY REFERENCES matches (id) ON DELETE CASCADE,
    bytes BLOB NOT NULL
);
