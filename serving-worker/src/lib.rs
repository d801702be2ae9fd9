//! From requests to answers.
