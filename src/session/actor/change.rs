//! What changes of a session's record, and how a running agent is told of it.

use serde_json::Value;

use super::Actor;
use crate::agent::adapter::{Adapter, Output, Unsupported};
use crate::domain::{PermissionPolicy, SessionRecord};
use crate::session::shared::with_room;
use crate::session::state::{Input, Step};
use crate::session::{SessionChanges, SessionError};
use crate::store::{Batch, StoreError};

impl Actor {
    /// The session was asked for by its key: the newest channel and the first project are kept.
    pub(super) async fn known(
        &mut self,
        model: Option<String>,
        project: Option<String>,
        channel: Option<String>,
    ) -> Result<(), SessionError> {
        if self.state.p.closed.is_some() {
            return Ok(());
        }
        let other = |new: Option<String>, now: &Option<String>| new.filter(|new| now.as_ref() != Some(new));
        self.change(SessionChanges {
            model: other(model, &self.record.model),
            project: project.filter(|_| self.record.project.is_none()),
            channel: other(channel, &self.record.channel),
            ..SessionChanges::default()
        })
        .await?;
        // Last: what is refused changes nothing.
        self.handle([Input::Touched]).await?;
        Ok(())
    }

    pub(super) async fn change(&mut self, changes: SessionChanges) -> Result<(), SessionError> {
        if self.state.p.closed.is_some() {
            return Err(SessionError::Closed { id: self.id.clone() });
        }
        let mut fields = serde_json::Map::new();
        let mut record = self.record.clone();
        let (model, mode) = (changes.model.clone(), changes.mode.clone());
        change_fields(&mut record, &mut fields, changes);
        if fields.is_empty() {
            return Ok(());
        }
        let permissions = (record.permissions != self.record.permissions).then_some(record.permissions);
        let mut probe = Batch::new();
        probe.put_session(with_room(&record)).check().map_err(too_large)?;
        let outputs = self.choose(model.as_deref(), mode.as_deref(), permissions);
        let outputs = outputs.map_err(|Unsupported(why)| SessionError::Unsupported(why))?;
        let mut step = Step::default();
        self.apply(Input::Changed { fields, policy: record.permissions }, &mut step);
        self.apply_outputs(outputs, &mut step);
        self.record = record.clone();
        self.finish(step, |batch, _| {
            batch.put_session(record);
        })
        .await?;
        Ok(())
    }

    fn apply_outputs(&mut self, outputs: Vec<Output>, step: &mut Step) {
        for output in outputs {
            let input = match output {
                Output::Send(text) => Input::Send { text, mark: false },
                other => Input::Agent(self.redactor.output(other)),
            };
            self.apply(input, step);
        }
    }

    /// Tells an agent that is just ready of a model and a mode that were asked for after it was started.
    pub(super) fn late_choices(&mut self, step: &mut Step) {
        let wanted = |now: &Option<String>, then: &Option<String>| now.clone().filter(|_| now != then);
        let (model, mode, permissions) = match self.starting.take() {
            Some(options) => {
                let permissions = Some(self.record.permissions).filter(|now| *now != options.permissions);
                (wanted(&self.record.model, &options.model), wanted(&self.record.mode, &options.mode), permissions)
            }
            // Started by another daemon: what it was told is not known, and the policy is too important to be guessed.
            None => (None, None, Some(self.record.permissions)),
        };
        let Some(adapter) = &mut self.adapter else { return };
        let outputs = tell(adapter.as_mut(), model.as_deref(), mode.as_deref(), permissions);
        self.apply_outputs(outputs.unwrap_or_else(|Unsupported(message)| vec![Output::Fatal { message }]), step);
    }

    /// Tells a running agent of a new model, mode and policy; one that is not running is started with them, one that is
    /// being started is told when it is ready. What is told to one that is not in hand just now waits in the outbox.
    fn choose(
        &mut self,
        model: Option<&str>,
        mode: Option<&str>,
        permissions: Option<PermissionPolicy>,
    ) -> Result<Vec<Output>, Unsupported> {
        for (what, value) in [("model", model), ("mode", mode)] {
            if value.is_some() && self.state.p.process.is_some() {
                self.entry.check_switch(what)?;
            }
        }
        if let Some(mode) = mode {
            self.entry.check_mode(mode)?;
        }
        let ready = self.state.p.process.as_ref().is_some_and(|process| process.ready) && self.state.ending.is_none();
        let Some(adapter) = self.adapter.as_mut().filter(|_| ready) else { return Ok(Vec::new()) };
        let before = adapter.state();
        let told = tell(adapter.as_mut(), model, mode, permissions);
        if told.is_err()
            && let Ok(adapter) = self.entry.restore(&before)
        {
            // Nothing was sent: the adapter must not wait for an answer to it.
            self.adapter = Some(adapter);
        }
        told
    }
}

fn tell(
    adapter: &mut dyn Adapter,
    model: Option<&str>,
    mode: Option<&str>,
    permissions: Option<PermissionPolicy>,
) -> Result<Vec<Output>, Unsupported> {
    let mut outputs = model.map_or(Ok(Vec::new()), |model| adapter.set_model(model))?;
    // A mode that is asked for goes before the one that a policy stands for.
    outputs.extend(permissions.map(|policy| adapter.set_permissions(policy)).unwrap_or_default());
    outputs.extend(mode.map_or(Ok(Vec::new()), |mode| adapter.set_mode(mode))?);
    Ok(outputs)
}

/// What was refused before anything moved.
fn too_large(e: StoreError) -> SessionError {
    match e {
        StoreError::TooLarge { limit, .. } => SessionError::Invalid {
            field: "labels",
            message: format!("they are too large: encoded, a session takes at most {limit} bytes"),
        },
        e => e.into(),
    }
}

fn change_fields(record: &mut SessionRecord, fields: &mut serde_json::Map<String, Value>, changes: SessionChanges) {
    if let Some(permissions) = changes.permissions {
        fields.insert("permissions".into(), serde_json::to_value(permissions).unwrap_or_default());
        record.permissions = permissions;
    }
    if let Some(labels) = changes.labels {
        fields.insert("labels".into(), serde_json::to_value(&labels).unwrap_or_default());
        record.labels = labels;
    }
    if let Some(turns) = changes.max_turns {
        fields.insert("max_turns".into(), turns.into());
        record.caps.max_turns = Some(turns).filter(|turns| *turns > 0);
    }
    if let Some(cost) = changes.max_cost {
        fields.insert("max_cost".into(), cost.into());
        record.caps.max_cost = Some(cost).filter(|cost| *cost > 0.0);
    }
    for (name, new, field) in [
        ("model", changes.model, &mut record.model),
        ("mode", changes.mode, &mut record.mode),
        ("project", changes.project, &mut record.project),
        ("channel", changes.channel, &mut record.channel),
        ("task_id", changes.task_id, &mut record.task_id),
    ] {
        if let Some(new) = new {
            fields.insert(name.into(), new.clone().into());
            *field = Some(new);
        }
    }
}
