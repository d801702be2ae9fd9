//! From messages to domain types, once, at the boundary.
