//! The outbox: an append-only file of what has to be sent, with checksums and a cursor.
