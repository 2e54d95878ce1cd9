//! Users beside the one that runs the tests: files' modes bind them, while root may do anything.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A user without rights, on every Linux.
pub const NOBODY: u32 = 65_534;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of a user who isn't the one that runs the tests.
pub fn another() -> &'static str {
    match rustix::process::geteuid().as_raw() {
        NOBODY => "daemon",
        _ => "nobody",
    }
}

/// Whether everybody may enter the folder and all above it. A temporary folder in somebody's home is closed to others.
pub fn may_all_enter(folder: &Path) -> bool {
    folder
        .ancestors()
        .all(|folder| folder.metadata().is_ok_and(|it| it.mode() & 0o001 != 0))
}
