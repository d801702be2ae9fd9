//! The Rust client of Sensemble.
