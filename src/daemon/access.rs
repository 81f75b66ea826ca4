//! The token: made at first start, kept in a file of mode 0600 for the command line, and as a hash in the registry.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::api::Auth;
use crate::domain::Timestamp;
use crate::store::{Batch, Store, TokenRecord};

/// The name of the token that the first start makes.
const FIRST_TOKEN: &str = "default";
/// What it may do.
const FIRST_SCOPES: [&str; 3] = ["read", "prompt", "admin"];

/// Sees to it that the token file and the registry agree, and gives the check.
///
/// # Errors
/// The file or the registry can't be read or written.
pub(super) async fn prepare(store: &Store, state_dir: &Path) -> anyhow::Result<Auth> {
    let file = state_dir.join("token");
    let token = match std::fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) => make(&file)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make(&file)?,
        Err(e) => return Err(e).with_context(|| format!("the token {} can't be read", file.display())),
    };
    let hash = Auth::hash(&token);
    let known = store.tokens()?.iter().any(|record| record.name == FIRST_TOKEN && record.hash == hash);
    if !known {
        let mut batch = Batch::new();
        batch.put_token(TokenRecord {
            name: FIRST_TOKEN.to_owned(),
            hash,
            scopes: FIRST_SCOPES.map(str::to_owned).to_vec(),
            created: Timestamp::now(),
        });
        store.commit(batch).await?;
    }
    let store = store.clone();
    Ok(Auth::new(move || match store.tokens() {
        Ok(tokens) => tokens.iter().map(|record| record.hash).collect(),
        Err(e) => {
            tracing::error!(error = %e, "the tokens can't be read, so none is accepted");
            Vec::new()
        }
    }))
}

/// A new token in its file: 256 bits from the system's generator.
fn make(file: &Path) -> anyhow::Result<String> {
    let token = format!("wharf_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let beside = file.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut f| f.write_all(format!("{token}\n").as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&beside, file));
    written.with_context(|| format!("the token {} can't be written", file.display()))?;
    Ok(token)
}
