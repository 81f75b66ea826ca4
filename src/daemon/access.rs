//! Access to the API, put together: tokens, allow-lists, rate, TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api::{Access, Limits, Rate, Tls, TlsError, Tokens};
use crate::config::Config;
use crate::store::Store;

/// The tokens: the first one lies in the state directory for the command line.
///
/// # Errors
/// The file or the registry can't be read or written.
pub(super) async fn tokens(store: &Store, state_dir: &Path, stop: &CancellationToken) -> anyhow::Result<Tokens> {
    Ok(Tokens::open(store.clone(), state_dir.join("token"), stop.clone()).await?)
}

/// Whether the first token's file, where there is one, can be used. Changes nothing.
///
/// # Errors
/// It can't be read, or holds no secret.
pub(super) fn check(state_dir: &Path) -> anyhow::Result<()> {
    Ok(Tokens::in_file(&state_dir.join("token")).map(drop)?)
}

/// The rules of access.
pub(super) fn rules(config: &Config, tokens: Tokens) -> Access {
    Access {
        tokens,
        rate: Rate::new(config.rate.requests, config.rate.burst).map(Arc::new),
        rate_on_socket: config.rate.socket,
        allowed_hosts: config.allowed_hosts.clone(),
        allowed_origins: config.allowed_origins.clone(),
    }
}

/// What bounds connections.
///
/// # Errors
/// Certificate or key can't be used.
pub(super) fn limits(config: &Config) -> Result<Limits, TlsError> {
    let tls = config.tls.as_ref().map(|files| Tls::open(files.cert.clone(), files.key.clone())).transpose()?;
    Ok(Limits { connections: config.rate.connections, tls: tls.map(Arc::new) })
}
