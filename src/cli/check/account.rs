//! Who may read what, as the mode bits of files and folders say it.

use std::path::{Path, PathBuf};

/// A user of this host and the groups it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub id: u32,
    pub groups: Vec<u32>,
}

/// What mode bits are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    pub owner: u32,
    pub group: u32,
    /// The lowest nine bits count.
    pub bits: u32,
}

/// What somebody may want with a file or folder; the value is its bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read a file, to list a folder.
    Read = 0o4,
    /// To enter a folder.
    Enter = 0o1,
}

/// What stands between an account and a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub path: PathBuf,
    pub access: Access,
    pub mode: Mode,
}

impl Account {
    /// The account of that name, from the texts of /etc/passwd and /etc/group.
    pub fn named(name: &str, passwd: &str, group: &str) -> Option<Account> {
        Account::find(passwd, group, |fields| fields.first() == Some(&name))
    }

    /// The account with that number.
    pub fn numbered(id: u32, passwd: &str, group: &str) -> Option<Account> {
        Account::find(passwd, group, |fields| {
            fields.get(2).and_then(|id| id.parse().ok()) == Some(id)
        })
    }

    fn find(passwd: &str, group: &str, is_it: impl Fn(&[&str]) -> bool) -> Option<Account> {
        let fields_of = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let fields = passwd.lines().map(fields_of).find(|fields| {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            is_it(&fields)
        })?;
        let name = fields.first()?.clone();
        let mut groups: Vec<u32> = vec![fields.get(3)?.parse().ok()?];
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let is_member = fields
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member.trim() == name));
            if let (true, Some(Ok(id))) = (is_member, fields.get(2).map(|id| id.parse())) {
                groups.push(id);
            }
        }
        Some(Account {
            id: fields.get(2)?.parse().ok()?,
            name,
            groups,
        })
    }

    /// Whether the bits let it; lists for single users beside them (ACLs) are not looked at.
    pub fn may(&self, access: Access, mode: Mode) -> bool {
        if self.id == 0 {
            return true;
        }
        let shift = if self.id == mode.owner {
            6
        } else if self.groups.contains(&mode.group) {
            3
        } else {
            0
        };
        mode.bits >> shift & access as u32 != 0
    }

    /// The first thing that keeps it from this access to `path`, from the root on; `mode_of` looks at a path. `path` is
    /// absolute and has no links in it.
    pub fn obstacle(
        &self,
        access: Access,
        path: &Path,
        mode_of: impl Fn(&Path) -> Option<Mode>,
    ) -> Option<Obstacle> {
        let folders: Vec<&Path> = path.ancestors().skip(1).collect();
        let enter = folders.into_iter().rev().map(|path| (path, Access::Enter));
        enter.chain([(path, access)]).find_map(|(path, access)| {
            let mode = mode_of(path)?;
            (!self.may(access, mode)).then(|| Obstacle {
                path: path.to_owned(),
                access,
                mode,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n\nagent:x:999:998::/:/usr/sbin/nologin\nbad:x:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,agent\nagent:x:998:\nother:x:7:agentx\n";

    fn agent() -> Account {
        Account::named("agent", PASSWD, GROUP).expect("it is there")
    }

    #[test]
    fn an_account_is_found_with_its_groups() {
        let agent = agent();
        assert_eq!((agent.id, &agent.groups[..]), (999, &[998, 4][..]));
        assert_eq!(Account::numbered(999, PASSWD, GROUP), Some(agent));
        for name in ["nobody", "bad", ""] {
            assert_eq!(Account::named(name, PASSWD, GROUP), None, "{name}");
        }
    }

    #[test]
    fn the_bits_of_the_narrowest_class_decide() {
        for (owner, group, bits, expected) in [
            (999, 1, 0o400, true),
            (999, 4, 0o044, false),
            (1, 4, 0o040, true),
            (1, 4, 0o404, false),
            (1, 1, 0o004, true),
            (1, 1, 0o440, false),
        ] {
            let mode = Mode { owner, group, bits };
            assert_eq!(agent().may(Access::Read, mode), expected, "{mode:?}");
        }
        let root = Account::named("root", PASSWD, GROUP).expect("it is there");
        let closed = Mode {
            owner: 1,
            group: 1,
            bits: 0,
        };
        assert!(root.may(Access::Read, closed));
    }

    #[test]
    fn the_first_obstacle_on_the_way_is_named() {
        let mode_of = |closed: &'static str| {
            move |path: &Path| {
                let is_closed = path == Path::new(closed);
                let bits = if is_closed { 0o750 } else { 0o755 };
                Some(Mode {
                    owner: 0,
                    group: 0,
                    bits,
                })
            }
        };
        let path = Path::new("/var/log/app/a.log");
        for (closed, expected) in [
            ("/var/log", Some(Access::Enter)),
            ("/var/log/app/a.log", Some(Access::Read)),
            ("/elsewhere", None),
        ] {
            let obstacle = agent().obstacle(Access::Read, path, mode_of(closed));
            let told = obstacle.map(|obstacle| (obstacle.path, obstacle.access));
            assert_eq!(told, expected.map(|access| (PathBuf::from(closed), access)));
        }
    }
}
