//! `launch`: becomes the agent; drops everything that an agent must not have on the way.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, FileExt as _, symlink},
        net::UnixStream,
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, ExitCode},
};

use rustix::{
    fs::{Gid, Mode, Uid},
    io::fcntl_dupfd_cloexec,
    process::{getuid, ioctl_tiocsctty, setsid, umask},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid,
    },
};

use super::handoff::Handoff;
use crate::tether::messages::{Start, StartFile};

/// Where programs are looked for when the environment does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// When memory runs out, an agent goes before tether: with tether, the container would go.
const OOM_SCORE: &str = "300";

/// Runs the program that comes over stdin; returns only when that failed. The reason goes back over stdin: a socket,
/// whose end tells the keeper that the program runs.
pub(crate) fn launch() -> ExitCode {
    let Ok(report) = fcntl_dupfd_cloexec(stdin(), 3) else { return ExitCode::from(127) };
    let mut report = UnixStream::from(report);
    let Err(why) = become_agent(&report);
    let _ = report.write_all(why.as_bytes());
    ExitCode::from(127)
}

enum Never {}

fn become_agent(socket: &UnixStream) -> Result<Never, String> {
    let handoff = Handoff::receive(socket).map_err(|e| format!("can't take over the descriptors: {e}"))?;
    let start = read_spec(&File::from(handoff.spec)).map_err(|e| format!("can't read what to start: {e}"))?;
    let step = |what: &'static str| move |e: rustix::io::Errno| format!("can't {what}: {e}");
    setsid().map_err(step("begin a session"))?;
    if start.pty.is_some() {
        ioctl_tiocsctty(&handoff.stdin).map_err(step("take the terminal"))?;
    }
    dup2_stdin(&handoff.stdin).map_err(step("set stdin"))?;
    dup2_stdout(&handoff.stdout).map_err(step("set stdout"))?;
    dup2_stderr(&handoff.stderr).map_err(step("set stderr"))?;
    umask(Mode::from_raw_mode(0o022));
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    drop_privileges().map_err(step("drop privileges"))?;
    if !start.files.is_empty() {
        become_user(&start).map_err(step("become the user"))?;
        for file in &start.files {
            link(file).map_err(|e| format!("can't place the file `{}`: {e}", file.path))?;
        }
    }
    Err(execute(&start))
}

/// From here on, nothing is done that the agent could not do itself.
fn become_user(start: &Start) -> rustix::io::Result<()> {
    if !getuid().is_root() || start.uid == 0 {
        return Ok(());
    }
    set_thread_groups(&[])?;
    set_thread_gid(Gid::from_raw(start.gid))?;
    set_thread_uid(Uid::from_raw(start.uid))
}

/// Puts a link to a file where the agent looks for it, with the agent's own rights: whatever an agent before has put in
/// the way leads no further than it could go by itself.
fn link(file: &StartFile) -> io::Result<()> {
    let path = Path::new(&file.path);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    check_replaced(file)?;
    let fresh = dir.join(format!(".{}.wharf-{}", name.to_string_lossy(), std::process::id()));
    symlink(&file.at, &fresh)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

/// On a host, what lies in a home is a person's: only a link of tether's own is replaced.
fn check_replaced(file: &StartFile) -> io::Result<()> {
    if file.replaces.is_empty() {
        return Ok(());
    }
    match fs::symlink_metadata(&file.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(_) if fs::read_link(&file.path).is_ok_and(|to| to.starts_with(&file.replaces)) => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is not wharf's lies there, and is left alone: move it away, or leave the file out of the agent's configuration",
        )),
    }
}

fn read_spec(file: &File) -> io::Result<Start> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// What is left after this goes with the change of user; with `no_new_privs`, nothing of it comes back.
fn drop_privileges() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let had = capabilities(None)?;
    if had.effective.contains(CapabilitySet::SETPCAP) {
        // A container's tether has no SETPCAP: there, the engine's small bounding set stands, of no use to anybody.
        for capability in CapabilitySet::all().iter() {
            match remove_capability_from_bounding_set(capability) {
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..had })
}

/// Returns why the program does not run.
fn execute(start: &Start) -> String {
    let [program, args @ ..] = start.argv.as_slice() else { return "no program".to_owned() };
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", DEFAULT_PATH).envs(start.env.iter().map(|(k, v)| (k, v)));
    command.current_dir(&start.cwd);
    // On a host tether's own user may be root, and nothing is to be changed.
    if getuid().is_root() && start.uid != 0 {
        command.uid(start.uid).gid(start.gid);
    }
    let error = command.exec();
    // exec has changed the user before it failed, so this looks with the user's eyes.
    match std::env::set_current_dir(&start.cwd) {
        Err(e) => format!("can't change to the directory `{}`: {e}", start.cwd),
        Ok(()) => format!("can't run `{program}`: {error}"),
    }
}
