//! Small made-up data sets for tests.
