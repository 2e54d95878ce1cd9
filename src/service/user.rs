//! From root to the user that the agent runs as, and no way back.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, lchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid};

/// Folders that are made for the user: paths of logs are nobody else's business, but a group may be let in to look.
const FOLDER_MODE: u32 = 0o750;

/// A user of the host.
#[derive(Debug, Clone)]
pub struct User {
    name: String,
    uid: Uid,
    gid: Gid,
    home: PathBuf,
}

/// Why the agent can't run as a user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("there is no user {name} on this host; make one, or name another with --user")]
    Unknown { name: String },
    #[error("can't look up user {name}: {source}")]
    Lookup { name: String, source: Errno },
    #[error(
        "only root can become {name}; start the agent as root or as {name}, or leave --user out"
    )]
    NotRoot { name: String },
    #[error("can't become {name} ({doing}): {source}")]
    Refused {
        name: String,
        doing: &'static str,
        source: Errno,
    },
    #[error(
        "after becoming {name} this process could still be root again; start it as {name}, without --user"
    )]
    WayBack { name: String },
}

impl User {
    /// The user of that name.
    ///
    /// # Errors
    ///
    /// There is none, or the host's directory of users doesn't answer.
    pub fn find(name: &str) -> Result<User, UserError> {
        let found = unistd::User::from_name(name).map_err(|source| UserError::Lookup {
            name: name.to_owned(),
            source,
        })?;
        let found = found.ok_or_else(|| UserError::Unknown {
            name: name.to_owned(),
        })?;
        Ok(User {
            name: found.name,
            uid: found.uid,
            gid: found.gid,
            home: found.dir,
        })
    }

    /// As which variables of the environment say who one is.
    pub fn environment(&self) -> [(&'static str, &std::ffi::OsStr); 3] {
        [
            ("HOME", self.home.as_os_str()),
            ("USER", self.name.as_ref()),
            ("LOGNAME", self.name.as_ref()),
        ]
    }

    /// Whether this process runs as that user.
    pub fn is_present(&self) -> bool {
        Uid::effective() == self.uid
    }

    /// Makes a folder that isn't there, with those above it, for the user. What is there stays as it is.
    ///
    /// # Errors
    ///
    /// It can't be made.
    pub fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_folder(above)?;
        }
        DirBuilder::new().mode(FOLDER_MODE).create(folder)?;
        if let Err(error) = lchown(folder, Some(self.uid.as_raw()), Some(self.gid.as_raw())) {
            let _ = fs::remove_dir(folder);
            return Err(error);
        }
        Ok(())
    }

    /// Becomes the user, with all of its groups. To be called before there is a second thread that matters.
    ///
    /// # Errors
    ///
    /// This process isn't root, the system refuses, or root could be had again.
    pub fn assume(&self) -> Result<(), UserError> {
        if self.is_present() {
            return Ok(());
        }
        let name = || self.name.clone();
        if !Uid::effective().is_root() {
            return Err(UserError::NotRoot { name: name() });
        }
        let refused = |doing| {
            move |source| UserError::Refused {
                name: name(),
                doing,
                source,
            }
        };
        // A name from the host's own directory has no zero byte.
        let as_c = std::ffi::CString::new(self.name.as_bytes())
            .map_err(|_| refused("its name")(Errno::EINVAL))?;
        unistd::initgroups(&as_c, self.gid).map_err(refused("its groups"))?;
        unistd::setresgid(self.gid, self.gid, self.gid).map_err(refused("its group"))?;
        unistd::setresuid(self.uid, self.uid, self.uid).map_err(refused("its number"))?;
        let root = Uid::from_raw(0);
        if unistd::setuid(root).is_ok() || unistd::seteuid(root).is_ok() || !self.is_present() {
            return Err(UserError::WayBack { name: name() });
        }
        Ok(())
    }
}

/// Whether this process may become another user.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let refused = User::find("nobody-of-that-name").unwrap_err();
        assert!(refused.to_string().contains("nobody-of-that-name"));
    }

    #[test]
    fn the_present_user_can_always_be_assumed() {
        let found = unistd::User::from_uid(Uid::effective()).unwrap().unwrap();
        User::find(&found.name).unwrap().assume().unwrap();
    }
}
