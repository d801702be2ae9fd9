//! From raw windows to features, the same when training and when serving.
