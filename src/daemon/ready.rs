//! What `/readyz` says of each part.

use std::{sync::Arc, time::Duration};

use crate::api::{Ask, Component};
use crate::engine::Engine;
use crate::store::{Store, StoreError};

/// How long the engine may take: one behind a cut link says nothing at all.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// Answers `/readyz`: the store takes writes and its disk has room for something new, and the engine answers.
pub(super) fn ask(store: Store, engine: Engine) -> Ask<Vec<Component>> {
    Arc::new(move || {
        let (store, engine) = (store.clone(), engine.clone());
        Box::pin(async move {
            let health = store.health().and_then(|()| store.room_to_begin());
            let store = component(
                "store",
                health.map(|()| Some("it takes writes".to_owned())).map_err(|e| {
                    let fix = match e {
                        StoreError::Full { .. } => "make room on the disk; the daemon goes on by itself",
                        _ => "restart the daemon when the disk is in order; what was acknowledged is safe",
                    };
                    (e.to_string(), Some(fix.to_owned()))
                }),
            );
            let version = match tokio::time::timeout(ENGINE_PATIENCE, engine.version()).await {
                Ok(Ok(version)) => Ok(Some(format!("{} (API {})", version.version, version.api))),
                Ok(Err(error)) => Err((error.to_string(), None)),
                Err(_) => {
                    let (at, seconds) = (engine.endpoint(), ENGINE_PATIENCE.as_secs());
                    let fix = "look whether the engine runs, and whether its address can be reached from here";
                    Err((format!("{at} did not answer within {seconds} s"), Some(fix.to_owned())))
                }
            };
            vec![store, component("engine", version)]
        })
    })
}

fn component(name: &str, state: Result<Option<String>, (String, Option<String>)>) -> Component {
    let (ok, message, fix) = match state {
        Ok(message) => (true, message, None),
        Err((message, fix)) => (false, Some(message), fix),
    };
    Component { name: name.to_owned(), ok, message, fix }
}
