//! What the adapter has learned from the agent.

use super::{Call, Ending, State, Step, in_pieces};
use crate::agent::adapter::Output;
use crate::domain::{
    EventData, PermissionOption, PermissionOptionKind, PermissionPolicy, PermissionRecord, PermissionState, Timestamp,
    TurnError,
};
use crate::session::shared::AGENT_ID_MAX;

/// How many permission requests may wait for an answer.
const PENDING_MAX: usize = 128;

impl State {
    /// Takes one output of the adapter.
    pub(super) fn agent(&mut self, output: Output, now: Timestamp, step: &mut Step) {
        match output {
            Output::Send(text) => self.send(text, false, step),
            Output::Ready => {
                if let Some(process) = &mut self.p.process {
                    process.ready = true;
                    step.dirty = true;
                }
                self.wanted = false;
                self.stumbles = 0;
                self.settle_dirty(step);
                self.advance(step);
            }
            Output::Linked { agent_session_id } if agent_session_id.len() > AGENT_ID_MAX => {
                self.fatal("the agent's id of the conversation is too long to be kept".to_owned(), step);
            }
            Output::Linked { agent_session_id } => {
                if self.p.agent_session_id.as_ref() != Some(&agent_session_id) {
                    self.p.agent_session_id = Some(agent_session_id.clone());
                    step.events.push((self.turn_number(), EventData::SessionLinked { agent_session_id }));
                }
            }
            Output::ResumeFailed { message } => self.resume_failed(&message, step),
            Output::Update(update) => {
                if let Some(amount) = reported_cost(update.get()) {
                    self.p.spent.report(amount);
                }
                step.events.push((self.turn_number(), EventData::Update(update)));
            }
            Output::PermissionRequested { id, tool_call, options } => {
                self.permission_requested(id, tool_call, options, now, step);
            }
            Output::PermissionWithdrawn { id } => {
                let record = self.pending.keys().find(|record| own_id(record) == id).cloned();
                if let Some(record) = record {
                    self.resolve_permission(&record, None, "withdrawn", step);
                }
            }
            Output::TurnEnded(end) => self.turn_ended(end, step),
            Output::Fatal { message } => self.fatal(message, step),
            Output::Unparsed { line } => {
                let turn = self.turn_number();
                step.events.extend(in_pieces(line).map(|line| (turn, EventData::AgentUnparsed { line })));
            }
        }
    }

    fn resume_failed(&mut self, said: &str, step: &mut Step) {
        let message = format!("the agent could not resume its conversation: {said}: reset the session to begin afresh");
        step.events.push((self.turn_number(), EventData::SessionResumeFailed { message: message.clone() }));
        self.fail(message, step);
        self.end(Ending::Useless, step);
    }

    pub(super) fn fatal(&mut self, message: String, step: &mut Step) {
        if let Some(turn) = &mut self.p.turn
            && turn.outcome.is_none()
            && !turn.cancelling
        {
            turn.outcome = Some(crate::domain::TurnOutcome {
                status: crate::domain::PromptState::Failed,
                stop_reason: None,
                usage: None,
                error: Some(TurnError { message: message.clone(), status: None }),
            });
        }
        self.fail(format!("{message}: restore the session to try again"), step);
        self.end(Ending::Useless, step);
    }

    fn permission_requested(
        &mut self,
        id: String,
        tool_call: serde_json::Value,
        options: Vec<PermissionOption>,
        now: Timestamp,
        step: &mut Step,
    ) {
        // The agent's ids are unique at most among those that wait, and one answer must never be taken for another.
        self.p.asked += 1;
        let process = self.p.process.as_ref().map_or("", |process| &process.id);
        let record_id = format!("{process}.{}-{id}", self.p.asked);
        let record = PermissionRecord {
            id: record_id.clone(),
            prompt: self.turn_number(),
            time: now,
            tool_call: tool_call.clone(),
            options: options.clone(),
            state: PermissionState::Pending,
            option_id: None,
        };
        step.events.push((
            self.turn_number(),
            EventData::PermissionRequested { id: record_id.clone(), tool_call, options: options.clone() },
        ));
        step.permissions.push(record.clone());
        self.pending.insert(record_id.clone(), record);
        if self.p.turn.as_ref().is_some_and(|turn| turn.cancelling) {
            // The cancel was sent before the agent asked: it must not go on.
            if let Some(option) = choose(&options, PermissionPolicy::Deny) {
                self.answer(&record_id, &option, "policy", step);
            }
        } else if let Some(option) = choose(&options, self.policy) {
            self.answer(&record_id, &option, "policy", step);
        } else if self.pending.len() > PENDING_MAX {
            // Nobody answers so many: what can't be refused by its options is not waited for.
            match choose(&options, PermissionPolicy::Deny) {
                Some(option) => self.answer(&record_id, &option, "policy", step),
                None => self.resolve_permission(&record_id, None, "withdrawn", step),
            }
        }
    }

    /// Answers a pending request.
    pub(super) fn answer(&mut self, id: &str, option_id: &str, by: &'static str, step: &mut Step) {
        if !self.pending.contains_key(id) {
            return;
        }
        self.resolve_permission(id, Some(option_id.to_owned()), by, step);
        step.calls.push_back(Call::Answer { id: own_id(id).to_owned(), option_id: option_id.to_owned() });
    }

    /// Brings a pending request to its end: answered with an option, or withdrawn.
    pub(super) fn resolve_permission(
        &mut self,
        id: &str,
        option_id: Option<String>,
        by: &'static str,
        step: &mut Step,
    ) {
        let Some(mut record) = self.pending.remove(id) else { return };
        record.state = if option_id.is_some() { PermissionState::Answered } else { PermissionState::Withdrawn };
        record.option_id.clone_from(&option_id);
        step.events.push((record.prompt, EventData::PermissionResolved { id: record.id.clone(), option_id, by }));
        step.permissions.push(record);
    }
}

/// The agent's own id in that of a record, which is what stands before the first `-`, and that.
fn own_id(record: &str) -> &str {
    record.split_once('-').map_or(record, |(_, own)| own)
}

/// The cost of the conversation so far, where an update tells it.
fn reported_cost(update: &str) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Usage {
        #[serde(rename = "sessionUpdate")]
        kind: String,
        cost: Option<Cost>,
    }
    #[derive(serde::Deserialize)]
    struct Cost {
        amount: f64,
    }
    // Few updates are this one: the others are not read a second time.
    if !update.contains("\"usage_update\"") {
        return None;
    }
    let usage: Usage = serde_json::from_str(update).ok()?;
    Some(usage.cost.filter(|_| usage.kind == "usage_update")?.amount)
}

/// The option that a policy chooses; `None` where a client is to be asked.
fn choose(options: &[PermissionOption], policy: PermissionPolicy) -> Option<String> {
    let kinds = match policy {
        PermissionPolicy::Ask => return None,
        PermissionPolicy::Allow => [PermissionOptionKind::AllowOnce, PermissionOptionKind::AllowAlways],
        PermissionPolicy::Deny => [PermissionOptionKind::RejectOnce, PermissionOptionKind::RejectAlways],
    };
    kinds.iter().find_map(|kind| options.iter().find(|o| o.kind == *kind)).map(|o| o.option_id.clone())
}
