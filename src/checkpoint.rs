//! Where each file stands, in SQLite.
