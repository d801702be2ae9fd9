//! What must last: state, blobs, samples and the append-only outbox.
