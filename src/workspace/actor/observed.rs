//! What the engine tells of a container, and what is made of it.

use super::*;

impl Actor {
    pub(super) fn happened(&mut self, container: String, kind: EventKind) {
        if self.container.as_ref().is_some_and(|ours| *ours != container) {
            return;
        }
        // Before it is started, what is heard is of the run before; a stop or a delete looks for itself.
        match &self.work {
            Work::BringUp(..) if !self.run.started.load(Ordering::Relaxed) => return,
            Work::Stop(..) | Work::Recreate(..) | Work::Delete(..) => return,
            Work::BringUp(..) | Work::Idle => {}
        }
        match kind {
            EventKind::Created => {}
            EventKind::Died { exit_code } => self.look_at_it(exit_code),
            EventKind::Destroyed => {
                self.container = None;
                self.ended(WorkspaceStatus::Absent, reasons::REMOVED.to_owned());
            }
            EventKind::Started | EventKind::Unpaused => {
                self.container = Some(container);
                self.set(WorkspaceStatus::Running, None);
            }
            EventKind::Paused => {
                self.note(reasons::PAUSED.to_owned());
                self.set(WorkspaceStatus::Paused, Some(reasons::PAUSED.to_owned()));
            }
            EventKind::Oom => {
                self.note(reasons::child_oom(self.memory));
                // The second one is another one, though it looks the same.
                let reason = Some(reasons::child_oom(self.memory));
                self.slot.state.send_replace(WorkspaceState { status: WorkspaceStatus::Running, reason });
            }
        }
    }

    pub(super) fn seen(&mut self, container: Option<Container>) {
        if !matches!(self.work, Work::Idle) {
            return;
        }
        let Some(container) = container else {
            self.container = None;
            if self.slot.client().is_some() {
                self.ended(WorkspaceStatus::Absent, reasons::REMOVED.to_owned());
            } else {
                self.set(WorkspaceStatus::Absent, None);
            }
            return;
        };
        let version = container.labels.get(LABEL_TETHER).map(String::as_str);
        self.outdated = version != Some(self.shared.tether.version());
        self.container = Some(container.id);
        match container.state {
            ContainerState::Running => self.set(WorkspaceStatus::Running, None),
            ContainerState::Paused => self.set(WorkspaceStatus::Paused, Some(reasons::PAUSED.to_owned())),
            _ if self.slot.client().is_some() => self.look_at_it(None),
            _ => self.set(WorkspaceStatus::Stopped, None),
        }
    }

    /// It is said to have died: perhaps long ago, and it runs again. So it is looked at.
    pub(super) fn look_at_it(&mut self, exit_code: Option<i64>) {
        let engine = self.shared.engine.clone();
        let name = names::container(&self.id);
        let answer = Box::pin(async move { engine.inspect_container(&name).await });
        self.look = Some(Look { answer, exit_code });
    }

    pub(super) fn looked(&mut self, found: Result<Container, EngineError>) {
        let exit_code = self.look.take().and_then(|look| look.exit_code);
        match found {
            Ok(container) if matches!(container.state, ContainerState::Running | ContainerState::Paused) => {}
            Ok(container) => {
                let code = container.exit_code.or(exit_code);
                self.ended(WorkspaceStatus::Stopped, reasons::death(code, container.oom_killed, self.memory));
            }
            Err(EngineError::NotFound { .. }) => {
                self.container = None;
                self.ended(WorkspaceStatus::Absent, reasons::REMOVED.to_owned());
            }
            Err(_) => self.ended(WorkspaceStatus::Stopped, reasons::death(exit_code, false, self.memory)),
        }
    }
}
