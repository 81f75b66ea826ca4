//! One stream's output on disk: records in segment files, appended, read from any offset, dropped from the front.
//!
//! A segment's name ends with the offset that it begins at. A record: offset (u64), time (i64, ms), length (u32), crc32 of
//! these and of the bytes (u32), bytes; little-endian.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use crate::tether::{frames::MAX_OUTPUT, messages::Span};

/// Bytes before a record's bytes.
pub(super) const HEADER: usize = 24;
/// A segment that holds this many bytes is followed by a new one.
const SEGMENT: u64 = 1 << 20;

#[derive(Debug)]
struct Segment {
    /// Offset of its first byte.
    start: u64,
    /// Length of its file.
    len: u64,
}

/// The journal of one stream.
#[derive(Debug)]
pub(super) struct StreamLog {
    dir: PathBuf,
    name: &'static str,
    /// Each begins where the one before ends.
    segments: VecDeque<Segment>,
    /// The last segment, once something was appended.
    active: Option<File>,
    acked: u64,
    end: u64,
}

/// Where a reader is.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The next byte that it wants.
    pub(super) offset: u64,
    /// The segment that it reads: its start, its file, the position of the record that holds `offset` or comes next.
    open: Option<(u64, File, u64)>,
}

impl Cursor {
    pub(super) fn at(offset: u64) -> Self {
        Self { offset, open: None }
    }
}

/// A piece of a stream; its bytes are at `from..to` of the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) time: i64,
    pub(super) from: usize,
    pub(super) to: usize,
}

struct Header {
    offset: u64,
    time: i64,
    len: usize,
    crc: u32,
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | (u64::from(word(at + 4)) << 32);
        Self { offset: long(0), time: long(8).cast_signed(), len: word(16) as usize, crc: word(20) }
    }

    /// Fills the first bytes of `record`, of which the bytes after the header are in place.
    fn write(record: &mut [u8], offset: u64, time: i64) {
        let len = u32::try_from(record.len() - HEADER).unwrap_or(u32::MAX);
        record[0..8].copy_from_slice(&offset.to_le_bytes());
        record[8..16].copy_from_slice(&time.to_le_bytes());
        record[16..20].copy_from_slice(&len.to_le_bytes());
        let crc = Self::crc(record);
        record[20..24].copy_from_slice(&crc.to_le_bytes());
    }

    fn crc(record: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&record[..20]);
        hasher.update(&record[HEADER..]);
        hasher.finalize()
    }
}

impl StreamLog {
    pub(super) fn new(dir: PathBuf, name: &'static str) -> Self {
        Self { dir, name, segments: VecDeque::new(), active: None, acked: 0, end: 0 }
    }

    /// Opens what an earlier tether left; cuts what is torn, and what comes after that.
    pub(super) fn open(dir: PathBuf, name: &'static str) -> io::Result<Self> {
        let mut log = Self::new(dir, name);
        let mut starts = Vec::new();
        for file in fs::read_dir(&log.dir)? {
            let file = file?.file_name();
            let start = file.to_str().and_then(|f| f.strip_prefix(name)?.strip_prefix('.')?.parse::<u64>().ok());
            starts.extend(start);
        }
        starts.sort_unstable();
        let mut whole = true;
        for start in starts {
            if !log.segments.is_empty() && (!whole || start != log.end) {
                fs::remove_file(log.path(start))?;
                continue;
            }
            let file = OpenOptions::new().read(true).write(true).open(log.path(start))?;
            let (len, end) = scan(&file, start)?;
            whole = file.metadata()?.len() == len;
            if !whole {
                file.set_len(len)?;
            }
            log.segments.push_back(Segment { start, len });
            log.end = end;
        }
        log.acked = log.span().start;
        Ok(log)
    }

    fn path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start:020}", self.name))
    }

    pub(super) fn span(&self) -> Span {
        Span { start: self.segments.front().map_or(self.end, |segment| segment.start), end: self.end }
    }

    /// What was not acknowledged yet, in bytes.
    pub(super) const fn unacked(&self) -> u64 {
        self.end - self.acked
    }

    /// Appends a record: `record` has room for a header before its bytes. On an error nothing was appended, and the same
    /// may be tried again.
    pub(super) fn append(&mut self, record: &mut [u8], time: i64) -> io::Result<()> {
        let bytes = (record.len() - HEADER) as u64;
        if bytes == 0 {
            return Ok(());
        }
        if self.segments.back().is_none_or(|last| self.end - last.start >= SEGMENT) || self.active.is_none() {
            self.begin_segment()?;
        }
        let (Some(file), Some(last)) = (&self.active, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        Header::write(record, self.end, time);
        if let Err(e) = file.write_all_at(record, last.len) {
            // What was written of it is overwritten by the next attempt, and cut at open if there is none.
            let _ = file.set_len(last.len);
            return Err(e);
        }
        last.len += record.len() as u64;
        self.end += bytes;
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(self.end))?;
        self.active = Some(file);
        if self.segments.back().is_none_or(|last| last.start != self.end) {
            self.segments.push_back(Segment { start: self.end, len: 0 });
        }
        Ok(())
    }

    /// Lets go of the file; nothing more is to be appended.
    pub(super) fn close(&mut self) {
        self.active = None;
    }

    /// Everything below `offset` is safe elsewhere: drops the whole segments below it.
    pub(super) fn ack(&mut self, offset: u64) -> io::Result<()> {
        self.acked = self.acked.max(offset.min(self.end));
        while self.segments.len() > 1 && self.segments[1].start <= self.acked {
            fs::remove_file(self.path(self.segments[0].start))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// The next piece at `cursor`, which moves behind it; `None` at the end. Fills `buffer`.
    pub(super) fn read(&self, cursor: &mut Cursor, buffer: &mut Vec<u8>) -> io::Result<Option<Piece>> {
        while cursor.offset < self.end {
            if cursor.offset < self.span().start {
                return Err(io::Error::other(format!("offset {} is no longer there", cursor.offset)));
            }
            let index = self.segments.partition_point(|segment| segment.start <= cursor.offset) - 1;
            let segment = &self.segments[index];
            if cursor.open.as_ref().is_none_or(|(start, ..)| *start != segment.start) {
                cursor.open = Some((segment.start, File::open(self.path(segment.start))?, 0));
            }
            let Some((_, file, position)) = &mut cursor.open else { continue };
            let header = read_record(file, *position, buffer)?;
            *position += (HEADER + header.len) as u64;
            let record_end = header.offset + header.len as u64;
            if record_end > cursor.offset {
                let skip = usize::try_from(cursor.offset - header.offset).map_err(io::Error::other)?;
                let piece =
                    Piece { offset: cursor.offset, time: header.time, from: HEADER + skip, to: HEADER + header.len };
                cursor.offset = record_end;
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// Reads the whole record at `position` into `buffer`.
fn read_record(file: &File, position: u64, buffer: &mut Vec<u8>) -> io::Result<Header> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, position)?;
    let header = Header::read(&bytes);
    if header.len == 0 || header.len > MAX_OUTPUT || header.offset.checked_add(header.len as u64).is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no record"));
    }
    buffer.resize(HEADER + header.len, 0);
    buffer[..HEADER].copy_from_slice(&bytes);
    file.read_exact_at(&mut buffer[HEADER..], position + HEADER as u64)?;
    if Header::crc(buffer) != header.crc {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record's checksum is wrong"));
    }
    Ok(header)
}

/// How much of a segment's file is whole, and the offset behind it.
fn scan(file: &File, start: u64) -> io::Result<(u64, u64)> {
    let (mut position, mut end, mut buffer) = (0, start, Vec::new());
    loop {
        match read_record(file, position, &mut buffer) {
            Ok(header) if header.offset == end => {
                position += (HEADER + header.len) as u64;
                end += header.len as u64;
            }
            Ok(_) => return Ok((position, end)),
            Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
                return Ok((position, end));
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
