//! Programs of others that take OTLP.
