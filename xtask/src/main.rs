//! Chores: test, ci, bench, dist.

fn main() {}
