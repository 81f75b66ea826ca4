//! The agent process: waking it, taking it up again, and what its end means.

use super::{Call, DEATH_WINDOW_MS, DEATHS_MAX, Effect, Ending, Link, STUMBLES_MAX, State, Step};
use crate::domain::{EventData, OutboxEntry, ProcessProgress, Timestamp};

/// How much may wait for a process that does not read, in inputs and in bytes: all of it is written with each step.
const OUTBOX_MAX: usize = 512;
const OUTBOX_BYTES_MAX: usize = 24 << 20;

/// How a process ended.
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Whether its container went away under it.
    pub(super) lost: bool,
    /// The last of what it wrote to standard error.
    pub(super) stderr: String,
    /// What is known of its container's part in it.
    pub(super) why: Option<String>,
    /// Whether its journal was read to the end, so that what it took is known.
    pub(super) journal: bool,
}

impl State {
    /// A new daemon takes the session over.
    pub(super) fn recover(&mut self, step: &mut Step) {
        self.advance(step);
        if self.link == Link::Down && self.p.process.is_some() {
            self.recovering = true;
            self.link = Link::Waking;
            step.effects.push(Effect::Wake { only_if_running: true });
        }
    }

    /// The workspace is there: takes the process up again, or starts one.
    pub(super) fn workspace_up(&mut self, step: &mut Step) {
        if self.link != Link::Waking {
            return;
        }
        if self.ending.is_some() {
            self.link = Link::Down;
            return;
        }
        self.link = Link::Starting;
        if let Some(process) = &self.p.process {
            step.effects.push(Effect::Attach { process: process.id.clone() });
            return;
        }
        let begun = self.p.turns > 0 || self.p.agent_session_id.is_some();
        if begun && self.p.agent_session_id.is_none() {
            let message = "the agent never gave an id that its conversation could be resumed by, and its process is \
                           gone: reset the session to begin afresh"
                .to_owned();
            self.link = Link::Down;
            step.events.push((None, EventData::SessionResumeFailed { message: message.clone() }));
            self.fail(message, step);
            return;
        }
        self.p.runs += 1;
        self.taken = 0;
        self.p.process = Some(ProcessProgress {
            id: format!("r{}", self.p.runs),
            stdout: 0,
            stderr: 0,
            last_input: 0,
            outbox: Vec::new(),
            ready: false,
            told: false,
        });
        step.dirty = true;
        step.calls.push_back(Call::Start { resume: self.p.agent_session_id.clone() });
        step.effects.push(Effect::Start { process: format!("r{}", self.p.runs) });
    }

    /// The workspace does not run and was not to be started.
    pub(super) fn workspace_down(&mut self, step: &mut Step) {
        self.recovering = false;
        if self.link == Link::Waking {
            self.link = Link::Down;
            self.advance(step);
        }
    }

    /// The workspace can't be had.
    pub(super) fn wake_failed(&mut self, message: String, retry: bool, step: &mut Step) {
        self.recovering = false;
        if self.link == Link::Waking {
            self.link = Link::Down;
        }
        if retry {
            self.wanted = false;
            if self.is_busy() {
                step.effects.push(Effect::RetryLater);
            }
        } else {
            self.fail(message, step);
        }
    }

    /// The process runs and is attached.
    pub(super) fn started(&mut self, resumed: bool, step: &mut Step) {
        if self.link != Link::Starting {
            return;
        }
        self.link = Link::Up;
        self.tell_start(resumed, step);
        let Some(process) = &self.p.process else { return };
        step.effects.push(Effect::Flush);
        step.effects.push(Effect::ArmHandshake { process: process.id.clone() });
        self.catch_up(step);
    }

    /// Tells of the start once, if not by the daemon that did it, then by the one that finds the process.
    fn tell_start(&mut self, resumed: bool, step: &mut Step) {
        if let Some(process) = self.p.process.as_mut().filter(|process| !process.told) {
            process.told = true;
            step.events.push((None, EventData::AgentStarted { process: process.id.clone(), resumed }));
        }
    }

    /// The process is of no use as long as it does not speak.
    pub(super) fn handshake_timeout(&mut self, process: &str, step: &mut Step) {
        let silent = self.p.process.as_ref().is_some_and(|current| current.id == process && !current.ready);
        if silent && self.ending.is_none() {
            self.fail(
                "the agent did not complete its handshake in time: restore the session to try again".to_owned(),
                step,
            );
            self.end(Ending::Useless, step);
        }
    }

    /// The process could not be started.
    pub(super) fn start_failed(&mut self, message: String, now: Timestamp, step: &mut Step) {
        if self.link != Link::Starting {
            return;
        }
        self.link = Link::Down;
        self.process_gone();
        if let Some(ending) = self.ending.take() {
            self.after_end(ending, now, step);
            return;
        }
        self.fail(format!("the agent can't be started: {message}"), step);
    }

    /// A known process is attached again.
    pub(super) fn attached(&mut self, last_input: u64, step: &mut Step) {
        if self.link != Link::Starting {
            return;
        }
        self.recovering = false;
        self.link = Link::Up;
        // It has said nothing yet that was heard: what it was started with is still what is known.
        self.tell_start(self.p.agent_session_id.is_some(), step);
        self.taken(last_input);
        step.effects.push(Effect::Flush);
        if let Some(process) = self.p.process.as_ref().filter(|process| !process.ready) {
            step.effects.push(Effect::ArmHandshake { process: process.id.clone() });
        }
        self.catch_up(step);
    }

    /// Does what could not be done while the process was not in hand.
    pub(super) fn catch_up(&mut self, step: &mut Step) {
        let Some(process) = &self.p.process else { return };
        let id = process.id.clone();
        if self.ending.is_some() {
            step.effects.push(Effect::End { process: id, force: false });
            return;
        }
        match &self.p.turn {
            Some(turn) if turn.outcome.is_some() => step.effects.push(Effect::Sweep { process: id }),
            Some(turn) if turn.cancelling => step.effects.push(Effect::ArmCancel { n: turn.prompt }),
            _ => self.advance(step),
        }
    }

    /// An input for the agent's stdin: numbered, and kept until tether has taken it.
    pub(super) fn send(&mut self, text: String, mark: bool, step: &mut Step) {
        let Some(process) = &mut self.p.process else { return };
        process.last_input += 1;
        let n = process.last_input;
        process.outbox.push(OutboxEntry { n, mark, text, sealed: false });
        let waiting: usize = process.outbox.iter().map(|entry| entry.text.len()).sum();
        let full = process.outbox.len() > OUTBOX_MAX || waiting > OUTBOX_BYTES_MAX;
        if mark && let Some(turn) = &mut self.p.turn {
            turn.input = Some(n);
        }
        step.dirty = true;
        if self.link == Link::Up {
            step.effects.push(Effect::Flush);
        }
        if full && self.ending.is_none() {
            self.fatal("the agent does not read what it is told".to_owned(), step);
        }
    }

    /// tether took inputs up to `n`. Not worth a commit: after a crash tether says it again.
    pub(super) fn taken(&mut self, n: u64) {
        self.taken = self.taken.max(n);
        let taken = self.taken;
        if let Some(process) = &mut self.p.process {
            process.outbox.retain(|entry| entry.n > taken);
        }
    }

    /// tether knows no such process: it was never started, or its journal is gone.
    pub(super) fn process_unknown(&mut self, now: Timestamp, step: &mut Step) {
        let exit = Exit { code: None, signal: None, lost: true, stderr: String::new(), why: None, journal: false };
        self.exited(exit, now, step);
    }

    /// The process ended, and everything that it wrote is in the log.
    pub(super) fn exited(&mut self, exit: Exit, now: Timestamp, step: &mut Step) {
        let Some(process) = &self.p.process else { return };
        let id = process.id.clone();
        let was_ready = process.ready;
        let how = describe(&exit);
        let taken = exit.journal.then_some(self.taken);
        let lost = exit.lost;
        self.recovering = false;
        step.events.push((
            self.turn_number(),
            EventData::AgentExited {
                process: id.clone(),
                code: exit.code,
                signal: exit.signal,
                lost,
                stderr: exit.stderr.clone(),
            },
        ));
        step.effects.push(Effect::Forget { process: id });
        self.link = Link::Down;
        self.process_gone();
        self.withdraw_permissions(step);
        let ending = self.ending.take();
        if ending.is_none() && lost {
            self.stumble(&how, step);
        } else if ending.is_none() {
            self.count_death(was_ready, &how, &exit.stderr, now, step);
        }
        if ending.is_some()
            && let Some(turn) = &mut self.p.turn
        {
            let useless = ending == Some(Ending::Useless);
            turn.cancelling |= !useless;
        }
        self.turn_lost(taken, lost, &how, step);
        match ending {
            Some(ending) => self.after_end(ending, now, step),
            None => self.advance(step),
        }
    }

    /// Counts a death that nobody asked for; the third within a minute stops the loop.
    fn count_death(&mut self, was_ready: bool, how: &str, stderr: &str, now: Timestamp, step: &mut Step) {
        let since = now.as_millis() - DEATH_WINDOW_MS;
        self.deaths.retain(|t| t.as_millis() > since && *t <= now);
        self.deaths.push_back(now);
        let last = stderr.trim().lines().last().unwrap_or_default();
        let detail = if last.is_empty() { String::new() } else { format!("; its last words: {last}") };
        if self.deaths.len() >= DEATHS_MAX {
            self.deaths.clear();
            self.fail(
                format!("{how} {DEATHS_MAX} times within a minute{detail}: restore the session to try again"),
                step,
            );
        } else if !was_ready && self.p.queue.is_empty() && self.p.turn.is_none() && !self.wanted {
            self.fail(format!("{how} before it was ready{detail}: restore the session to try again"), step);
        }
    }

    /// Counts a container that went away; a row of them without a ready agent stops the loop.
    fn stumble(&mut self, how: &str, step: &mut Step) {
        self.stumbles += 1;
        if self.stumbles >= STUMBLES_MAX {
            self.stumbles = 0;
            self.fail(format!("{how} {STUMBLES_MAX} times in a row: restore the session to try again"), step);
        }
    }

    pub(super) fn process_gone(&mut self) {
        self.p.process = None;
        self.p.adapter = None;
        self.taken = 0;
    }

    /// The container went away under the process.
    pub(super) fn detached(&mut self, reason: &str, now: Timestamp, step: &mut Step) {
        if matches!(self.link, Link::Down | Link::Waking) {
            return;
        }
        let was = std::mem::replace(&mut self.link, Link::Down);
        self.recovering = false;
        if self.ending.is_some() {
            match &self.p.process {
                // It was never in hand: whether it runs is still to be looked at.
                Some(process) if was == Link::Starting => {
                    step.effects.push(Effect::End { process: process.id.clone(), force: false });
                }
                // Nothing runs in a container that does not run.
                _ => self.ended(now, step),
            }
            return;
        }
        self.interrupted = self.p.turn.is_some();
        self.stumble(reason, step);
        self.advance(step);
    }
}

fn describe(exit: &Exit) -> String {
    let how = match (exit.lost, exit.code, exit.signal) {
        (true, ..) => "the agent's workspace stopped under it".to_owned(),
        (_, Some(code), _) => format!("the agent exited with code {code}"),
        (_, _, Some(signal)) => format!("the agent was ended by signal {signal}"),
        _ => "the agent ended".to_owned(),
    };
    exit.why.as_ref().map_or(how.clone(), |why| format!("{how}: {why}"))
}
