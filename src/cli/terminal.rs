//! One look at a terminal from the first byte to its end, over as many connections as that takes.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Outcome;
use super::client::{Client, PATIENCE, Pause, Query};
use super::failure::{Failure, code};
use super::raw::{Escape, Raw};
use super::socket::{Message, Socket};
use super::ui::Ui;
use crate::api::{TerminalInput, TerminalOutput};
use crate::terminal::{Ended, TerminalView};

/// What is read of stdin at once.
const PIECE: usize = 32 * 1024;

/// Why a conversation over one connection is over.
enum Over {
    /// The program ended.
    Ended(Ended),
    /// The user leaves it running.
    Left,
    /// Ctrl-C without a terminal, or the end of this program is asked for.
    Stopped,
    /// The connection broke.
    Lost(String),
}

/// What the user does; the same over all connections.
struct Keys {
    stdin: tokio::io::Stdin,
    open: bool,
    /// What is to be told before anything that is typed.
    due: VecDeque<TerminalInput>,
    escape: Escape,
    resized: Signal,
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

/// A look at a terminal.
pub(super) struct Session<'a> {
    client: &'a Client,
    ui: &'a Ui,
    workspace: &'a str,
    id: &'a str,
    /// Whether there is a person at a terminal.
    person: bool,
    /// How far standard output and standard error were read.
    seen: Option<[u64; 2]>,
}

impl<'a> Session<'a> {
    pub(super) const fn new(client: &'a Client, ui: &'a Ui, workspace: &'a str, id: &'a str, person: bool) -> Self {
        Self { client, ui, workspace, id, person, seen: None }
    }

    /// Until it ends or is left.
    pub(super) async fn run(mut self) -> Outcome {
        let mut keys = Keys::new()?;
        let raw = if self.person { Some(Raw::enter()?) } else { None };
        let over = self.through(&mut keys).await;
        drop(raw);
        match over? {
            Over::Ended(Ended { code: Some(code), .. }) => {
                Ok(ExitCode::from(u8::try_from(code).unwrap_or(code::FAILED)))
            }
            Over::Ended(Ended { signal: Some(signal), .. }) => {
                Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(code::FAILED)))
            }
            Over::Ended(_) => {
                self.ui.warn("it went down with its container, and how it ended is not known");
                Ok(ExitCode::from(code::UNKNOWN))
            }
            Over::Left => {
                self.ui.note(&format!("\n· left running; `wharf shell --attach {}` comes back", self.id));
                Ok(ExitCode::SUCCESS)
            }
            Over::Stopped => self.stop().await,
            Over::Lost(why) => Err(Failure::unreachable(why)),
        }
    }

    /// What has no terminal to come back to goes with its caller.
    async fn stop(&self) -> Outcome {
        if !self.person {
            let path = ["v1", "workspaces", self.workspace, "terminals", self.id];
            self.client.call::<TerminalView>(Method::DELETE, &path, &Query::new()).await?;
        }
        Ok(ExitCode::from(code::DETACHED))
    }

    /// Over as many connections as it takes.
    async fn through(&mut self, keys: &mut Keys) -> Result<Over, Failure> {
        let mut since: Option<Instant> = None;
        let mut pause = Pause::default();
        loop {
            let mut query = Query::new();
            if let Some([stdout, stderr]) = self.seen {
                query = vec![("stdout", stdout.to_string()), ("stderr", stderr.to_string())];
            }
            let path = ["v1", "workspaces", self.workspace, "terminals", self.id];
            let why = match self.client.websocket(&path, &query).await {
                Ok(socket) => {
                    if since.take().is_some() {
                        self.tell("connected again");
                    }
                    pause = Pause::default();
                    match self.converse(socket, keys).await? {
                        Over::Lost(why) => why,
                        over => return Ok(over),
                    }
                }
                Err(failure) if failure.passes() && self.seen.is_some() => failure.message().to_owned(),
                Err(failure) => return Err(failure),
            };
            if since.is_none() {
                self.tell("the connection is lost; coming back …");
            }
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Ok(Over::Lost(why));
            }
            tokio::select! {
                () = pause.wait() => {}
                over = keys.leave() => return Ok(over),
            }
        }
    }

    fn tell(&self, text: &str) {
        // A raw terminal needs the carriage return.
        self.ui.warn_part(&format!("\r\n[wharf: {text}]\r\n"));
    }

    /// Both directions at once, so that neither waits for the other.
    async fn converse(&mut self, socket: Socket, keys: &mut Keys) -> Result<Over, Failure> {
        let (mut out, mut from_daemon) = socket.split();
        let person = self.person;
        keys.connected(person);
        let typing = async {
            loop {
                let message = match keys.next(person).await? {
                    Ok(message) => message,
                    Err(over) => return Ok(over),
                };
                if let Err(e) = out.send(message).await {
                    return Ok(Over::Lost(e.to_string()));
                }
            }
        };
        let looking = async {
            loop {
                match from_daemon.next().await {
                    Some(Ok(message)) => {
                        if let Some(ended) = self.show(message)? {
                            return Ok(Over::Ended(ended));
                        }
                    }
                    Some(Err(e)) => return Ok(Over::Lost(e.to_string())),
                    None => return Ok(Over::Lost("the daemon ended the connection".to_owned())),
                }
            }
        };
        tokio::select! {
            over = looking => over,
            over = typing => over,
        }
    }

    /// Writes what came; its end.
    fn show(&mut self, message: Message) -> Result<Option<Ended>, Failure> {
        match message {
            Message::Binary(bytes) => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
                self.read(0, bytes.len());
            }
            Message::Text(text) => match serde_json::from_str::<TerminalOutput>(&text) {
                Ok(TerminalOutput::Attached { stdout, stderr }) => self.seen = Some([stdout, stderr]),
                Ok(TerminalOutput::Stderr { base64 }) => {
                    let bytes = STANDARD.decode(base64).map_err(|e| Failure::other(e.to_string()))?;
                    std::io::stderr().lock().write_all(&bytes)?;
                    self.read(1, bytes.len());
                }
                Ok(TerminalOutput::Skipped { bytes }) => self.tell(&format!("{bytes} bytes were dropped meanwhile")),
                Ok(TerminalOutput::Exit(ended)) => return Ok(Some(ended)),
                // What a newer daemon says beyond that.
                Err(_) => {}
            },
            _ => {}
        }
        Ok(None)
    }

    fn read(&mut self, stream: usize, bytes: usize) {
        self.seen.get_or_insert_default()[stream] += bytes as u64;
    }
}

impl Keys {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::other(format!("cannot listen for signals: {e}")));
        Ok(Self {
            stdin: tokio::io::stdin(),
            open: true,
            due: VecDeque::new(),
            escape: Escape::default(),
            resized: listen(SignalKind::window_change())?,
            interrupted: listen(SignalKind::interrupt())?,
            terminated: listen(SignalKind::terminate())?,
            hung_up: listen(SignalKind::hangup())?,
        })
    }

    /// What each new connection is told: the window may have changed, and the end of input may have been lost.
    fn connected(&mut self, person: bool) {
        self.due.clear();
        if person {
            let (cols, rows) = Raw::size();
            self.due.push_back(TerminalInput::Resize { cols, rows });
        } else if !self.open {
            self.due.push_back(TerminalInput::Eof);
        }
    }

    /// The next thing to tell the terminal, or why there is none.
    async fn next(&mut self, person: bool) -> Result<Result<Message, Over>, Failure> {
        if let Some(due) = self.due.pop_front() {
            return Ok(Ok(text(&due)));
        }
        let mut buffer = vec![0; PIECE];
        tokio::select! {
            read = self.stdin.read(&mut buffer), if self.open => {
                let n = read?;
                if n == 0 {
                    self.open = false;
                    return Ok(if person { Err(Over::Left) } else { Ok(text(&TerminalInput::Eof)) });
                }
                if !person {
                    buffer.truncate(n);
                    return Ok(Ok(Message::Binary(Bytes::from(buffer))));
                }
                let (typed, leave) = self.escape.take(&buffer[..n]);
                Ok(if leave { Err(Over::Left) } else { Ok(Message::Binary(Bytes::from(typed))) })
            }
            _ = self.resized.recv(), if person => {
                let (cols, rows) = Raw::size();
                Ok(Ok(text(&TerminalInput::Resize { cols, rows })))
            }
            _ = self.interrupted.recv() => Ok(Err(Over::Stopped)),
            _ = self.terminated.recv() => Ok(Err(Over::Stopped)),
            _ = self.hung_up.recv() => Ok(Err(Over::Stopped)),
        }
    }

    /// The user does not want to wait for the connection.
    async fn leave(&mut self) -> Over {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
            _ = self.hung_up.recv() => {}
        }
        Over::Left
    }
}

fn text(message: &TerminalInput) -> Message {
    // It is made of numbers, so rendering it can't fail.
    Message::text(serde_json::to_string(message).unwrap_or_default())
}
