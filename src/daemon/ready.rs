//! What `/readyz` says of each part.

use std::sync::Arc;

use crate::api::{Ask, Component};
use crate::engine::Engine;
use crate::store::Store;

/// Answers `/readyz`: the store takes writes, and the engine answers.
pub(super) fn ask(store: Store, engine: Engine) -> Ask<Vec<Component>> {
    Arc::new(move || {
        let (store, engine) = (store.clone(), engine.clone());
        Box::pin(async move {
            let health = store.health();
            let fix = "restart the daemon when the disk is in order; what was acknowledged is safe";
            let store = component(
                "store",
                health.map(|()| Some("it takes writes".to_owned())).map_err(|e| (e.to_string(), Some(fix.to_owned()))),
            );
            let version = engine.version().await;
            let version =
                version.map(|v| Some(format!("{} (API {})", v.version, v.api))).map_err(|e| (e.to_string(), None));
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
