//! The one binary: every process and every command of Sensemble.

fn main() {}
