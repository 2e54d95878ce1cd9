//! An AWS on loopback.
