//! A running turn of the demo agent: what it does next, step by step, so that a cancel is read between any two steps.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{shell::Shell, verb::Verb, wire};

/// The time between two chunks of `slow`.
const TICK: Duration = Duration::from_millis(100);

/// The size of one message chunk of `big` and of a command's output, in bytes.
const CHUNK: usize = 16 * 1024;

/// How many chunks `burst` gives before it looks for a cancel.
const BURST: u64 = 64;

/// What a turn is busy with.
pub(super) enum Work {
    /// Chunks at times to come.
    Slow {
        /// Chunks given.
        given: u64,
        /// Chunks to give.
        of: u64,
        /// When the next one is due.
        due: Instant,
    },
    /// Chunks without a pause.
    Burst {
        /// Chunks given.
        given: u64,
        /// Chunks to give.
        of: u64,
    },
    /// Bytes that are still to be written.
    Big {
        /// How many were written.
        written: u64,
        /// How many to write.
        of: u64,
    },
    /// A command that runs.
    Run(Shell),
    /// A command that waits for a permission.
    Asked {
        /// The id of the permission request.
        request: u64,
        /// The command.
        command: String,
    },
}

/// A turn that is not over.
pub(super) struct Turn {
    /// The id of the `session/prompt` request.
    pub(super) id: Value,
    /// The session's id.
    pub(super) session: String,
    /// The tool call, where the turn makes one.
    pub(super) call: String,
    /// What was said so far.
    pub(super) said: String,
    /// What it is busy with.
    pub(super) work: Option<Work>,
}

impl Turn {
    /// Says a piece of the answer.
    pub(super) fn say(&mut self, text: &str) {
        wire::chunk(&self.session, "agent_message_chunk", text);
        self.said.push_str(text);
    }

    /// Says a text in chunks of a reasonable size.
    pub(super) fn say_long(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = rest.len().min(CHUNK);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (chunk, tail) = rest.split_at(end);
            self.say(chunk);
            rest = tail;
        }
    }

    /// Announces the tool call of a command.
    pub(super) fn announce(&self, command: &str) {
        let mut call = tool_call(&self.call, command);
        call["sessionUpdate"] = json!("tool_call");
        wire::update(&self.session, &call);
    }

    /// Starts a command; one that can't be started has failed.
    pub(super) fn run(&mut self, command: &str, cwd: &str) {
        match Shell::start(command, cwd) {
            Ok(shell) => {
                self.tool("in_progress", None, &Value::Null);
                self.work = Some(Work::Run(shell));
            }
            Err(error) => {
                let text = format!("/bin/sh could not be started in {cwd}: {error}");
                self.tool("failed", Some(&text), &Value::Null);
                self.say(&text);
                self.work = None;
            }
        }
    }

    /// Tells how the tool call stands.
    pub(super) fn tool(&self, status: &str, output: Option<&str>, raw: &Value) {
        let mut update = json!({"sessionUpdate": "tool_call_update", "toolCallId": self.call, "status": status});
        if let Some(text) = output {
            update["content"] = json!([{"type": "content", "content": {"type": "text", "text": text}}]);
        }
        if !raw.is_null() {
            update["rawOutput"] = raw.clone();
        }
        wire::update(&self.session, &update);
    }

    /// How long it may be left alone; `None`: until something comes in.
    pub(super) fn patience(&self) -> Option<Duration> {
        match &self.work {
            Some(Work::Slow { due, .. }) => Some(due.saturating_duration_since(Instant::now())),
            Some(Work::Burst { .. } | Work::Big { .. }) => Some(Duration::ZERO),
            Some(Work::Run(shell)) if !shell.tells_its_end() => Some(Duration::from_millis(10)),
            Some(Work::Run(_) | Work::Asked { .. }) | None => None,
        }
    }

    /// Does what is due. The turn is over when no work is left.
    pub(super) fn step(&mut self) {
        match self.work.take() {
            Some(Work::Slow { given, of, due }) => self.slow(given, of, due),
            Some(Work::Burst { given, of }) => self.burst(given, of),
            Some(Work::Big { written, of }) => self.big(written, of),
            Some(Work::Run(shell)) => self.pump(shell),
            other => self.work = other,
        }
    }

    fn slow(&mut self, mut given: u64, of: u64, mut due: Instant) {
        if given < of && Instant::now() >= due {
            given += 1;
            due += TICK;
            self.say(&format!("chunk {given} "));
        }
        if given < of {
            self.work = Some(Work::Slow { given, of, due });
        }
    }

    fn burst(&mut self, mut given: u64, of: u64) {
        let until = of.min(given + BURST);
        while given < until {
            given += 1;
            wire::chunk(&self.session, "agent_message_chunk", &format!("chunk {given} "));
        }
        if given < of {
            self.work = Some(Work::Burst { given, of });
        }
    }

    fn big(&mut self, written: u64, of: u64) {
        let size = (of - written).min(CHUNK as u64);
        // Sixteen bytes a line, so that what arrives can be checked by its place.
        let text: String = (written..written + size).map(|at| if at % 16 == 15 { '\n' } else { digit(at) }).collect();
        wire::chunk(&self.session, "agent_message_chunk", &text);
        let written = written + size;
        if written < of {
            self.work = Some(Work::Big { written, of });
        }
    }

    fn pump(&mut self, mut shell: Shell) {
        match shell.pump() {
            Ok(None) => self.work = Some(Work::Run(shell)),
            Ok(Some(status)) => {
                let output = shell.output();
                let outcome = if status.success() { "completed" } else { "failed" };
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                self.tool(outcome, Some(&output), &json!({"exitCode": status.code(), "signal": signal}));
                self.say_long(&output);
            }
            Err(error) => {
                shell.kill();
                self.tool("failed", Some(&error.to_string()), &Value::Null);
            }
        }
    }

    /// Ends it at once, with the command that it runs.
    pub(super) fn cancel(&mut self) {
        match self.work.take() {
            Some(Work::Run(mut shell)) => {
                shell.kill();
                let _ = shell.pump();
                self.tool("failed", Some(&shell.output()), &json!({"cancelled": true}));
            }
            Some(Work::Asked { .. }) => self.tool("failed", None, &json!({"cancelled": true})),
            _ => {}
        }
    }

    /// Begins what a verb needs time for; what is said at once leaves no work.
    pub(super) fn begin(&mut self, verb: &Verb) {
        match verb {
            Verb::Say(text) if !text.is_empty() => self.say_long(text),
            Verb::Think(text) => {
                wire::chunk(&self.session, "agent_thought_chunk", &format!("thinking about {text}"));
                self.say_long(text);
            }
            Verb::Slow(of) if *of > 0 => self.work = Some(Work::Slow { given: 0, of: *of, due: Instant::now() + TICK }),
            Verb::Burst(of) if *of > 0 => self.work = Some(Work::Burst { given: 0, of: *of }),
            Verb::Big(of) if *of > 0 => self.work = Some(Work::Big { written: 0, of: *of }),
            _ => {}
        }
    }
}

fn digit(at: u64) -> char {
    char::from_digit(u32::try_from(at / 16 % 10).unwrap_or(0), 10).unwrap_or('0')
}

/// The tool call of a command, before it runs.
pub(super) fn tool_call(id: &str, command: &str) -> Value {
    json!({
        "toolCallId": id,
        "title": command,
        "kind": "execute",
        "status": "pending",
        "rawInput": {"command": command},
    })
}
