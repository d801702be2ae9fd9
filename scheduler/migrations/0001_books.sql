-- What the scheduler writes down. Times are Unix milliseconds.

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    toml TEXT NOT NULL,
    -- Grows with every change of the file.
    version INTEGER NOT NULL,
    applied_ms INTEGER NOT NULL,
    -- Corrections up to this one belong to the training that was begun last.
    trained_upto INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sample_files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    file TEXT NOT NULL UNIQUE,
    rows INTEGER NOT NULL,
    -- Counts per class and ranges per column, as JSON.
    summary TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sample_files_of_task ON sample_files (task_id, id);

CREATE TABLE sample_groups (
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (task_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE corrections (
    prediction_id BLOB NOT NULL PRIMARY KEY,
    -- Grows with every correction that is applied, a changed label included.
    sequence INTEGER NOT NULL UNIQUE,
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    label INTEGER NOT NULL,
    given TEXT NOT NULL,
    revision INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    device TEXT NOT NULL,
    features BLOB NOT NULL
) STRICT;
CREATE INDEX corrections_of_task ON corrections (task_id, sequence);

CREATE TABLE revisions (
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    digest BLOB NOT NULL,
    bundle_bytes INTEGER NOT NULL,
    job TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    -- Messages as they came over the wire.
    report BLOB NOT NULL,
    comparison BLOB,
    rollback_of INTEGER,
    PRIMARY KEY (task_id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX revisions_of_digest ON revisions (digest);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    active INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_of_task ON jobs (task_id, active);

CREATE TABLE devices (
    device TEXT NOT NULL PRIMARY KEY,
    facts TEXT NOT NULL
) STRICT;

CREATE TABLE placements (
    task_id INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    generation INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (task_id, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    task TEXT NOT NULL,
    device TEXT NOT NULL,
    job TEXT NOT NULL,
    text TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_task ON events (task, sequence);
CREATE INDEX events_of_job ON events (job, sequence);

-- Numbers that only grow.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('generation', 0), ('correction', 0), ('job', 0);
