//! Wire records.
