//! State in SQLite: one file, written through a log, durable before it is acknowledged.
