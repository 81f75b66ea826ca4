//! Files into a workspace and out of it, through tether's helper: an exec as the agents' user, which the container's own
//! kernel keeps inside.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Hold, PathProblem, WorkspaceError, Workspaces,
    container::{PROGRAM, USER},
    names,
};
use crate::engine::{ExecEnd, ExecProbe, ExecStream};

/// The longest path.
const LONGEST_PATH: usize = 4096;
/// The longest line that the helper says.
const LONGEST_LINE: u64 = 16 * 1024;
/// How much is carried at a time.
const PIECE: usize = 64 * 1024;
/// The longest piece that the helper takes.
const LONGEST_PIECE: usize = 1 << 20;

/// How something is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundKind {
    /// A file's bytes.
    File,
    /// A tar archive.
    Tar,
}

/// What is at a path.
pub struct Found {
    /// How it comes.
    pub kind: FoundKind,
    /// A file's size, in bytes.
    pub size: u64,
    /// When it was changed, in seconds since the Unix epoch.
    pub modified: u64,
    /// Its bytes; an error where they ended too early.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// How something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutKind {
    /// A file's bytes: it is there whole, or not at all.
    File,
    /// A tar archive, to be unpacked into a directory: each of its files is there whole, or not at all.
    Tar,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Found { kind: String, size: u64, mtime: u64 },
    Taken { files: u64, bytes: u64 },
    Refused { why: String, message: String },
}

/// What a transfer keeps alive, and ends when it is dropped.
struct Held {
    probe: ExecProbe,
    _hold: Hold,
    _watch: DropGuard,
}

impl Workspaces {
    /// What is at `path`, absolute or below `/workspace`: a file as it is, a directory (or anything, with `tar`) as an
    /// archive. The workspace is started if need be.
    ///
    /// # Errors
    /// `NotFound`, `Path`, `TooLarge`, and as of [`attach`](Self::attach).
    pub async fn get_file(&self, id: &str, path: &str, tar: bool) -> Result<Found, WorkspaceError> {
        let (stream, held) = self.helper(id, "get", path, tar).await?;
        let mut stream = BufReader::with_capacity(PIECE, stream);
        match self.said(&mut stream, &held.probe).await? {
            Said::Found { kind, size, mtime } => {
                let kind = if kind == "file" { FoundKind::File } else { FoundKind::Tar };
                let left = (kind == FoundKind::File).then_some(size);
                let body = Body { stream, held, left, buffer: BytesMut::new() };
                let body = stream::unfold(Some(body), |body: Option<Body>| async move { body?.next().await });
                Ok(Found { kind, size, modified: mtime, body: body.boxed() })
            }
            Said::Taken { .. } | Said::Refused { .. } => Err(strange()),
        }
    }

    /// Puts what comes to `path`, absolute or below `/workspace`; missing directories are made. The workspace is started
    /// if need be.
    ///
    /// # Errors
    /// `NotFound`, `Path`, `TooLarge`, `Invalid` where the body broke off, and as of [`attach`](Self::attach).
    pub async fn put_file(
        &self,
        id: &str,
        path: &str,
        kind: PutKind,
        body: impl Stream<Item = Result<Bytes, String>> + Send,
    ) -> Result<Put, WorkspaceError> {
        let (stream, held) = self.helper(id, "put", path, kind == PutKind::Tar).await?;
        let (out, mut to) = tokio::io::split(stream);
        let mut out = BufReader::new(out);
        let sent = send(body, &mut to, self.shared.config.files_limit);
        let answer = self.said(&mut out, &held.probe);
        tokio::pin!(sent, answer);
        // A helper that has refused reads no further.
        let said = tokio::select! {
            biased;
            said = &mut answer => said,
            sent = &mut sent => match sent {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            },
        };
        match said? {
            Said::Taken { files, bytes } => Ok(Put { files, bytes }),
            Said::Found { .. } | Said::Refused { .. } => Err(strange()),
        }
    }

    async fn helper(&self, id: &str, verb: &str, path: &str, tar: bool) -> Result<(ExecStream, Held), WorkspaceError> {
        if path.is_empty() || path.len() > LONGEST_PATH || path.contains('\0') {
            let message = format!("a path of 1 to {LONGEST_PATH} bytes is needed");
            return Err(WorkspaceError::Invalid { field: "path", message });
        }
        let record = self.resolve(id)?;
        if record.host {
            let message = "its files are carried by its own means (cp, scp, rsync), not through wharf";
            return Err(WorkspaceError::NotOnHost { message });
        }
        let id = record.id;
        let hold = self.hold(&id);
        let client = self.attach(&id).await?;
        let lost = CancellationToken::new();
        let (closed, over) = (client.closed(), lost.clone());
        self.shared.tracker.spawn(async move {
            tokio::select! {
                () = closed => over.cancel(),
                () = over.cancelled() => {}
            }
        });
        let watch = lost.clone().drop_guard();
        let limit = self.shared.config.files_limit.to_string();
        let mut argv = vec![PROGRAM, "files", verb];
        argv.extend(tar.then_some("--tar"));
        argv.extend(["--limit", &limit, "--", path]);
        let user = format!("{USER}:{USER}");
        let stream = self.shared.engine.exec_attach(&names::container(&id), &argv, &user, &lost).await?;
        let probe = stream.probe();
        Ok((stream, Held { probe, _hold: hold, _watch: watch }))
    }

    /// What the helper says, or why it refuses.
    async fn said(
        &self,
        from: &mut BufReader<impl AsyncRead + Unpin>,
        probe: &ExecProbe,
    ) -> Result<Said, WorkspaceError> {
        let mut line = Vec::new();
        let read = from.take(LONGEST_LINE).read_until(b'\n', &mut line).await;
        let failed = |message: String| WorkspaceError::Tether { message };
        read.map_err(|e| failed(format!("carrying files: {e}")))?;
        match serde_json::from_slice(&line) {
            Ok(Said::Refused { why, message }) => Err(refused(&why, message, self.shared.config.files_limit)),
            Ok(said) => Ok(said),
            Err(_) => {
                let end = probe.end().await?;
                let told = probe.stderr();
                let message = format!("the helper that carries files ended ({end:?}) and said {told:?}");
                // The container may still run the tether of a daemon before this one.
                Err(failed(format!("{message}; where its container is old, `wharf workspaces recreate` helps")))
            }
        }
    }
}

fn strange() -> WorkspaceError {
    WorkspaceError::Tether { message: "the helper that carries files said what was not asked".to_owned() }
}

fn refused(why: &str, message: String, limit: u64) -> WorkspaceError {
    let why = match why {
        "outside" => PathProblem::Outside,
        "not_found" => PathProblem::NotFound,
        "kind" => PathProblem::Kind,
        "denied" => PathProblem::Denied,
        "archive" => PathProblem::Archive,
        "full" => PathProblem::Full,
        "too_large" => return WorkspaceError::TooLarge { what: "it", limit },
        _ => return WorkspaceError::Tether { message: format!("carrying files: {message}") },
    };
    WorkspaceError::Path { why, message }
}

async fn send(
    body: impl Stream<Item = Result<Bytes, String>> + Send,
    to: &mut (impl AsyncWrite + Unpin),
    limit: u64,
) -> Result<(), WorkspaceError> {
    let broken = |e: io::Error| WorkspaceError::Tether { message: format!("carrying files: {e}") };
    let (mut body, mut sent) = (std::pin::pin!(body), 0);
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|message| WorkspaceError::Invalid { field: "body", message })?;
        sent += bytes.len() as u64;
        if sent > limit {
            return Err(WorkspaceError::TooLarge { what: "the body", limit });
        }
        for piece in bytes.chunks(LONGEST_PIECE) {
            let length = u32::try_from(piece.len()).unwrap_or_default();
            to.write_all(&length.to_be_bytes()).await.map_err(broken)?;
            to.write_all(piece).await.map_err(broken)?;
        }
    }
    to.write_all(&[0; 4]).await.map_err(broken)?;
    to.flush().await.map_err(broken)
}

/// What is being sent.
struct Body {
    stream: BufReader<ExecStream>,
    held: Held,
    /// How much of a file is to come.
    left: Option<u64>,
    buffer: BytesMut,
}

impl Body {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        if self.left == Some(0) {
            return None;
        }
        self.buffer.reserve(PIECE);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => ended(self.left, self.held.probe).await.err().map(|error| (Err(error), None)),
            Ok(_) => {
                let mut piece = self.buffer.split().freeze();
                if let Some(left) = &mut self.left {
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= piece.len() as u64;
                }
                Some((Ok(piece), Some(self)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }
}

/// Whether all of it has come.
async fn ended(left: Option<u64>, probe: ExecProbe) -> io::Result<()> {
    let end = probe.end().await.map_err(io::Error::other)?;
    match (left, end) {
        (None, ExecEnd::Exited(0)) => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("it was broken off: {}", probe.stderr()))),
    }
}
