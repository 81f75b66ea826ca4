//! From the agent's bytes to inputs of the state machine.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::mpsc;

use super::Actor;
use super::effects::Done;
use crate::agent::adapter::Output;
use crate::agent::lines::{Line, Lines};
use crate::domain::ProcessProgress;
use crate::session::state::{Input, Step};
use crate::store::StoreError;
use crate::tether::client::{OutputStream, ProcessEvent};

/// How much output goes into one commit at the most, so that commands and other sessions' commits get their turn.
const BURST_BYTES: usize = 64 * 1024;
/// How long until it is told again that output waits.
const TOLD_AGAIN: Duration = Duration::from_secs(30);
/// How long until an input that tether refused (its volume is full, the process does not read) is given again.
const GIVEN_AGAIN: Duration = Duration::from_secs(1);
/// How much of stderr is told with an exit.
const STDERR_TAIL: usize = 4 * 1024;

/// The output of an attached process.
pub(super) struct Feed {
    pub(super) process: String,
    pub(super) events: mpsc::Receiver<ProcessEvent>,
    stdout: Lines,
    /// Lines of stdout that are not yet looked at.
    ready: VecDeque<Line>,
    stderr: Lines,
    stderr_tail: String,
}

impl Feed {
    pub(super) fn new(process: &ProcessProgress, events: mpsc::Receiver<ProcessEvent>) -> Self {
        Self {
            process: process.id.clone(),
            events,
            stdout: Lines::new(process.stdout),
            ready: VecDeque::new(),
            stderr: Lines::new(process.stderr),
            stderr_tail: String::new(),
        }
    }

    fn remember(&mut self, text: &str) {
        self.stderr_tail.push_str(text);
        if self.stderr_tail.len() > STDERR_TAIL {
            let mut cut = self.stderr_tail.len() - STDERR_TAIL;
            while !self.stderr_tail.is_char_boundary(cut) {
                cut += 1;
            }
            self.stderr_tail.drain(..cut);
        }
    }
}

/// What there is of a process to be looked at.
pub(super) enum Heard {
    /// It did something.
    Event(ProcessEvent),
    /// Lines of before are left: they were too many for one commit.
    Ready,
}

/// Waits for what the process does next, but not before `due`.
pub(super) async fn heard(feed: Option<&mut Feed>, due: Option<tokio::time::Instant>) -> Heard {
    let Some(feed) = feed else { return std::future::pending().await };
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
    if !feed.ready.is_empty() {
        return Heard::Ready;
    }
    let ended = || ProcessEvent::Detached { reason: "the connection ended".into() };
    Heard::Event(feed.events.recv().await.unwrap_or_else(ended))
}

impl Actor {
    /// Takes what the process has to tell, as much as is there up to a bound, as one commit.
    pub(super) async fn process_events(&mut self, heard: Heard) -> Result<(), StoreError> {
        let begun = tokio::time::Instant::now();
        let mut step = Step::default();
        let mut bytes = 0;
        let mut next = match heard {
            Heard::Event(event) => Some(event),
            Heard::Ready => None,
        };
        loop {
            if let Some(event) = next.take() {
                if let ProcessEvent::Output { bytes: output, .. } = &event {
                    self.watch.heard = self.shared.clock.now();
                    bytes += output.len();
                }
                self.casualty.listen(&event, &self.workspace).await;
                self.process_event(event, &mut step);
            }
            let taken = self.lines(&mut step);
            bytes = bytes.max(taken);
            next = match &mut self.feed {
                Some(feed) if feed.ready.is_empty() && bytes < BURST_BYTES => feed.events.try_recv().ok(),
                _ => None,
            };
            if next.is_none() {
                break;
            }
        }
        self.finish(step, |_, _| ()).await?;
        self.pace.took(bytes, begun.elapsed(), self.shared.store.batches());
        Ok(())
    }

    fn process_event(&mut self, event: ProcessEvent, step: &mut Step) {
        match event {
            ProcessEvent::Output { stream: OutputStream::Stdout, bytes, .. } => {
                if let Some(feed) = &mut self.feed {
                    feed.ready.extend(feed.stdout.push(&bytes));
                }
            }
            ProcessEvent::Output { stream: OutputStream::Stderr, bytes, .. } => self.stderr(&bytes, step),
            ProcessEvent::InputTaken { n } => self.apply(Input::Taken { n }, step),
            ProcessEvent::InputRejected { n, reason } => {
                if self.refused < n {
                    self.refused = n;
                    let text = format!(
                        "wharf: the agent's input {n} was refused: {reason}; it is given again until it is taken\n"
                    );
                    self.apply(Input::Stderr { text }, step);
                }
                self.give_again(n);
            }
            ProcessEvent::Waits { reason } => {
                let now = self.shared.clock.now();
                if self.waited.is_none_or(|told| told + TOLD_AGAIN <= now) {
                    self.waited = Some(now);
                    let text = format!("wharf: the agent's output waits, and with it the agent: {reason}\n");
                    self.apply(Input::Stderr { text }, step);
                }
            }
            ProcessEvent::Exited { code, signal, lost } => {
                self.last_lines(step);
                let stderr = self.feed.take().map(|feed| feed.stderr_tail).unwrap_or_default();
                let why = self.casualty.why(signal, lost);
                self.apply(Input::Exited { code, signal, lost, stderr, why }, step);
            }
            ProcessEvent::Detached { reason } => {
                self.feed = None;
                self.client = None;
                self.apply(Input::Detached { reason }, step);
            }
        }
    }

    /// tether has refused an input and what follows it; the outbox still holds them.
    fn give_again(&mut self, n: u64) {
        self.sent = self.sent.min(n.saturating_sub(1));
        self.timers.spawn(async {
            tokio::time::sleep(GIVEN_AGAIN).await;
            Done::Again
        });
    }

    /// Looks at lines that came, as many as one commit should hold; answers their bytes.
    fn lines(&mut self, step: &mut Step) -> usize {
        let mut bytes = 0;
        while bytes < BURST_BYTES
            && let Some(line) = self.feed.as_mut().and_then(|feed| feed.ready.pop_front())
        {
            bytes += line.bytes.len();
            self.line(&line.bytes, line.oversized, step);
            if let Some(process) = &mut self.state.p.process {
                process.stdout = line.end_offset;
                step.dirty = true;
            }
        }
        bytes
    }

    fn line(&mut self, line: &[u8], oversized: bool, step: &mut Step) {
        let outputs = match &mut self.adapter {
            Some(adapter) if !oversized => adapter.receive(line),
            _ => vec![Output::Unparsed { line: String::from_utf8_lossy(line).into_owned() }],
        };
        for output in outputs {
            match &output {
                Output::Ready => self.late_choices(step),
                // A conversation that is never taken up again needs no id.
                Output::Linked { .. } if !self.entry.keeps_conversations() => continue,
                _ => {}
            }
            let output = self.redactor.output(output);
            self.apply(Input::Agent(output), step);
        }
    }

    fn stderr(&mut self, bytes: &[u8], step: &mut Step) {
        let Some(feed) = &mut self.feed else { return };
        let (mut text, mut end) = (String::new(), None);
        for line in feed.stderr.push(bytes) {
            text.push_str(&String::from_utf8_lossy(&line.bytes));
            text.push('\n');
            end = Some(line.end_offset);
        }
        let Some(end) = end else { return };
        let text = self.redactor.text(text);
        feed.remember(&text);
        if let Some(process) = &mut self.state.p.process {
            process.stderr = end;
        }
        self.apply(Input::Stderr { text }, step);
    }

    /// What the process wrote last, without a line feed.
    fn last_lines(&mut self, step: &mut Step) {
        let Some(feed) = &mut self.feed else { return };
        let (stdout, stderr) = (feed.stdout.finish(), feed.stderr.finish());
        if let Some(line) = stdout {
            self.line(&line.bytes, line.oversized, step);
        }
        if let Some(line) = stderr {
            let text = self.redactor.text(String::from_utf8_lossy(&line.bytes).into_owned());
            if let Some(feed) = &mut self.feed {
                feed.remember(&text);
            }
            self.apply(Input::Stderr { text }, step);
        }
    }
}
