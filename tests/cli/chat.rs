//! `wharf chat` on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::support::{Daemon, PATIENCE};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// All that was shown.
    shown: String,
    /// How much of it was looked at.
    at: usize,
}

impl Terminal {
    fn open(daemon: &Daemon, args: &[&str]) -> Self {
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

    /// Types.
    fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("typed");
    }

    /// A line, once it is asked for.
    fn line(&mut self, text: &str) {
        self.wait("› ");
        self.keys(&format!("{text}\r"));
    }

    /// Until this is shown, after what was looked at before; gives what was shown until then.
    #[track_caller]
    fn wait(&mut self, text: &str) -> String {
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
    fn end(mut self) -> i32 {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_questions_commands_and_an_interruption() {
    let daemon = Daemon::start().await;
    let id = daemon.client().demo("cli:chat").await;
    let mut chat = Terminal::open(&daemon, &["chat", "cli:chat"]);
    chat.wait("/help says what else there is");
    chat.line("echo hello-there");
    chat.wait("\r\nhello-there\r\n");
    chat.line("ask echo permitted");
    chat.wait("permission");
    chat.wait("  1  ");
    chat.line("7");
    chat.wait("a number from 1 to");
    chat.line("1");
    chat.wait("\r\npermitted\r\n");
    chat.line("ask echo refused");
    chat.wait("  1  ");
    chat.line("/cancel");
    chat.wait("is cancelled");
    chat.line("/permissions allow");
    chat.wait("permissions allow");
    chat.line("ask echo by-policy");
    chat.wait("\r\nby-policy\r\n");
    chat.line("slow 1000");
    chat.wait("chunk 2 ");
    chat.keys("\u{3}");
    chat.wait("cancelling; Ctrl-C again leaves it running");
    chat.wait("· cancelled");
    chat.line("/status");
    chat.wait("turns");
    chat.line("/nonsense");
    chat.wait("there is no /nonsense");
    chat.line("/model gigantic");
    chat.wait("this agent has no model");
    chat.line("/model demo-2");
    chat.wait("model demo-2");
    chat.line("/help");
    chat.wait("/quit");
    chat.line("fail");
    chat.wait("the turn failed");
    chat.line("/quit");
    assert_eq!(chat.end(), 0);
    assert_eq!(daemon.client().session(&id).await["status"], "idle", "the session stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_outlives_the_daemon() {
    let mut daemon = Daemon::start().await;
    daemon.client().demo("cli:chat").await;
    let mut chat = Terminal::open(&daemon, &["chat", "cli:chat"]);
    chat.line("slow 30");
    let mut seen = chat.wait("chunk 3 ");
    daemon.kill();
    daemon.start_again().await;
    seen.push_str(&chat.wait("chunk 30 "));
    for n in 1..=30 {
        assert_eq!(seen.matches(&format!("chunk {n} ")).count(), 1, "chunk {n} once in {seen:?}");
    }
    // Asked before the daemon goes, answered after it is back.
    chat.line("ask echo still-permitted");
    chat.wait("  1  ");
    daemon.stop();
    daemon.start_again().await;
    chat.line("1");
    chat.wait("\r\nstill-permitted\r\n");
    chat.wait("› ");
    chat.keys("\u{4}");
    assert_eq!(chat.end(), 0, "Ctrl-D leaves too");
}
