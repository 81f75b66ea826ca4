//! Persist, then announce, then act.

use std::collections::BTreeMap;

use super::Actor;
use crate::crash::point;
use crate::domain::{
    Event, EventData, PermissionState, PromptNumber, PromptRecord, PromptState, Run, SessionRecord, Timestamp,
};
use crate::session::state::{PromptChange, Step};
use crate::session::{SessionError, sealed};
use crate::store::{Batch, StoreError};

/// After how many bytes a run ends. It is one record of the log: a compaction holds some fifty of them in memory, a reader
/// one.
const RUN_BYTES: usize = 64 << 10;

impl Actor {
    /// Makes a step durable, shows its events, does its effects, and answers who waited for it.
    ///
    /// Invariant: events, prompts, permissions, the read offsets, the adapter's state and the outbox of one step are one
    /// batch. A daemon that dies before it is durable has shown and done nothing of it; one that dies after goes on from
    /// exactly there.
    pub(super) async fn finish(
        &mut self,
        mut step: Step,
        extra: impl FnOnce(&mut Batch, &Self),
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let runs = self.render(std::mem::take(&mut step.events));
        self.write_prompts(std::mem::take(&mut step.prompts), &mut batch)?;
        let now = Timestamp::now();
        let worth_it = !runs.is_empty() || step.dirty || !step.permissions.is_empty() || !batch.is_empty();
        if worth_it {
            for permission in &step.permissions {
                batch.put_permission(self.id.clone(), permission);
            }
            for run in &runs {
                batch.append(self.id.clone(), run);
            }
            self.state.p.adapter = match &self.state.p.process {
                Some(_) => self.adapter.as_ref().map(|adapter| adapter.state()),
                None => None,
            };
            self.state.p.updated = now;
            let stored = sealed::seal(&self.state.p, &self.shared.sealer, |json| self.redactor.finds(json))
                .map_err(|e| StoreError::Invalid { what: "progress".to_owned(), why: e.to_string() })?;
            batch.put_progress(self.id.clone(), stored.as_ref());
            if let Some(record) = self.changed_record() {
                batch.put_session(record.clone());
                self.record = record;
            }
        }
        extra(&mut batch, self);
        if !batch.is_empty() {
            // The state has moved: what the disk is too slow for waits, and with it whoever writes to this session.
            point("step-begun");
            self.shared.store.commit_when_possible(batch).await?;
            point("step-durable");
        }
        for run in runs {
            self.log.publish(run);
            point("step-shown");
        }
        if self.state.p.closed.is_some() {
            self.log.end();
        }
        if let (Some(client), Some(process), true) = (&self.client, &self.state.p.process, worth_it)
            && self.feed.as_ref().is_some_and(|feed| feed.process == process.id)
        {
            client.ack(&self.tether_id(&process.id), process.stdout, process.stderr);
            point("output-acknowledged");
        }
        self.perform(std::mem::take(&mut step.effects)).await;
        point("effects-done");
        self.wake_waiters();
        Ok(())
    }

    /// Gives the events their numbers and their bytes: one run, or more where one would be too long.
    fn render(&mut self, events: Vec<(Option<PromptNumber>, EventData)>) -> Vec<Run> {
        let time = Timestamp::now();
        let (mut runs, mut bytes) = (Vec::new(), Vec::new());
        let mut first_seq = self.state.p.last_seq + 1;
        let left = events.len();
        for (n, (turn, data)) in events.into_iter().enumerate() {
            self.state.p.last_seq += 1;
            let (seq, turn) = (self.state.p.last_seq, turn.map(PromptRecord::turn_name));
            Run::render(&Event { seq, session: &self.id, turn, time, data: &data }, &mut bytes);
            if bytes.len() >= RUN_BYTES || n + 1 == left {
                let bytes = std::mem::take(&mut bytes).into();
                runs.push(Run { first_seq, count: seq + 1 - first_seq, bytes });
                first_seq = seq + 1;
            }
        }
        runs
    }

    fn write_prompts(&self, changes: Vec<(PromptNumber, PromptChange)>, batch: &mut Batch) -> Result<(), StoreError> {
        let mut records: BTreeMap<PromptNumber, PromptRecord> = BTreeMap::new();
        for (n, change) in changes {
            match change {
                PromptChange::New(record) => {
                    records.insert(n, *record);
                    continue;
                }
                PromptChange::Dropped => {
                    self.drop_prompt(n, records.remove(&n), batch)?;
                    continue;
                }
                PromptChange::Delivered | PromptChange::Pending | PromptChange::Ended(_) => {}
            }
            if let std::collections::btree_map::Entry::Vacant(vacant) = records.entry(n)
                && let Some(record) = self.shared.store.prompt(&self.id, n)?
            {
                vacant.insert(record);
            }
            if let Some(record) = records.get_mut(&n) {
                change_record(record, change);
            }
        }
        for record in records.values() {
            batch.put_prompt(self.id.clone(), record);
        }
        Ok(())
    }

    /// The content of a pending prompt: of this step where it was just accepted, else of the store.
    pub(super) fn prompt_content(&self, n: PromptNumber, step: &Step) -> Result<Vec<serde_json::Value>, SessionError> {
        let fresh = step.prompts.iter().find_map(|(m, change)| match change {
            PromptChange::New(record) if *m == n => Some(record.content.clone()),
            _ => None,
        });
        match fresh {
            Some(content) => Ok(content),
            None => match self.shared.store.prompt(&self.id, n)? {
                Some(record) => Ok(record.content),
                None => Err(SessionError::PromptNotFound { id: self.id.clone(), n }),
            },
        }
    }

    /// Deletes a prompt, and with it the `Idempotency-Key` that stood for it.
    fn drop_prompt(&self, n: PromptNumber, known: Option<PromptRecord>, batch: &mut Batch) -> Result<(), StoreError> {
        let record = known.map_or_else(|| self.shared.store.prompt(&self.id, n), |record| Ok(Some(record)))?;
        let time = record.as_ref().map(|record| record.time);
        if let Some(key) = record.and_then(|record| record.idempotency_key) {
            batch.delete_idempotency(self.id.clone(), key);
        }
        // What was asked in a turn goes with it; so does what was asked before it and outside of any.
        for permission in self.shared.store.permissions(&self.id)? {
            let before = permission.prompt.map_or(Some(permission.time) < time, |of| of <= n);
            if before && permission.state != PermissionState::Pending {
                batch.delete_permission(self.id.clone(), permission.id);
            }
        }
        batch.delete_prompt(self.id.clone(), n);
        Ok(())
    }

    /// The registry's record, where the log has moved something that it indexes.
    fn changed_record(&self) -> Option<SessionRecord> {
        let p = &self.state.p;
        let same = self.record.agent_session_id == p.agent_session_id && self.record.closed == p.closed;
        (!same).then(|| SessionRecord {
            agent_session_id: p.agent_session_id.clone(),
            closed: p.closed,
            ..self.record.clone()
        })
    }
}

fn change_record(record: &mut PromptRecord, change: PromptChange) {
    match change {
        PromptChange::New(_) | PromptChange::Dropped => {}
        PromptChange::Delivered => {
            record.state = PromptState::Delivered;
            record.attempts += 1;
            record.started = Some(Timestamp::now());
        }
        PromptChange::Pending => record.state = PromptState::Pending,
        PromptChange::Ended(outcome) => {
            record.state = outcome.status;
            record.ended = Some(Timestamp::now());
            record.stop_reason = outcome.stop_reason;
            record.usage = outcome.usage;
            record.error = outcome.error;
        }
    }
}
