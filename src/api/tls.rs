//! TLS for TCP beyond loopback: certificate and key from files, read again when asked to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that can't be read, or is not what it should be.
    #[error("tls: {}: {why}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate and key are not of each other, or can't be used.
    #[error("tls: {} and {} can't be used together: {why}", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

/// The certificate and its key, as they were last read.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both, in PEM; the certificate's file may hold the chain.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let acceptor = RwLock::new(acceptor(&cert, &key)?);
        Ok(Self { cert, key, acceptor })
    }

    /// Reads both again, for the connections that come; what is wrong leaves it as it is.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = acceptor(&self.cert, &self.key)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file = |path: &Path, why: String| TlsError::File { path: path.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|e| file(cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(file(cert, "it holds no certificate in PEM".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| file(key, e.to_string()))?;
    let pair = |why: String| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), why };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| pair(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| pair(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let own = rcgen::generate_simple_self_signed(vec!["wharf.lan".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["other.lan".to_owned()]).unwrap();
        std::fs::write(at("cert"), own.cert.pem()).unwrap();
        std::fs::write(at("key"), own.signing_key.serialize_pem()).unwrap();
        std::fs::write(at("other"), other.signing_key.serialize_pem()).unwrap();
        std::fs::write(at("empty"), "").unwrap();
        let open = |cert: &str, key: &str| Tls::open(at(cert), at(key)).map(drop).map_err(|e| e.to_string());
        assert_eq!(open("cert", "key"), Ok(()));
        for (cert, key, says) in [
            ("absent", "key", "absent"),
            ("empty", "key", "empty"),
            ("cert", "empty", "empty"),
            ("cert", "other", "together"),
        ] {
            assert!(open(cert, key).unwrap_err().contains(says), "{cert} {key}");
        }
        let tls = Tls::open(at("cert"), at("key")).unwrap();
        std::fs::write(at("key"), "").unwrap();
        assert!(tls.reload().is_err());
    }
}
