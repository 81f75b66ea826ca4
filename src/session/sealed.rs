//! Progress on its way to the disk and back: what a handshake carries is sealed (guarantee 12).

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::SessionError;
use crate::domain::Progress;
use crate::seal::Sealer;

/// The progress as it may be stored. Until the handshake is complete, the outbox and the adapter may hold the headers
/// and environments of the session's MCP servers; afterwards they hold none, and nothing has to be sealed but what the
/// agent itself quotes: `finds` tells whether a text holds a secret.
pub(super) fn seal<'a>(
    progress: &'a Progress,
    sealer: &Sealer,
    finds: impl Fn(&str) -> bool,
) -> Result<Cow<'a, Progress>, SessionError> {
    let quoted = || {
        let sent = progress.process.iter().flat_map(|process| &process.outbox).any(|entry| finds(&entry.text));
        sent || progress.adapter.as_ref().is_some_and(|adapter| finds(&adapter.to_string()))
    };
    if progress.process.as_ref().is_none_or(|process| process.ready) && !quoted() {
        return Ok(Cow::Borrowed(progress));
    }
    let mut stored = progress.clone();
    let Some(process) = stored.process.as_mut() else { return Ok(Cow::Owned(stored)) };
    for entry in &mut process.outbox {
        entry.text = text(sealer, entry.text.as_bytes())?;
        entry.sealed = true;
    }
    if let Some(adapter) = &stored.adapter {
        stored.adapter = Some(json!({ "sealed": text(sealer, adapter.to_string().as_bytes())? }));
    }
    Ok(Cow::Owned(stored))
}

/// The progress as it was before it was stored.
pub(super) fn open(mut stored: Progress, sealer: &Sealer) -> Result<Progress, SessionError> {
    for entry in stored.process.iter_mut().flat_map(|process| &mut process.outbox).filter(|entry| entry.sealed) {
        entry.text = String::from_utf8(clear(sealer, &entry.text)?).map_err(|e| unreadable(&e))?;
        entry.sealed = false;
    }
    if let Some(sealed) = stored.adapter.as_ref().and_then(|a| a.get("sealed")).and_then(Value::as_str) {
        stored.adapter = Some(serde_json::from_slice(&clear(sealer, sealed)?).map_err(|e| unreadable(&e))?);
    }
    Ok(stored)
}

/// A sealed value as text.
fn text(sealer: &Sealer, clear: &[u8]) -> Result<String, SessionError> {
    let sealed = sealer.seal(clear).map_err(|e| unreadable(&e))?;
    Ok(BASE64_STANDARD.encode(sealed))
}

fn clear(sealer: &Sealer, text: &str) -> Result<Vec<u8>, SessionError> {
    let sealed = BASE64_STANDARD.decode(text).map_err(|e| unreadable(&e))?;
    sealer.open(&sealed).map_err(|e| unreadable(&e))
}

fn unreadable(why: &dyn std::fmt::Display) -> SessionError {
    SessionError::Invalid {
        field: "progress",
        message: format!("what was sealed for this session can't be read: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OutboxEntry, ProcessProgress, Timestamp};

    #[test]
    fn a_handshake_is_sealed_and_a_prompt_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open_or_create(dir.path()).unwrap();
        let mut progress = Progress::new(Timestamp::from_millis(0));
        progress.adapter = Some(json!({ "mcp": "hunter2" }));
        progress.process = Some(ProcessProgress {
            id: "r1".into(),
            stdout: 0,
            stderr: 0,
            last_input: 1,
            outbox: vec![OutboxEntry { n: 1, mark: false, text: "hunter2 ü".into(), sealed: false }],
            ready: false,
            told: true,
        });
        let stored = seal(&progress, &sealer, |_| false).unwrap().into_owned();
        assert!(!serde_json::to_string(&stored).unwrap().contains("hunter2"));
        assert_eq!(open(stored, &sealer).unwrap(), progress);
        progress.process.as_mut().unwrap().ready = true;
        let shown = seal(&progress, &sealer, |_| false).unwrap();
        assert!(matches!(shown, Cow::Borrowed(_)), "nothing to hide, nothing to pay");
        let quoted = seal(&progress, &sealer, |text| text.contains("hunter2")).unwrap().into_owned();
        assert!(!serde_json::to_string(&quoted).unwrap().contains("hunter2"));
        assert_eq!(open(quoted, &sealer).unwrap(), progress);
    }
}
