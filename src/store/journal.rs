//! Reads fjall's journals without opening fjall: its recovery cuts off what it can't read without a word, so damage must
//! be told from a torn last write before it runs.
//!
//! Every batch in them is one group of the writer and begins with a commit record (see `log`), so their numbers follow
//! one another without a gap; the last journal alone may end in a batch that was cut short by a crash. Such a batch was
//! never acknowledged, and nothing was written after it. fjall's own sequence numbers of batches are under no checksum:
//! each must rise, and fit to the one that the commit record tells.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    StoreError,
    log::{COMMIT_KEY, COMMIT_LEN, decode_commit},
    witness::Commits,
};

const TRAILER: &[u8; 4] = b"FJL\x03";
const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;

/// How far fjall's sequence number may run ahead between the writer's look at it and the batch.
const SEQNO_SLACK: u64 = 1024;

/// The most of a torn end that is kept to be put back when the opening is refused.
const TORN_LIMIT: u64 = 64 * 1024 * 1024;

/// A last batch that was cut short: what fjall will cut off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) len: u64,
}

/// What the journals hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Journals {
    /// The last commit in them; `None` when all of it is in tables already.
    pub(super) last: Option<Commits>,
    pub(super) torn: Option<Torn>,
}

/// A whole batch.
#[derive(Clone, Copy)]
struct Batch {
    commits: Commits,
    /// fjall's sequence number.
    seqno: u64,
}

/// Checks all journals of the log at `dir`, against the witness too; writes nothing.
pub(super) fn check(dir: &Path, witness: Option<Commits>) -> Result<Journals, StoreError> {
    let mut found = Journals::default();
    let paths = list(dir)?;
    let mut last = None;
    for (i, path) in paths.iter().enumerate() {
        let torn = read(path, &mut last)?;
        if let Some(torn) = torn {
            if i + 1 < paths.len() {
                return Err(StoreError::unreadable(path, format!("it is damaged at byte {}", torn.offset)));
            }
            found.torn = Some(torn);
        }
    }
    found.last = last.map(|batch: Batch| batch.commits);
    if let (Some(last), Some(witness)) = (found.last, witness)
        && last.log < witness.log
    {
        let path = paths.last().map_or(dir, PathBuf::as_path);
        let why = format!("it ends with commit {}, but commit {} was acknowledged", last.log, witness.log);
        return Err(StoreError::unreadable(path, why));
    }
    Ok(found)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| StoreError::io(dir, &e))? {
        let path = entry.map_err(|e| StoreError::io(dir, &e))?.path();
        let number = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".jnl"));
        if let Some(number) = number {
            let number: u64 =
                number.parse().map_err(|_| StoreError::unreadable(&path, "its name is not a journal's"))?;
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reads one journal; `last` is the last batch so far.
fn read(path: &Path, last: &mut Option<Batch>) -> Result<Option<Torn>, StoreError> {
    let io = |e: &io::Error| StoreError::io(path, e);
    let file = File::open(path).map_err(|e| io(&e))?;
    let len = file.metadata().map_err(|e| io(&e))?.len();
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut offset = 0;
    while let Some((batch, size)) = batch(&mut reader, len - offset).map_err(|e| io(&e))? {
        if last.is_some_and(|last| batch.commits.log != last.commits.log + 1 || batch.seqno <= last.seqno) {
            let why = format!("commit {} at byte {offset} does not follow the one before it", batch.commits.log);
            return Err(StoreError::unreadable(path, why));
        }
        *last = Some(batch);
        offset += size;
    }
    reader.seek(SeekFrom::Start(offset)).map_err(|e| io(&e))?;
    let Some(bytes) = rest(&mut reader).map_err(|e| io(&e))? else {
        return Err(StoreError::unreadable(path, format!("it is damaged at byte {offset}")));
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if holds_whole_batch(&bytes) {
        return Err(StoreError::unreadable(path, format!("it is damaged at byte {offset}, whole commits follow")));
    }
    Ok(Some(Torn { path: path.to_owned(), offset, bytes, len }))
}

/// One whole batch and its size; `None` where there is none.
fn batch(reader: &mut impl Read, left: u64) -> io::Result<Option<(Batch, u64)>> {
    let mut bounded = reader.take(left);
    match parse(&mut bounded) {
        Ok(found) => Ok(found.map(|batch| (batch, left - bounded.limit()))),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(reader: &mut impl Read) -> io::Result<Option<Batch>> {
    let mut start = [0; 13];
    reader.read_exact(&mut start)?;
    let items = start[1..].first_chunk::<4>().map_or(0, |n| u32::from_le_bytes(*n));
    let seqno = start.last_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
    if start[0] != TAG_START || items == 0 {
        return Ok(None);
    }
    let mut sum = Xxh3::new();
    let mut commit = None;
    for i in 0..items {
        let mut head = [0; 21];
        reader.read_exact(&mut head)?;
        // Tag, kind, compression (0: none), keyspace, lengths of key, of value, of value on disk.
        let key_len = u64::from(u16::from_le_bytes([head[11], head[12]]));
        let value_len = u64::from(u32::from_le_bytes([head[17], head[18], head[19], head[20]]));
        if head[0] != TAG_ITEM || head[2] != 0 || head[13..17] != head[17..21] {
            return Ok(None);
        }
        sum.update(&head);
        if i == 0 {
            if key_len != COMMIT_KEY.len() as u64 || value_len != COMMIT_LEN as u64 {
                return Ok(None);
            }
            let mut item = [0; COMMIT_KEY.len() + COMMIT_LEN];
            reader.read_exact(&mut item)?;
            sum.update(&item);
            commit = decode_commit(&item[COMMIT_KEY.len()..]).filter(|_| item.starts_with(COMMIT_KEY));
        } else if !skip(reader, key_len + value_len, &mut sum)? {
            return Ok(None);
        }
    }
    let mut end = [0; 13];
    reader.read_exact(&mut end)?;
    let expected = end[1..].first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    let whole = end[0] == TAG_END && end.ends_with(TRAILER) && expected == Some(sum.digest());
    let fits = |before: u64| seqno >= before && seqno - before <= SEQNO_SLACK;
    Ok(commit.filter(|(_, before)| whole && fits(*before)).map(|(commits, _)| Batch { commits, seqno }))
}

fn skip(reader: &mut impl Read, mut len: u64, sum: &mut Xxh3) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    while len > 0 {
        let part = usize::try_from(len).map_or(buffer.len(), |len| len.min(buffer.len()));
        let n = reader.read(&mut buffer[..part])?;
        if n == 0 {
            return Ok(false);
        }
        sum.update(&buffer[..n]);
        len -= n as u64;
    }
    Ok(true)
}

/// Everything up to the zeros at the end (journals are made longer than they are); `None`: too much to be one batch.
fn rest(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut zeros = 0_u64;
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(Some(bytes));
        }
        match part.iter().rposition(|b| *b != 0) {
            None => zeros += part.len() as u64,
            Some(last) => {
                if bytes.len() as u64 + zeros + part.len() as u64 > TORN_LIMIT {
                    return Ok(None);
                }
                bytes.resize(bytes.len() + usize::try_from(zeros).unwrap_or(0), 0);
                bytes.extend_from_slice(&part[..=last]);
                zeros = (part.len() - 1 - last) as u64;
            }
        }
        let n = part.len();
        reader.consume(n);
    }
}

/// Whether a whole batch begins right after some trailer in `bytes`: then what is before it is damage, not a tear.
fn holds_whole_batch(bytes: &[u8]) -> bool {
    bytes.windows(5).enumerate().filter(|(_, w)| w[..4] == TRAILER[..] && w[4] == TAG_START).any(|(at, _)| {
        let mut from = &bytes[at + 4..];
        let left = from.len() as u64;
        matches!(batch(&mut from, left), Ok(Some(_)))
    })
}
