//! Seals what must not lie on a disk in clear (guarantee 12): XChaCha20-Poly1305 under a key file in the state
//! directory.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use chacha20poly1305::{
    AeadCore, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, OsRng},
};

/// The form of what is sealed: this byte, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;
const FILE: &str = "seal.key";
/// Holds `PROOF`, sealed: whether the key is the right one is known before anything is sealed with another.
const CHECK: &str = "seal.check";
const PROOF: &[u8] = b"wharf seals with this key";
/// Longer than a sealed proof.
const CHECK_MAX: u64 = 256;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file can't be used.
    #[error("the key file {}: {message}", .path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The system gave no randomness, or the value is too long.
    #[error("a secret could not be encrypted")]
    Seal,
    /// Not sealed by this key, or damaged.
    #[error(
        "a stored secret can't be decrypted: it is damaged, or the key file is not the one that it was sealed with"
    )]
    Open,
    /// Sealed by a newer version.
    #[error("a stored secret has the unknown form {0}: it was written by a newer version")]
    Newer(u8),
}

/// Seals and opens under one key; cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    cipher: Arc<XChaCha20Poly1305>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Sees to it that there is a key before there are data: makes one where `has_data` is false and there is none. Changes
    /// nothing else.
    ///
    /// # Errors
    /// `KeyFile` where it is missing though there are data, is not the one that they were sealed with, or as of
    /// [`open_or_create`](Self::open_or_create).
    pub fn prepare(state_dir: &Path, has_data: bool) -> Result<(), SealError> {
        let path = state_dir.join(FILE);
        if !path.exists() && (has_data || state_dir.join(CHECK).exists()) {
            let message =
                "it is missing, and what is stored here was sealed with it: put the right file back, or move \
                           the state directory away to start anew"
                    .to_owned();
            return Err(SealError::KeyFile { path, message });
        }
        Self::read_or_make(state_dir)?.fits(state_dir).map(drop)
    }

    /// Opens the key of `state_dir`, or makes it, and what it is checked with from then on. Blocks on the disk.
    ///
    /// # Errors
    /// `KeyFile` where it can't be read or made, has another length, is not the one of before, or others may read it.
    pub fn open_or_create(state_dir: &Path) -> Result<Self, SealError> {
        let sealer = Self::read_or_make(state_dir)?;
        if !sealer.fits(state_dir)? {
            let path = state_dir.join(CHECK);
            create(state_dir, CHECK, &sealer.seal(PROOF)?)
                .map_err(|e| SealError::KeyFile { path, message: e.to_string() })?;
        }
        Ok(sealer)
    }

    /// Whether it is the key that the directory was used with; `false` where nothing tells.
    fn fits(&self, state_dir: &Path) -> Result<bool, SealError> {
        let failed = |message: String| SealError::KeyFile { path: state_dir.join(FILE), message };
        let mut sealed = Vec::new();
        match fs::File::open(state_dir.join(CHECK)).and_then(|file| file.take(CHECK_MAX).read_to_end(&mut sealed)) {
            Ok(_) if self.open(&sealed).is_ok_and(|proof| proof == PROOF) => Ok(true),
            Ok(_) => Err(failed(format!(
                "it is damaged or another one than before, as {CHECK} tells: put the right file back (or, where this one \
                 is known to be right, remove {CHECK})"
            ))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed(format!("{CHECK}: {e}: make it readable for this user"))),
        }
    }

    fn read_or_make(state_dir: &Path) -> Result<Self, SealError> {
        let path = state_dir.join(FILE);
        let failed = |message: String| SealError::KeyFile { path: path.clone(), message };
        match fs::File::open(&path) {
            Ok(file) => {
                let mode = file.metadata().map_err(|e| failed(e.to_string()))?.mode();
                if mode & 0o077 != 0 {
                    return Err(failed(format!("others may use it (mode {:o}): chmod 600", mode & 0o777)));
                }
                let mut key = Vec::with_capacity(KEY + 1);
                file.take(KEY as u64 + 1).read_to_end(&mut key).map_err(|e| failed(e.to_string()))?;
                if key.len() != KEY {
                    return Err(failed(format!("{} bytes instead of {KEY}: put the right file back", key.len())));
                }
                Ok(Self::new(&key))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = XChaCha20Poly1305::generate_key(&mut OsRng);
                create(state_dir, FILE, &key)
                    .map_err(|e| failed(format!("{e}: see that its directory is writable for this user")))?;
                // Read back: where two start at once, both use the one that was there first.
                Self::read_again(state_dir)
            }
            Err(e) => Err(failed(e.to_string())),
        }
    }

    fn read_again(state_dir: &Path) -> Result<Self, SealError> {
        let path = state_dir.join(FILE);
        match fs::metadata(&path) {
            Ok(_) => Self::read_or_make(state_dir),
            Err(e) => Err(SealError::KeyFile { path, message: e.to_string() }),
        }
    }

    fn new(key: &[u8]) -> Self {
        Self { cipher: Arc::new(XChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(key))) }
    }

    /// Seals `clear` under a nonce of its own: equal values do not look equal.
    ///
    /// # Errors
    /// `Seal`.
    pub fn seal(&self, clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self.cipher.encrypt(&nonce, clear).map_err(|_| SealError::Seal)?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// `Open`, `Newer`.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError::Open)?;
        if version != VERSION {
            return Err(SealError::Newer(version));
        }
        let (nonce, text) = rest.split_at_checked(NONCE).ok_or(SealError::Open)?;
        self.cipher.decrypt(XNonce::from_slice(nonce), text).map_err(|_| SealError::Open)
    }
}

/// Makes a file whole or not at all, durably; leaves one that is there.
fn create(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, draft) = (dir.join(name), dir.join(format!("{name}.{}", uuid::Uuid::new_v4().simple())));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, &path));
    fs::remove_file(&draft)?;
    match written {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn opens_what_it_sealed_after_a_restart_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Sealer::open_or_create(dir.path()).unwrap().seal(b"secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        let again = Sealer::open_or_create(dir.path()).unwrap();
        assert_eq!(again.open(&sealed).unwrap(), b"secret");
        assert_ne!(again.seal(b"secret").unwrap(), sealed);

        for i in 1..sealed.len() {
            let mut bent = sealed.clone();
            bent[i] ^= 1;
            assert!(matches!(again.open(&bent), Err(SealError::Open)), "byte {i}");
        }
        for end in 1..sealed.len() {
            assert!(again.open(&sealed[..end]).is_err());
        }
        assert!(matches!(again.open(&[]), Err(SealError::Open)));
        assert!(matches!(again.open(&[9, 1, 2]), Err(SealError::Newer(9))));
        let other = tempfile::tempdir().unwrap();
        assert!(Sealer::open_or_create(other.path()).unwrap().open(&sealed).is_err());
    }

    #[test]
    fn the_key_file_is_private_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Sealer::open_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the key and its check; no draft is left");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Sealer::open_or_create(dir.path()).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(Sealer::open_or_create(dir.path()).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn a_key_that_is_missing_or_another_is_refused_and_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (key, check) = (dir.path().join(FILE), dir.path().join(CHECK));
        Sealer::prepare(dir.path(), false).unwrap();
        assert!(key.exists() && !check.exists(), "a new directory gets its key first of all");
        // As an older version leaves it: the key is taken at its word, and checked from now on.
        Sealer::prepare(dir.path(), true).unwrap();
        Sealer::open_or_create(dir.path()).unwrap();
        Sealer::prepare(dir.path(), true).unwrap();

        let whole = fs::read(&key).unwrap();
        for byte in 0..KEY {
            let mut bent = whole.clone();
            bent[byte] ^= 1;
            fs::write(&key, &bent).unwrap();
            let told = Sealer::prepare(dir.path(), true).unwrap_err().to_string();
            assert!(told.contains("seal.key") && told.contains("put the right file back"), "{told}");
            assert!(Sealer::open_or_create(dir.path()).is_err());
            assert_eq!(fs::read(&key).unwrap(), bent);
        }
        fs::remove_file(&key).unwrap();
        for has_data in [true, false] {
            let told = Sealer::prepare(dir.path(), has_data).unwrap_err().to_string();
            assert!(told.contains("it is missing") && told.contains("put the right file back"), "{told}");
        }
        assert!(!key.exists());
        fs::write(&key, &whole).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Sealer::prepare(dir.path(), true).unwrap();
    }
}
