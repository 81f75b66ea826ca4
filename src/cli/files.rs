//! `wharf workspaces get` and `put`: files out of a workspace and into it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::client::{Client, Query};
use super::failure::Failure;
use super::ui::Ui;
use crate::api::FilesTaken;

const TAR: &str = "application/x-tar";
const BYTES: &str = "application/octet-stream";
/// Pieces that wait between the network and the disk.
const WAITING: usize = 16;

#[derive(Args, Debug)]
pub(super) struct Get {
    /// Id or name
    workspace: String,
    /// The file or directory inside: absolute, or below /workspace
    path: String,
    /// Where to put it: a file, a directory to unpack into, or `-` for standard output [default: its name, here]
    to: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Put {
    /// Id or name
    workspace: String,
    /// The file or directory here; `-` for standard input
    from: PathBuf,
    /// Where to put it inside: absolute, or below /workspace; with a `/` at its end, below its own name
    path: String,
}

impl Get {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Result<(), Failure> {
        let route = ["v1", "workspaces", &self.workspace, "files"];
        let mut answer = client.download(&route, &vec![("path", self.path.clone())]).await?;
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_tar = kind == TAR;
        let name = Path::new(&self.path).file_name().map_or_else(|| PathBuf::from("."), PathBuf::from);
        let to = self.to.unwrap_or(name);
        let broken = |e: reqwest::Error| Failure::other(format!("it was broken off: {e}"));
        let mut bytes = 0;
        if to.as_os_str() == "-" {
            let mut out = tokio::io::stdout();
            while let Some(piece) = answer.chunk().await.map_err(broken)? {
                out.write_all(&piece).await?;
            }
            out.flush().await?;
            return Ok(());
        }
        if is_tar {
            let (pieces, incoming) = mpsc::channel(WAITING);
            let dir = to.clone();
            let unpacked =
                tokio::task::spawn_blocking(move || unpack(Incoming { pieces: incoming, piece: Bytes::new() }, &dir));
            while let Some(piece) = answer.chunk().await.map_err(broken)? {
                bytes += piece.len() as u64;
                // It stops reading when it has failed, and says why.
                if pieces.send(piece).await.is_err() {
                    break;
                }
            }
            drop(pieces);
            unpacked.await.map_err(|e| Failure::other(e.to_string()))??;
        } else {
            let to =
                if to.is_dir() { to.join(Path::new(&self.path).file_name().unwrap_or_default()) } else { to.clone() };
            let draft = to.with_file_name(format!(".wharf-{}", std::process::id()));
            let mut file = tokio::fs::File::create(&draft).await?;
            while let Some(piece) = answer.chunk().await.map_err(broken)? {
                bytes += piece.len() as u64;
                file.write_all(&piece).await?;
            }
            file.flush().await?;
            tokio::fs::rename(&draft, &to).await?;
        }
        told(ui, &to.display().to_string(), bytes)
    }
}

impl Put {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Result<(), Failure> {
        let mut path = self.path;
        if path.ends_with('/') {
            let name =
                self.from.file_name().ok_or_else(|| Failure::usage("what is sent has no name: name the place"))?;
            path.push_str(&name.to_string_lossy());
        }
        let route = ["v1", "workspaces", &self.workspace, "files"];
        let query: Query = vec![("path", path.clone())];
        let taken: FilesTaken = if self.from.is_dir() {
            let (pieces, outgoing) = mpsc::channel(WAITING);
            let from = self.from.clone();
            let packed = tokio::task::spawn_blocking(move || {
                let end = pieces.clone();
                if let Err(e) = pack(&from, Outgoing(pieces)) {
                    // What is not whole must not look so.
                    end.blocking_send(Err(e)).ok();
                }
            });
            let body = stream::unfold(outgoing, |mut pieces: mpsc::Receiver<_>| async move {
                pieces.recv().await.map(|piece: io::Result<Bytes>| (piece, pieces))
            });
            let taken = client.upload(&route, &query, TAR, reqwest::Body::wrap_stream(body)).await;
            packed.await.map_err(|e| Failure::other(e.to_string()))?;
            taken?
        } else if self.from.as_os_str() == "-" {
            let body = tokio_util::io::ReaderStream::new(tokio::io::stdin());
            client.upload(&route, &query, BYTES, reqwest::Body::wrap_stream(body)).await?
        } else {
            let file = tokio::fs::File::open(&self.from).await;
            let file = file.map_err(|e| Failure::usage(format!("{}: {e}", self.from.display())))?;
            let body = tokio_util::io::ReaderStream::new(file);
            client.upload(&route, &query, BYTES, reqwest::Body::wrap_stream(body)).await?
        };
        told(ui, &path, taken.bytes)
    }
}

fn told(ui: &Ui, place: &str, bytes: u64) -> Result<(), Failure> {
    if ui.json {
        return ui.document(&json!({"path": place, "bytes": bytes}));
    }
    ui.note(&format!("· {place}, {bytes} bytes"));
    Ok(())
}

/// What an agent packed is not trusted: nothing leaves the directory.
fn unpack(from: impl Read, dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)?;
    let mut archive = tar::Archive::new(from);
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(true);
    Ok(archive.unpack(dir)?)
}

fn pack(dir: &Path, to: Outgoing) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    archive.append_dir_all(".", dir)?;
    archive.finish()
}

struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

struct Outgoing(mpsc::Sender<io::Result<Bytes>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
