//! From samples and corrections to bundles.
