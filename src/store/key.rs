//! Keys on disk: big-endian, and an id's UUID first, so that order is by the time of making.

use uuid::Uuid;

use super::StoreError;
use crate::domain::{SessionId, Timestamp, WorkspaceId};

/// The longest part of a key that a client chooses, in bytes.
pub(super) const PART_LIMIT: usize = 1024;

/// A session's key: UUID, length of the agent's name, agent's name. No such key is a prefix of another.
/// `None` for an id that is not in canonical form: no such session can exist.
pub(super) fn session(id: &SessionId) -> Option<Vec<u8>> {
    let (agent, uuid) = id.as_str().rsplit_once('_')?;
    let parsed = Uuid::try_parse(uuid).ok()?;
    let canonical = parsed.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == uuid;
    let mut key = Vec::with_capacity(17 + agent.len());
    key.extend_from_slice(parsed.as_bytes());
    key.push(u8::try_from(agent.len()).ok()?);
    key.extend_from_slice(agent.as_bytes());
    canonical.then_some(key)
}

/// The session whose key `key` begins with, and how long that part is.
pub(super) fn session_of(key: &[u8]) -> Option<(SessionId, usize)> {
    let (uuid, rest) = key.split_first_chunk::<16>()?;
    let (len, rest) = rest.split_first()?;
    let agent = std::str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
    let id = format!("{agent}_{}", Uuid::from_bytes(*uuid).hyphenated()).parse().ok()?;
    Some((id, 17 + usize::from(*len)))
}

/// The session's key, or why it has none.
pub(super) fn session_or_refuse(id: &SessionId) -> Result<Vec<u8>, StoreError> {
    session(id).ok_or_else(|| StoreError::Invalid {
        what: format!("session id `{id}`"),
        why: "its UUID is not in lower case".to_owned(),
    })
}

/// A workspace's key: its UUID; `None` as for a session.
pub(super) fn workspace(id: &WorkspaceId) -> Option<Vec<u8>> {
    let uuid = id.as_str().strip_prefix("ws_")?;
    let parsed = Uuid::try_parse(uuid).ok()?;
    let canonical = parsed.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == uuid;
    canonical.then(|| parsed.as_bytes().to_vec())
}

/// The workspace's key, or why it has none.
pub(super) fn workspace_or_refuse(id: &WorkspaceId) -> Result<Vec<u8>, StoreError> {
    workspace(id).ok_or_else(|| StoreError::Invalid {
        what: format!("workspace id `{id}`"),
        why: "its UUID is not in lower case".to_owned(),
    })
}

/// `prefix` and a number, ordered by the number.
pub(super) fn numbered(prefix: &[u8], n: u64) -> Vec<u8> {
    [prefix, &n.to_be_bytes()].concat()
}

/// The number at the end of such a key.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|n| u64::from_be_bytes(*n))
}

/// The beginning of all keys of one value in an index that several may share; none is a prefix of another's.
pub(super) fn shared(value: &str) -> Vec<u8> {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), value.as_bytes()].concat()
}

/// A time, ordered as the times are.
pub(super) fn time(time: Timestamp) -> [u8; 8] {
    (time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The first key after all that begin with `prefix`; `None` when there can be none.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_comes_back_from_its_key() {
        let id = SessionId::new("my-agent");
        let key = session(&id).unwrap();
        assert_eq!(session_of(&numbered(&key, 7)), Some((id, key.len())));
        assert_eq!(number_of(&numbered(&key, 7)), Some(7));
        for cut in 0..key.len() {
            assert_eq!(session_of(&key[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn an_id_in_another_spelling_is_no_id() {
        let id = SessionId::new("demo").as_str().to_uppercase().replace("DEMO", "demo");
        assert_eq!(session(&id.parse().unwrap()), None);
        let id = WorkspaceId::new().as_str().to_uppercase().replace("WS", "ws");
        assert_eq!(workspace(&id.parse().unwrap()), None);
    }

    #[test]
    fn keys_of_later_sessions_are_greater_whatever_their_agents() {
        let (first, second) = (SessionId::new("zz"), SessionId::new("aa"));
        assert!(session(&first) < session(&second));
    }

    #[test]
    fn times_are_ordered_as_they_are() {
        let keys: Vec<[u8; 8]> = [-5, 0, 7, i64::from(u32::MAX)].map(|ms| time(Timestamp::from_millis(ms))).into();
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_prefix_has_an_end() {
        assert_eq!(after_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255]), None);
    }
}
