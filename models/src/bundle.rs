//! The bundle: an encoded ensemble, content-addressed and checked before a single weight is read.
