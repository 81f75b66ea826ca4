//! As much of the FUSE protocol as one file needs, which is the root of its own file system.

const HEADER: usize = 40;
const ENOSYS: i32 = -38;
/// The longest write.
const MAX_WRITE: u32 = 1024 * 1024;
const PAGES: u16 = 256;
/// Several reads at once, writes of more than a page, and as many pages as is told.
const FLAGS: u32 = 1 | 1 << 5 | 1 << 22;
/// What is read and written goes past the page cache, which would answer reads by itself.
const DIRECT_IO: u32 = 1;

/// What the kernel asks for.
pub enum Request<'a> {
    Read {
        at: u64,
        len: usize,
    },
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    Flush,
    /// What a file is asked beside that.
    Other(Other),
    /// What gets no answer.
    Unanswered,
}

/// What has always the same answer.
#[derive(Clone, Copy)]
pub enum Other {
    Init { minor: u32 },
    Attributes,
    Open,
    Close,
    Room,
    Unknown,
}

/// An answer.
pub enum Answer {
    Data(Vec<u8>),
    Written(usize),
    Done,
    Unknown,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|n| u32::from_ne_bytes(*n))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|n| u64::from_ne_bytes(*n))
}

impl<'a> Request<'a> {
    /// The number of a request and what it asks for.
    pub fn parse(frame: &'a [u8]) -> Option<(u64, Self)> {
        let (code, id) = (u32_at(frame, 4)?, u64_at(frame, 8)?);
        let body = frame.get(HEADER..)?;
        let request = match code {
            2 | 36 | 42 => Self::Unanswered,
            3 | 4 => Self::Other(Other::Attributes),
            14 => Self::Other(Other::Open),
            15 => Self::Read { at: u64_at(body, 8)?, len: usize::try_from(u32_at(body, 16)?).ok()? },
            16 => {
                let len = usize::try_from(u32_at(body, 16)?).ok()?;
                Self::Write { at: u64_at(body, 8)?, bytes: body.get(HEADER..HEADER + len)? }
            }
            17 => Self::Other(Other::Room),
            20 => Self::Flush,
            // Released, closed, destroyed.
            18 | 25 | 38 => Self::Other(Other::Close),
            26 => Self::Other(Other::Init { minor: u32_at(body, 4)? }),
            _ => Self::Other(Other::Unknown),
        };
        Some((id, request))
    }
}

/// Numbers of several sizes, one behind the other.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn long(mut self, numbers: &[u64]) -> Self {
        numbers.iter().for_each(|n| self.0.extend(n.to_ne_bytes()));
        self
    }

    fn int(mut self, numbers: &[u32]) -> Self {
        numbers.iter().for_each(|n| self.0.extend(n.to_ne_bytes()));
        self
    }

    fn short(mut self, numbers: &[u16]) -> Self {
        numbers.iter().for_each(|n| self.0.extend(n.to_ne_bytes()));
        self
    }
}

impl Other {
    /// The answer of a file of this length.
    pub fn answer(self, len: u64) -> Answer {
        let body = match self {
            Self::Unknown => return Answer::Unknown,
            Self::Close => return Answer::Done,
            Self::Init { minor } => Body::default()
                .int(&[7, minor.min(31), MAX_WRITE, FLAGS])
                .short(&[16, 12])
                .int(&[MAX_WRITE, 1])
                .short(&[PAGES, 0])
                .int(&[0; 8]),
            // Valid for how long; inode, length, blocks, times; mode (a file), links, owner, device, block size, flags.
            Self::Attributes => Body::default()
                .long(&[3600])
                .int(&[0, 0])
                .long(&[1, len, len / 512, 0, 0, 0])
                .int(&[0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0]),
            Self::Open => Body::default().long(&[1]).int(&[DIRECT_IO, 0]),
            Self::Room => Body::default().long(&[0; 5]).int(&[4096, 255, 4096, 0]).int(&[0; 6]),
        };
        Answer::Data(body.0)
    }
}

impl Answer {
    /// The answer to request `id` as it goes to the kernel.
    pub fn frame(self, id: u64) -> Vec<u8> {
        let (error, body) = match self {
            Self::Data(body) => (0, body),
            Self::Written(n) => (0, Body::default().int(&[u32::try_from(n).unwrap_or(0), 0]).0),
            Self::Done => (0, Vec::new()),
            Self::Unknown => (ENOSYS, Vec::new()),
        };
        let len = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
        [&len.to_ne_bytes()[..], &i32::to_ne_bytes(error), &id.to_ne_bytes(), &body].concat()
    }
}
