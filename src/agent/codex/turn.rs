//! Turns: their beginning, their end, and what they used.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Codex, content,
    errors::{self, RpcError},
    state::{Call, Phase, Tokens, Turn},
};
use crate::{
    agent::{
        adapter::{Output, TurnEnd},
        outputs::{LONGEST_ID, update},
    },
    domain::TurnError,
};

/// The most refusals of an interrupt that are answered with another one at once.
const MOST_REFUSED: u32 = 8;

impl Codex {
    pub(super) fn begin_turn(&mut self, blocks: &[Value]) -> Vec<Output> {
        if self.state.phase != Phase::Idle {
            return Vec::new();
        }
        self.state.phase = Phase::Turn;
        self.state.turn = Turn { before: self.state.used, ..Turn::default() };
        let mut params = json!({"threadId": self.state.thread, "input": content::to_codex(blocks)});
        if std::mem::take(&mut self.state.changed) {
            params["approvalPolicy"] = json!(self.state.mode);
            params["model"] = json!(self.state.model);
        }
        vec![self.request(Call::Turn, "turn/start", params)]
    }

    pub(super) fn turn_accepted(&mut self, result: Result<&Value, RpcError>) -> Vec<Output> {
        if self.state.phase != Phase::Turn {
            return Vec::new();
        }
        match result {
            Ok(result) => {
                self.name_turn(&result["turn"]["id"]);
                self.interrupt().into_iter().collect()
            }
            Err(_) if self.state.turn.cancelling => {
                self.state.changed = true;
                self.end_turn(stopped("cancelled"))
            }
            Err(error) => {
                self.state.changed = true;
                self.end_turn(failed(TurnError { message: error.text(), status: None }))
            }
        }
    }

    fn name_turn(&mut self, id: &Value) {
        if self.state.turn.id.is_none() {
            self.state.turn.id = id.as_str().filter(|id| id.len() <= LONGEST_ID).map(str::to_owned);
        }
    }

    pub(super) fn turn_started(&mut self, params: &Value) -> Option<Vec<Output>> {
        let id = params["turn"]["id"].as_str().filter(|id| id.len() <= LONGEST_ID)?;
        if !self.is_ours(params) {
            let thread = params["threadId"].as_str().filter(|thread| thread.len() <= LONGEST_ID)?;
            self.state.keep_other(thread, id);
            let cancelling = self.state.turn.cancelling;
            return Some(if cancelling { self.interrupt_others() } else { Vec::new() });
        }
        if self.state.phase == Phase::Turn {
            self.name_turn(&params["turn"]["id"]);
            self.state.turn.started |= self.state.turn.id.as_deref() == Some(id);
        }
        Some(Vec::new())
    }

    /// The interrupt of a turn that was asked to end, unless one is on its way.
    pub(super) fn interrupt(&mut self) -> Option<Output> {
        let turn = &mut self.state.turn;
        if self.state.phase != Phase::Turn || !turn.cancelling || turn.interrupting {
            return None;
        }
        let params = json!({"threadId": self.state.thread, "turnId": turn.id.as_ref()?});
        turn.interrupting = true;
        Some(self.request(Call::Interrupt, "turn/interrupt", params))
    }

    /// Interrupts the sub-agents, which would work on.
    pub(super) fn interrupt_others(&mut self) -> Vec<Output> {
        let others = std::mem::take(&mut self.state.others);
        let interrupt = |(thread, turn): (String, String)| {
            self.request(Call::Other, "turn/interrupt", json!({"threadId": thread, "turnId": turn}))
        };
        others.into_iter().map(interrupt).collect()
    }

    /// Between accepting a turn and beginning it Codex has nothing to interrupt, and says so.
    pub(super) fn interrupted(&mut self, refused: bool) -> Vec<Output> {
        if !refused || self.state.phase != Phase::Turn {
            return Vec::new();
        }
        let turn = &mut self.state.turn;
        turn.interrupting = false;
        turn.refused = turn.refused.saturating_add(1);
        if turn.started && turn.refused <= MOST_REFUSED {
            return self.interrupt().into_iter().collect();
        }
        Vec::new()
    }

    pub(super) fn turn_completed(&mut self, params: &Value) -> Option<Vec<Output>> {
        let turn = &params["turn"];
        let (id, status) = (turn["id"].as_str()?, turn["status"].as_str()?);
        if !self.is_ours(params) {
            self.state.others.remove(params["threadId"].as_str()?);
            return Some(Vec::new());
        }
        if self.state.phase != Phase::Turn || self.state.turn.id.as_deref().is_some_and(|ours| ours != id) {
            // The end of something that Codex began by itself: not of the prompt.
            return Some(Vec::new());
        }
        Some(match status {
            "completed" => self.end_and_link(stopped("end_turn")),
            "interrupted" => self.clean(),
            "failed" if self.state.turn.cancelling => self.clean(),
            "failed" => {
                let told = turn.get("error").filter(|error| error.is_object()).map(errors::of_turn);
                let error = told.or_else(|| self.state.turn.error.take());
                let unknown =
                    || TurnError { message: "the turn failed; the agent gave no reason".to_owned(), status: None };
                self.end_and_link(failed(error.unwrap_or_else(unknown)))
            }
            _ => return None,
        })
    }

    /// Codex leaves the commands of an interrupted turn alive: they are ended before the turn's end is told.
    fn clean(&mut self) -> Vec<Output> {
        self.state.phase = Phase::Cleaning;
        let params = json!({"threadId": self.state.thread});
        vec![self.request(Call::Clean, "thread/backgroundTerminals/clean", params)]
    }

    pub(super) fn cleaned(&mut self) -> Vec<Output> {
        if self.state.phase != Phase::Cleaning {
            return Vec::new();
        }
        self.end_and_link(stopped("cancelled"))
    }

    fn end_and_link(&mut self, end: TurnEnd) -> Vec<Output> {
        let mut outputs = self.end_turn(end);
        outputs.extend(self.link());
        outputs
    }

    /// Closes what a turn may leave open, and ends it.
    fn end_turn(&mut self, mut end: TurnEnd) -> Vec<Output> {
        let turn = std::mem::take(&mut self.state.turn);
        self.state.phase = Phase::Idle;
        self.state.streams.clear();
        let used = self.state.used.zip(turn.before).map(|(used, before)| used.since(before));
        end.usage = used.filter(|used| used.total_tokens > 0).map(usage);
        let mut outputs = self.withdraw_permissions(false);
        outputs.extend(self.close_tools(end.stop_reason.as_deref() != Some("end_turn")));
        outputs.push(Output::TurnEnded(end));
        outputs
    }

    pub(super) fn token_usage(&mut self, params: &Value) -> Option<Vec<Output>> {
        if !self.is_ours(params) {
            return Some(Vec::new());
        }
        let told = &params["tokenUsage"];
        let (total, last) = (Tokens::deserialize(&told["total"]).ok()?, Tokens::deserialize(&told["last"]).ok()?);
        self.state.used = Some(total);
        if matches!(self.state.phase, Phase::Turn | Phase::Cleaning) {
            // The first that is heard of it.
            self.state.turn.before.get_or_insert(total.since(last));
        }
        let size = told["modelContextWindow"].as_u64();
        let told = size.map(|size| json!({"sessionUpdate": "usage_update", "used": last.total_tokens, "size": size}));
        Some(told.as_ref().and_then(update).into_iter().collect())
    }

    pub(super) fn error(&mut self, params: &Value) -> Option<Vec<Output>> {
        let told = params.get("error").filter(|error| error.is_object())?;
        let error = errors::of_turn(told);
        if params["willRetry"] == true {
            return Some(self.notice(&error.message, params).into_iter().collect());
        }
        let ours = self.is_ours(params) && self.state.phase == Phase::Turn;
        if !ours {
            return None;
        }
        // The turn's end follows, and mostly repeats it.
        self.state.turn.error = Some(error);
        Some(Vec::new())
    }
}

fn stopped(reason: &str) -> TurnEnd {
    TurnEnd { stop_reason: Some(reason.to_owned()), ..TurnEnd::default() }
}

fn failed(error: TurnError) -> TurnEnd {
    TurnEnd { error: Some(error), ..TurnEnd::default() }
}

/// A turn's usage in ACP's words, where the cached input is told apart.
fn usage(used: Tokens) -> Value {
    let cached = used.cached_input_tokens.saturating_add(used.cache_write_input_tokens);
    let mut told = json!({
        "inputTokens": used.input_tokens.saturating_sub(cached),
        "outputTokens": used.output_tokens,
        "totalTokens": used.total_tokens,
        "cachedReadTokens": used.cached_input_tokens,
        "cachedWriteTokens": used.cache_write_input_tokens,
    });
    if used.reasoning_output_tokens > 0 {
        told["thoughtTokens"] = json!(used.reasoning_output_tokens);
    }
    told
}
