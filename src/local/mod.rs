//! An AWS on loopback.

mod cbor;
mod keys;
mod limits;
mod sigv4;
