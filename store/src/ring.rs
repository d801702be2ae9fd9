//! The ring: a bounded file of the answers that were given last.
