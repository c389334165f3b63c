//! Live tests.

