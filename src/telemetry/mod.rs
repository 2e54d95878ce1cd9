//! What users see: the log, metrics, status.
