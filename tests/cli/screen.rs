//! A program on a terminal of its own, as a person sees it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::support::{Daemon, PATIENCE};

/// A program on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// All that was shown.
    shown: String,
    /// How much of it was looked at.
    at: usize,
}

impl Terminal {
    /// Starts `wharf` there.
    pub(crate) fn open(daemon: &Daemon, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("text");
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).expect("the terminal"));
        // A session of its own, so that Ctrl-C is a signal to what runs there.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_wharf")])
            .args(args)
            .env("WHARF_HOST", format!("unix://{}", daemon.socket().display()))
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("it starts");
        let keys = File::from(master);
        let mut reader = keys.try_clone().expect("the terminal");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the last program of the terminal is gone.
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, screen, shown: String::new(), at: 0 }
    }

    /// Makes it this large, and tells who runs there.
    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.keys, size).expect("a terminal has a size");
    }

    /// Types.
    pub(crate) fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("typed");
    }

    /// A line, once it is asked for.
    pub(crate) fn line(&mut self, text: &str) {
        self.wait("› ");
        self.keys(&format!("{text}\r"));
    }

    /// Until this is shown, after what was looked at before; gives what was shown until then.
    #[track_caller]
    pub(crate) fn wait(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.shown[self.at..].find(text) {
                let end = self.at + found + text.len();
                let seen = self.shown[self.at..end].to_owned();
                self.at = end;
                return seen;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} does not come after {:?}", &self.shown[self.at..]),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {text:?}: {:?}", self.shown),
            }
        }
    }

    /// Its exit code.
    pub(crate) fn end(mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.shown);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
