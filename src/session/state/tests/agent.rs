//! An agent process as tether has it: what it took, what it said, and what was born of it.

use std::collections::BTreeSet;

use super::*;
use crate::agent::adapter::TurnEnd;
use crate::domain::{PermissionOption, PermissionOptionKind};

/// What an input of the agent's carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Carries {
    Handshake,
    Prompt(PromptNumber),
    Cancel,
    Answer(String),
}

/// What the agent has said, in its journal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    Linked,
    Ready,
    Ended { cancelled: bool, fails: bool },
    Asks(u64),
    Withdraws(u64),
    Lie(Lie),
}

/// A process.
#[derive(Clone, Debug, Default)]
pub(super) struct Proc {
    pub(super) alive: bool,
    pub(super) lost: bool,
    pub(super) taken: u64,
    /// Inputs that the agent has not worked on.
    pub(super) inbox: Vec<Carries>,
    pub(super) turn: Option<PromptNumber>,
    pub(super) said: Vec<Said>,
    /// Up to where what it said is durable.
    pub(super) acked: usize,
    /// The turns in which something was born that lives.
    pub(super) born: BTreeSet<PromptNumber>,
    /// The last prompt that tether took.
    pub(super) marked: PromptNumber,
    asked: u64,
    waits: Option<u64>,
    /// What it asked for and got no answer to, a request as often as it was made.
    unanswered: Vec<String>,
}

impl Proc {
    pub(super) fn begun() -> Self {
        Self { alive: true, ..Self::default() }
    }

    /// It and its tree are gone.
    pub(super) fn die(&mut self, lost: bool) {
        self.lost |= self.alive && lost;
        self.alive = false;
        self.born.clear();
        self.inbox.clear();
        self.turn = None;
    }

    /// Its next thing; gives the prompt that it was given now. `choice`: 0 ends the turn well, 1 badly.
    pub(super) fn works(&mut self, choice: u8) -> Option<PromptNumber> {
        if !self.alive {
            return None;
        }
        if self.inbox.is_empty() {
            self.goes_on(choice);
            return None;
        }
        match self.inbox.remove(0) {
            Carries::Handshake => self.said.extend([Said::Linked, Said::Ready]),
            Carries::Prompt(n) => {
                self.turn = Some(n);
                self.born.insert(n);
                return Some(n);
            }
            Carries::Cancel => {
                self.waits = None;
                if self.turn.take().is_some() {
                    self.said.push(Said::Ended { cancelled: true, fails: false });
                }
            }
            Carries::Answer(id) => {
                let at = self.unanswered.iter().position(|asked| *asked == id);
                self.unanswered.remove(at.unwrap_or_else(|| panic!("permission {id} was answered twice")));
                self.waits.take_if(|waits| format!("p{waits}") == id);
            }
        }
        None
    }

    fn goes_on(&mut self, choice: u8) {
        match (self.waits, self.turn) {
            (Some(id), _) if choice == 2 => {
                self.waits = None;
                self.said.push(Said::Withdraws(id));
            }
            (None, Some(_)) if choice >= 200 => {
                self.asked += 1;
                self.waits = Some(self.asked);
                self.unanswered.push(format!("p{}", self.asked));
                self.said.push(Said::Asks(self.asked));
            }
            (None, Some(_)) => {
                self.turn = None;
                self.said.push(Said::Ended { cancelled: false, fails: choice == 1 });
            }
            (Some(_), _) | (None, None) => {}
        }
    }

    pub(super) fn lies(&mut self, lie: Lie) {
        if self.alive {
            self.said.push(Said::Lie(lie));
            if matches!(lie, Lie::Asks) {
                self.unanswered.push("p1".to_owned());
            }
        }
    }
}

impl Said {
    /// What its adapter makes of it.
    pub(super) fn output(self) -> Output {
        let end = |cancelled: bool, fails: bool| {
            let stop_reason = if cancelled { "cancelled" } else { "end_turn" };
            let error = fails.then(|| TurnError { message: "no".into(), status: None });
            Output::TurnEnded(TurnEnd { stop_reason: (!fails).then(|| stop_reason.to_owned()), usage: None, error })
        };
        let option = |id: &str, kind| PermissionOption { option_id: id.into(), name: id.into(), kind };
        let asks = |id: String| Output::PermissionRequested {
            id,
            tool_call: json!({}),
            options: vec![
                option("yes", PermissionOptionKind::AllowOnce),
                option("no", PermissionOptionKind::RejectOnce),
            ],
        };
        match self {
            Self::Linked => Output::Linked { agent_session_id: "a".into() },
            Self::Ready | Self::Lie(Lie::Ready) => Output::Ready,
            Self::Ended { cancelled, fails } => end(cancelled, fails),
            Self::Asks(id) => asks(format!("p{id}")),
            Self::Withdraws(id) => Output::PermissionWithdrawn { id: format!("p{id}") },
            Self::Lie(Lie::Ended { cancelled }) => end(cancelled, false),
            Self::Lie(Lie::Fatal) => Output::Fatal { message: "it broke".into() },
            Self::Lie(Lie::ResumeFailed) => Output::ResumeFailed { message: "what conversation".into() },
            Self::Lie(Lie::Linked) => Output::Linked { agent_session_id: "b".into() },
            Self::Lie(Lie::Asks) => asks("p1".into()),
            Self::Lie(Lie::Withdraws) => Output::PermissionWithdrawn { id: "p7".into() },
            Self::Lie(Lie::Unparsed) => Output::Unparsed { line: "?".into() },
        }
    }
}
