//! The named tokens: kept as hashes in the registry, checked in memory, and revoked at once.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::scope::Scope;
use crate::domain::Timestamp;
use crate::store::{Batch, Store, StoreError, TokenRecord};

/// The name of the token that the first start makes; it lies in the state directory and can't be revoked.
pub const FIRST_TOKEN: &str = "default";
/// Tokens at most: each is compared at every request.
const MOST_TOKENS: usize = 256;
/// The least bytes of a secret that a file may set.
const LEAST: usize = 32;

/// A token as people see it; the token itself is shown once, when it is made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its unique name.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made or last rotated.
    pub created: Timestamp,
}

/// Why a token can't be made, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such token.
    #[error("there is no token `{0}`")]
    NotFound(String),
    /// The name is another's.
    #[error("there is a token `{0}` already: revoke it, rotate it, or choose another name")]
    Taken(String),
    /// Not a name.
    #[error("a token's name has 1 to 63 of letters, digits, `.`, `_`, `-`, and begins with a letter or digit")]
    Name,
    /// There are too many.
    #[error("there are {MOST_TOKENS} tokens already: revoke some")]
    Full,
    /// The first one.
    #[error("the token `{FIRST_TOKEN}` can't be revoked, as it is the command line's own: rotate it")]
    First,
    /// Its file could not be read or written.
    #[error("the token file {}: {why}. Restore it, write a longer one (`openssl rand -hex 32`), or remove it to have another \
        made", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The registry could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A token that is valid, and what it may do.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) scope: Scope,
    hash: [u8; 32],
    created: Timestamp,
    /// Cancelled when it is revoked or rotated, and when the daemon stops.
    pub(super) ended: CancellationToken,
}

impl Grant {
    fn view(&self) -> TokenView {
        TokenView { name: self.name.clone(), scope: self.scope, created: self.created }
    }
}

/// All tokens; cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Store,
    file: PathBuf,
    stop: CancellationToken,
    grants: RwLock<Vec<Arc<Grant>>>,
    /// One change at a time: what is in memory follows what is durable.
    changing: Mutex<()>,
}

impl Tokens {
    /// Reads the registry, and sees to it that the first token's file and the registry agree: the file wins.
    ///
    /// # Errors
    /// The file or the registry can't be read or written.
    pub async fn open(store: Store, file: PathBuf, stop: CancellationToken) -> Result<Self, TokenError> {
        let secret = match Self::in_file(&file)? {
            Some(secret) => secret,
            None => write_new(&file)?,
        };
        let grants = RwLock::default();
        let tokens = Self(Arc::new(Inner { store, file, stop, grants, changing: Mutex::default() }));
        let hash = hash(&secret);
        for record in tokens.0.store.tokens()? {
            tokens.remember(&record);
        }
        if tokens.find(FIRST_TOKEN).is_none_or(|first| first.hash != hash) {
            tokens.put(FIRST_TOKEN, Scope::Admin, hash).await?;
        }
        Ok(tokens)
    }

    /// The secret in a first token's file; `None` where there is no file yet, or nothing in it.
    ///
    /// # Errors
    /// It can't be read, or holds what is too short to be a secret: an end that was cut off would let anybody in.
    pub fn in_file(file: &Path) -> Result<Option<String>, TokenError> {
        let refused = |why: String| TokenError::File { path: file.to_owned(), why };
        match std::fs::read_to_string(file) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) if text.trim().len() < LEAST => {
                let found = text.trim().len();
                Err(refused(format!(
                    "it holds {found} bytes, and a token has {LEAST} or more: it was cut off, or is too short"
                )))
            }
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(refused(e.to_string())),
        }
    }

    /// The grant of a token; takes the same time whichever it is.
    pub(super) fn check(&self, token: &str) -> Option<Arc<Grant>> {
        let asked = hash(token);
        let grants = self.0.grants.read().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut at) = (Choice::from(0), 0_u64);
        for (n, grant) in (0_u64..).zip(grants.iter()) {
            let same = asked.ct_eq(&grant.hash);
            at.conditional_assign(&n, same);
            found |= same;
        }
        if bool::from(found) { grants.get(usize::try_from(at).ok()?).cloned() } else { None }
    }

    /// Cancelled when the daemon stops.
    pub(super) fn stopping(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<TokenView> {
        let grants = self.0.grants.read().unwrap_or_else(PoisonError::into_inner);
        let mut views: Vec<TokenView> = grants.iter().map(|grant| grant.view()).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Makes one; the token itself is told here and never again.
    ///
    /// # Errors
    /// `Name`, `Taken`, `Full`, `Store`.
    pub async fn create(&self, name: &str, scope: Scope) -> Result<(TokenView, String), TokenError> {
        let _one = self.0.changing.lock().await;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || name.len() > 63 || !name.bytes().all(plain) {
            return Err(TokenError::Name);
        }
        if self.find(name).is_some() {
            return Err(TokenError::Taken(name.to_owned()));
        }
        if self.list().len() >= MOST_TOKENS {
            return Err(TokenError::Full);
        }
        self.0.store.room_to_begin()?;
        let secret = secret();
        Ok((self.put(name, scope, hash(&secret)).await?, secret))
    }

    /// Gives a token of this name another secret; the old one is refused at once. That of the first token goes into its
    /// file, too.
    ///
    /// # Errors
    /// `NotFound`, `File`, `Store`.
    pub async fn rotate(&self, name: &str) -> Result<(TokenView, String), TokenError> {
        let _one = self.0.changing.lock().await;
        let scope = self.find(name).ok_or_else(|| TokenError::NotFound(shown(name)))?.scope;
        // Before the file is another: the registry would have to follow.
        self.0.store.room_to_begin()?;
        let secret = if name == FIRST_TOKEN {
            // Before the registry: where the two differ after a crash, the file wins.
            let file = self.0.file.clone();
            let written = tokio::task::spawn_blocking(move || write_new(&file)).await;
            written.map_err(|e| TokenError::File { path: self.0.file.clone(), why: e.to_string() })??
        } else {
            secret()
        };
        Ok((self.put(name, scope, hash(&secret)).await?, secret))
    }

    /// Revokes one: it is refused at once, and what it has open is ended.
    ///
    /// # Errors
    /// `NotFound`, `First`, `Store`.
    pub async fn revoke(&self, name: &str) -> Result<TokenView, TokenError> {
        let _one = self.0.changing.lock().await;
        let grant = self.find(name).ok_or_else(|| TokenError::NotFound(shown(name)))?;
        if name == FIRST_TOKEN {
            return Err(TokenError::First);
        }
        let mut batch = Batch::new();
        batch.delete_token(name);
        self.0.store.commit(batch).await?;
        self.drop_grant(name);
        Ok(grant.view())
    }

    fn find(&self, name: &str) -> Option<Arc<Grant>> {
        let grants = self.0.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.iter().find(|grant| grant.name == name).cloned()
    }

    async fn put(&self, name: &str, scope: Scope, hash: [u8; 32]) -> Result<TokenView, TokenError> {
        let scopes = Scope::ALL.into_iter().filter(|s| *s <= scope).map(|s| s.name().to_owned()).collect();
        let record = TokenRecord { name: name.to_owned(), hash, scopes, created: Timestamp::now() };
        let mut batch = Batch::new();
        batch.put_token(record.clone());
        self.0.store.commit(batch).await?;
        self.drop_grant(name);
        Ok(self.remember(&record).view())
    }

    fn remember(&self, record: &TokenRecord) -> Arc<Grant> {
        let scopes = record.scopes.iter().filter_map(|name| name.parse().ok());
        let grant = Arc::new(Grant {
            name: record.name.clone(),
            // What names no scope that is known may do the least.
            scope: scopes.max().unwrap_or(Scope::Read),
            hash: record.hash,
            created: record.created,
            ended: self.0.stop.child_token(),
        });
        self.0.grants.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&grant));
        grant
    }

    fn drop_grant(&self, name: &str) {
        let mut grants = self.0.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.retain(|grant| {
            let other = grant.name != name;
            if !other {
                grant.ended.cancel();
            }
            other
        });
    }
}

fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

/// What a token is kept as.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: 244 random bits from the system's generator.
fn secret() -> String {
    format!("wharf_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// A new token in its file, which only the owner reads.
fn write_new(file: &Path) -> Result<String, TokenError> {
    let token = secret();
    let beside = file.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut f| f.write_all(format!("{token}\n").as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|e| TokenError::File { path: file.to_owned(), why: e.to_string() })?;
    Ok(token)
}

/// Tokens of a store of their own, and the first one's secret; for tests with a runtime and for those without.
#[cfg(test)]
pub(super) fn fixture() -> (Tokens, String) {
    let made = std::thread::spawn(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), crate::store::Options::default()).unwrap();
        let opened = Tokens::open(store, dir.path().join("token"), CancellationToken::new());
        let tokens = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(opened).unwrap();
        let secret = std::fs::read_to_string(dir.path().join("token")).unwrap();
        (tokens, secret.trim().to_owned())
    });
    made.join().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;

    async fn tokens(dir: &Path) -> Tokens {
        let store = Store::open(dir, Options::default()).unwrap();
        Tokens::open(store, dir.join("token"), CancellationToken::new()).await.unwrap()
    }

    #[tokio::test]
    async fn tokens_are_made_found_rotated_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(dir.path()).await;
        let file = || std::fs::read_to_string(dir.path().join("token")).unwrap().trim().to_owned();
        assert_eq!(tokens.check(&file()).unwrap().scope, Scope::Admin);
        let (view, ci) = tokens.create("ci", Scope::Read).await.unwrap();
        assert_eq!((view.name.as_str(), view.scope), ("ci", Scope::Read));
        let grant = tokens.check(&ci).unwrap();
        for wrong in ["", "wharf_", &ci[..ci.len() - 1], &ci.to_uppercase(), &format!("{ci} ")] {
            assert!(tokens.check(wrong).is_none(), "{wrong:?}");
        }
        assert!(matches!(tokens.create("ci", Scope::Read).await, Err(TokenError::Taken(_))));
        for bad in ["", "a b", "-x", "ü", &"x".repeat(64)] {
            assert!(matches!(tokens.create(bad, Scope::Read).await, Err(TokenError::Name)), "{bad}");
        }
        let (_, rotated) = tokens.rotate("ci").await.unwrap();
        assert!(grant.ended.is_cancelled() && tokens.check(&ci).is_none());
        let grant = tokens.check(&rotated).unwrap();
        assert!(!grant.ended.is_cancelled());
        tokens.revoke("ci").await.unwrap();
        assert!(grant.ended.is_cancelled() && tokens.check(&rotated).is_none());
        assert!(matches!(tokens.revoke("ci").await, Err(TokenError::NotFound(_))));
        assert!(matches!(tokens.revoke(FIRST_TOKEN).await, Err(TokenError::First)));
        let before = file();
        let (_, first) = tokens.rotate(FIRST_TOKEN).await.unwrap();
        assert!(file() == first && first != before && tokens.check(&before).is_none());
        assert_eq!(tokens.check(&first).unwrap().scope, Scope::Admin);
    }

    #[tokio::test]
    async fn they_are_there_after_a_restart_and_a_lost_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let open = || Tokens::open(store.clone(), dir.path().join("token"), CancellationToken::new());
        let first = open().await.unwrap();
        let (_, bot) = first.create("bot", Scope::Prompt).await.unwrap();
        let old = std::fs::read_to_string(dir.path().join("token")).unwrap();
        std::fs::remove_file(dir.path().join("token")).unwrap();
        let again = open().await.unwrap();
        assert_eq!(again.check(&bot).unwrap().scope, Scope::Prompt);
        assert!(again.check(old.trim()).is_none());
        assert_eq!(again.list().iter().map(|t| t.name.clone()).collect::<Vec<_>>(), ["bot", FIRST_TOKEN]);
    }

    #[tokio::test]
    async fn what_is_left_of_a_token_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let (store, file) = (Store::open(dir.path(), Options::default()).unwrap(), dir.path().join("token"));
        let open = || Tokens::open(store.clone(), file.clone(), CancellationToken::new());
        drop(open().await.unwrap());
        for left in [&b"wharf_12"[..], b"wharf_\xff12345678901234567890123456789012345"] {
            std::fs::write(&file, left).unwrap();
            let refused = open().await.map(drop).unwrap_err().to_string();
            assert!(refused.contains(&*file.to_string_lossy()) && refused.contains("remove it"), "{refused}");
            assert_eq!(std::fs::read(&file).unwrap(), left);
        }
    }
}
