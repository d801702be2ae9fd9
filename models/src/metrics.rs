//! How good an ensemble is: accuracy, balanced accuracy, recall, missed events, each with an interval.
