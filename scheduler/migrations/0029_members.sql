-- Members that were fitted elsewhere, each in a bundle of its own.
CREATE TABLE members (
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    bundle_bytes INTEGER NOT NULL,
    family TEXT NOT NULL,
    source TEXT NOT NULL,
    -- So many of the first samples and corrections it may have been taught.
    samples_seen INTEGER NOT NULL,
    corrections_seen INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (task_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_digest ON members (digest);
