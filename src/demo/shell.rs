//! A shell command in a process group of its own, read without ever blocking.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// The most output that is kept, in bytes of JSON: a line carries it twice, and clients take 16 MiB.
const KEPT: usize = 7 << 20;

/// A command that runs.
pub(super) struct Shell {
    child: Child,
    pidfd: Option<OwnedFd>,
    out: io::PipeReader,
    open: bool,
    output: Vec<u8>,
    /// What `output` takes as JSON.
    kept: usize,
    dropped: u64,
}

impl Shell {
    /// Starts `/bin/sh -c`; its stdout and stderr are one stream, in the order in which it was written.
    pub(super) fn start(command: &str, cwd: &str) -> io::Result<Self> {
        let (out, write) = io::pipe()?;
        fcntl_setfl(&out, fcntl_getfl(&out)? | OFlags::NONBLOCK)?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write).process_group(0);
        if !cwd.is_empty() {
            shell.current_dir(cwd);
        }
        let child = shell.spawn()?;
        // An old kernel without pidfds is asked by polling.
        let pidfd = pid(&child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { child, pidfd, out, open: true, output: Vec::new(), kept: 0, dropped: 0 })
    }

    /// What to poll: readable when there is output, or when the command ended.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.then(|| self.out.as_fd()).into_iter().chain(self.pidfd.as_ref().map(AsFd::as_fd))
    }

    /// Whether its end shows in `fds`.
    pub(super) const fn tells_its_end(&self) -> bool {
        self.pidfd.is_some()
    }

    /// Takes the output that is there, and tells the exit status once the command ended. What it left running in the
    /// background is not waited for.
    pub(super) fn pump(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        let mut chunk = [0; 64 * 1024];
        // Bounded, so that an endless writer can't keep a cancel from being read.
        for _ in 0..64 {
            match if self.open { self.out.read(&mut chunk) } else { break } {
                Ok(0) => self.open = false,
                Ok(n) => self.keep(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        Ok(ended)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let fits = bytes.iter().position(|byte| {
            self.kept += in_json(*byte);
            self.kept > KEPT
        });
        let room = if self.dropped > 0 { 0 } else { fits.unwrap_or(bytes.len()) };
        self.output.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }

    /// The output so far.
    pub(super) fn output(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.output).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!("\n[{} more bytes were left out]\n", self.dropped));
        }
        text
    }

    /// Kills the command with all that is in its process group, and waits for it.
    pub(super) fn kill(&mut self) {
        if let Some(pid) = pid(&self.child) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// How many bytes of JSON a byte of output makes.
const fn in_json(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        // At worst it stands for itself alone, and a replacement character for it.
        0x80.. => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn finish(shell: &mut Shell) -> ExitStatus {
        loop {
            if let Some(status) = shell.pump().unwrap() {
                return status;
            }
            let mut fds: Vec<_> = shell.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            poll(&mut fds, None).unwrap();
        }
    }

    #[test]
    fn output_and_status_of_a_command() {
        let mut shell = Shell::start("pwd; echo err >&2; exit 3", "/").unwrap();
        assert_eq!(finish(&mut shell).code(), Some(3));
        assert_eq!(shell.output(), "/\nerr\n");
    }

    #[test]
    fn a_background_child_is_not_waited_for_and_dies_with_the_group() {
        let mut shell = Shell::start("sleep 600 & echo $!", "").unwrap();
        assert!(finish(&mut shell).success());
        let pid: i32 = shell.output().trim().parse().unwrap();
        shell.kill();
        // A killed process may need a moment to die; an orphan shows as a zombie until whoever adopted it reaps it.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z") || stat.contains(") X") {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{stat}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn too_much_output_is_counted_but_not_kept() {
        let mut shell = Shell::start("head -c 8000000 /dev/zero | tr '\\0' x", "").unwrap();
        assert!(finish(&mut shell).success());
        let output = shell.output();
        assert!(output.starts_with("xxx") && output.ends_with(" more bytes were left out]\n"), "{}", output.len());
    }
}
