//! The weighted vote and its tie rule.
