//! Samples in Parquet files: one column per feature, a label, a group.
