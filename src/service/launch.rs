//! The program starts itself: in the background, or as another user's.
//!
//! A process can't fork without `unsafe`, and can't change its own environment safely; it can start itself again. The
//! second process runs in a session of its own and says through a pipe, its standard output, that it is ready. Until then
//! it shares the first one's standard error, where it says why it isn't going to be.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use super::user::{User, is_root};

/// What the second process is called with beside the first one's arguments.
pub const LAUNCHED: &str = "--launched";

/// How the process that was to become ready ended instead.
#[derive(Debug)]
pub enum Outcome {
    /// It is ready.
    Ready,
    /// It ended, and has said why.
    Ended(u8),
}

/// Starts this program again in the background, in the environment of `user`, and waits until it is ready.
///
/// # Errors
///
/// There is no process to be had.
pub fn in_background(user: Option<&User>) -> io::Result<Outcome> {
    let (mut readiness, word) = io::pipe()?;
    let mut child = again(user)?.stdin(Stdio::null()).stdout(word).spawn()?;
    // Our own copy of the pipe's other end went with the command.
    match readiness.read(&mut [0])? {
        0 => Ok(Outcome::Ended(code_of(child.wait()?))),
        _ => Ok(Outcome::Ready),
    }
}

/// Becomes this program again, in the environment of `user`. Returns if that fails alone.
pub fn in_place(user: &User) -> io::Error {
    match again(Some(user)) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

/// This program with the same arguments. Whoever isn't root stays who it is.
fn again(user: Option<&User>) -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.arg(LAUNCHED).args(arguments);
    if let Some(user) = user.filter(|_| is_root()) {
        command.envs(user.environment());
    }
    Ok(command)
}

/// As a shell says it.
fn code_of(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => {
            eprintln!("kinesis-agent: ended by signal {signal} before it was ready");
            128 + signal
        }
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

/// The second process: in a session of its own, so that it outlives the terminal, and in no folder that somebody may
/// want to unmount.
///
/// # Errors
///
/// The system refuses.
pub fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    std::env::set_current_dir("/")
}

/// Says to the first process that this one is ready, and lets go of its standard error.
///
/// # Errors
///
/// There is no `/dev/null`.
pub fn say_ready() -> io::Result<()> {
    // Nobody may wait for it any more: the agent runs on all the same.
    let _ = io::stdout()
        .write_all(b"\n")
        .and_then(|()| io::stdout().flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_with_its_own_arguments_and_in_the_environment_of_its_user() {
        let user = User::find("root").expect("every host has one");
        let command = again(Some(&user)).unwrap();
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments[0], LAUNCHED);
        assert_eq!(arguments.len(), std::env::args_os().count());
        let names: Vec<_> = command.get_envs().map(|(name, _)| name).collect();
        let expected: &[&str] = match is_root() {
            true => &["HOME", "LOGNAME", "USER"],
            false => &[],
        };
        assert_eq!(names, expected);
    }
}
