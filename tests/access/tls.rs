//! TLS by file: needed beyond loopback, read again at SIGHUP.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::support::{Daemon, PATIENCE, so, until};

/// A certificate in two files; itself.
fn certificate(dir: &std::path::Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

/// Asks over TLS, trusting this certificate only; the answer's first line.
async fn ask(address: &str, trusted: &CertificateDer<'static>, token: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = "localhost".try_into().expect("a name");
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!(
        "GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_needs_tls() {
    for (config, says) in [
        ("listen = \"0.0.0.0:0\"\n", "[tls]"),
        ("[tls]\ncert = \"/absent/cert.pem\"\n", "both"),
        ("[tls]\ncert = \"/absent/cert.pem\"\nkey = \"/absent/key.pem\"\n", "/absent/cert.pem"),
    ] {
        let daemon = Daemon::prepared(&[], Some(config));
        let mut command = daemon.command();
        if config.starts_with("listen") {
            command.args(["--listen", "0.0.0.0:0"]);
        }
        let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let mut command = tokio::process::Command::new(command.get_program());
        // The flag that every test gives would win over the file.
        let mut skip = false;
        for arg in args {
            if config.starts_with("listen") && (arg == "--listen" || std::mem::take(&mut skip)) {
                skip = arg == "--listen";
                continue;
            }
            command.arg(arg);
        }
        let ended = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("it ends");
        let output = ended.expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.contains(says), "{config}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_its_certificate_read_again_at_sighup() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certificate(dir.path());
    let at = dir.path().display();
    let config = format!("[tls]\ncert = \"{at}/cert.pem\"\nkey = \"{at}/key.pem\"\n");
    let daemon = Daemon::start_with(&[], Some(&config)).await;
    let log = daemon.log_text();
    let begin = log.rfind("https://127.0.0.1:").expect("it says so") + "https://".len();
    let address = log[begin..].split(|c: char| c.is_whitespace() || c == '"').next().expect("an address").to_owned();
    let token = daemon.token();
    assert_eq!(ask(&address, &first, &token).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert!(ask(&address, &first, "wharf_wrong").await.expect("an answer").contains("401"));
    let second = certificate(dir.path());
    assert!(ask(&address, &second, &token).await.is_err(), "it is not read yet");
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it is told");
    until("the new certificate", async || {
        so(daemon.log_text().contains("the certificate was read again"), "not a word of it")
    })
    .await;
    assert_eq!(ask(&address, &second, &token).await.expect("an answer"), "HTTP/1.1 200 OK");
    assert!(ask(&address, &first, &token).await.is_err());
}
