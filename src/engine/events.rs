//! What happens to our containers, as a stream that survives the engine: it resumes where it broke off, and says when
//! it may have missed something.

use std::{
    collections::HashMap,
    pin::Pin,
    time::{Duration, Instant},
};

use bollard::{errors::Error as Bollard, models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures_util::{Stream, StreamExt};

use super::{Engine, EngineError, LABEL_INSTANCE, LABEL_WORKSPACE, SHORT, label_filter};
use crate::domain::InstanceId;

/// How long between two attempts to reach the engine, at most.
const SLOWEST_RETRY: Duration = Duration::from_secs(2);
/// How long after the first failure.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// How long after its opening a stream may repeat what was seen.
const REPLAY: Duration = Duration::from_secs(5);

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was made.
    Created,
    /// Its PID 1 was started.
    Started,
    /// Its PID 1 ended, with this code where the engine tells.
    Died {
        /// 128 + signal where it was killed; 255 where its supervisor was.
        exit_code: Option<i64>,
    },
    /// A process in it was killed for lack of memory.
    Oom,
    /// It was frozen.
    Paused,
    /// It was thawed.
    Unpaused,
    /// It was removed.
    Destroyed,
}

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineEvent {
    /// The stream begins, or began anew: look at everything; what happens from here on follows.
    Resync,
    /// The engine could not be reached; it is tried again.
    Unreachable(EngineError),
    /// Something happened to a container. After a [`Resync`](Self::Resync) it may be older than what was seen.
    Container {
        /// The engine's id of the container.
        id: String,
        /// Its name.
        name: String,
        /// Its workspace label.
        workspace: String,
        /// What.
        kind: EventKind,
    },
}

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, Bollard>> + Send>>;

/// The events of one daemon's containers. It has no end.
pub struct Events {
    engine: Engine,
    instance: InstanceId,
    messages: Option<Messages>,
    /// The time of the last event, nanoseconds by the engine's clock.
    last: Option<i64>,
    /// Until when what is not newer than the last event is taken for a repetition. Later it is new all the same: the
    /// engine's clock was set back, and would otherwise be waited for.
    replayed_by: Option<Instant>,
    failures: u32,
}

impl Engine {
    /// Events of containers that carry this instance's label, from now on.
    #[must_use]
    pub fn events(&self, instance: &InstanceId) -> Events {
        Events {
            engine: self.clone(),
            instance: instance.clone(),
            messages: None,
            last: None,
            replayed_by: None,
            failures: 0,
        }
    }

    /// The engine's clock, nanoseconds since the Unix epoch.
    async fn clock(&self) -> Result<i64, EngineError> {
        let info = self.call("info", SHORT, self.docker.info()).await?;
        let time = info.system_time.unwrap_or_default().parse::<jiff::Timestamp>();
        time.ok().and_then(|time| i64::try_from(time.as_nanosecond()).ok()).ok_or_else(|| EngineError::Other {
            what: "info".into(),
            message: "the engine does not tell its time".into(),
        })
    }
}

impl Events {
    /// The next entry. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> EngineEvent {
        loop {
            match &mut self.messages {
                None => match self.open().await {
                    Ok(()) => {
                        self.failures = 0;
                        return EngineEvent::Resync;
                    }
                    Err(error) => {
                        self.failures = self.failures.saturating_add(1);
                        return EngineEvent::Unreachable(error);
                    }
                },
                Some(messages) => match messages.next().await {
                    Some(Ok(message)) => {
                        if let Some(event) = self.understand(message) {
                            return event;
                        }
                    }
                    Some(Err(_)) | None => {
                        self.messages = None;
                        self.failures = 1;
                    }
                },
            }
        }
    }

    /// Opens the stream from a moment before anything that the caller will look at: what happens between the two is
    /// replayed by the engine.
    async fn open(&mut self) -> Result<(), EngineError> {
        if self.failures > 0 {
            let wait = FIRST_RETRY * 2_u32.saturating_pow((self.failures - 1).min(10));
            tokio::time::sleep(wait.min(SLOWEST_RETRY)).await;
        }
        // Asked also when there is a last event: it says whether the engine is there.
        let now = self.engine.clock().await?;
        let since = self.last.map_or(now, |last| last.min(now));
        (self.last, self.replayed_by) = (Some(since), Some(Instant::now() + REPLAY));
        let mut filter: HashMap<String, Vec<String>> = label_filter(&[(LABEL_INSTANCE, self.instance.as_str())]);
        filter.insert("type".into(), vec!["container".into()]);
        let kinds = ["create", "start", "die", "oom", "pause", "unpause", "destroy"];
        filter.insert("event".into(), kinds.map(str::to_owned).to_vec());
        let since = format!("{}.{:09}", since / 1_000_000_000, since % 1_000_000_000);
        let options = EventsOptionsBuilder::new().since(&since).filters(&filter).build();
        self.messages = Some(Box::pin(self.engine.docker.events(Some(options))));
        Ok(())
    }

    fn understand(&mut self, message: EventMessage) -> Option<EngineEvent> {
        let time = message.time_nano.unwrap_or(0);
        let repeated = self.last.is_some_and(|last| time <= last);
        if repeated && self.replayed_by.is_some_and(|by| Instant::now() < by) {
            return None;
        }
        self.last = Some(time);
        let actor = message.actor?;
        let mut attributes = actor.attributes.unwrap_or_default();
        let kind = match message.action?.as_str() {
            "create" => EventKind::Created,
            "start" => EventKind::Started,
            "die" => EventKind::Died { exit_code: attributes.get("exitCode").and_then(|code| code.parse().ok()) },
            "oom" => EventKind::Oom,
            "pause" => EventKind::Paused,
            "unpause" => EventKind::Unpaused,
            "destroy" => EventKind::Destroyed,
            _ => return None,
        };
        Some(EngineEvent::Container {
            id: actor.id?,
            name: attributes.remove("name").unwrap_or_default(),
            workspace: attributes.remove(LABEL_WORKSPACE)?,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_deaf() {
        let message = |time_nano| EventMessage {
            action: Some("die".to_owned()),
            actor: Some(EventActor {
                id: Some("c".to_owned()),
                attributes: Some([(LABEL_WORKSPACE.to_owned(), "ws".to_owned())].into()),
            }),
            time_nano: Some(time_nano),
            ..EventMessage::default()
        };
        let mut events = Engine::new("tcp://127.0.0.1:1").unwrap().events(&InstanceId::new());
        (events.last, events.replayed_by) = (Some(1000), Some(Instant::now() + REPLAY));
        assert!(events.understand(message(1000)).is_none(), "a repetition right after the opening");
        assert!(events.understand(message(1001)).is_some());
        events.replayed_by = Some(Instant::now());
        assert!(events.understand(message(7)).is_some(), "the engine's clock went back");
        assert_eq!(events.last, Some(7));
    }
}
