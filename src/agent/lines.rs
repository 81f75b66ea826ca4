//! Cuts an agent's output into lines, wherever the chunks end, and counts how far it got.

/// The longest line that is given whole, in bytes; a longer one comes out in pieces.
pub const LONGEST_LINE: usize = 16 << 20;
/// The longest piece, in bytes: what is no message is not worth a large commit.
const PIECE: usize = 256 << 10;

/// A line, or a piece of one that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The offset in the stream behind it, its line feed included: whoever reads on from here misses nothing and gets
    /// nothing twice.
    pub end_offset: u64,
    /// Its bytes, without line feed or carriage return at the end.
    pub bytes: Vec<u8>,
    /// A piece of a line longer than [`LONGEST_LINE`]: no message, but nothing of it is lost.
    pub oversized: bool,
}

/// Cuts one stream; keeps at most [`LONGEST_LINE`] bytes.
#[derive(Debug)]
pub struct Lines {
    /// The offset behind all that was taken.
    offset: u64,
    partial: Vec<u8>,
    /// Whether a piece of the present line was given already.
    within_oversized: bool,
    longest: usize,
    piece: usize,
}

impl Lines {
    /// Starts at an offset at which a line begins.
    #[must_use]
    pub const fn new(start_offset: u64) -> Self {
        Self { offset: start_offset, partial: Vec::new(), within_oversized: false, longest: LONGEST_LINE, piece: PIECE }
    }

    /// Takes the next bytes of the stream and gives the lines that they complete, in order.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let longest = if self.within_oversized { self.piece } else { self.longest };
            let room = longest - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(at) = window.iter().position(|b| *b == b'\n') {
                self.take(&bytes[..at]);
                self.offset += 1;
                bytes = &bytes[at + 1..];
                let oversized = std::mem::take(&mut self.within_oversized);
                lines.push(self.give(oversized));
            } else if window.len() < room {
                self.take(window);
                break;
            } else {
                self.take(window);
                bytes = &bytes[room..];
                self.within_oversized = true;
                self.pieces(&mut lines);
            }
        }
        lines
    }

    /// How many bytes are held back because their line is not complete.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.partial.len()
    }

    /// The end of the stream: gives what is left without a line feed.
    pub fn finish(&mut self) -> Option<Line> {
        let oversized = std::mem::take(&mut self.within_oversized);
        if self.partial.is_empty() { None } else { Some(self.give(oversized)) }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Gives what is held as pieces; the beginning of a character whose end has not come stays.
    fn pieces(&mut self, lines: &mut Vec<Line>) {
        let held = std::mem::take(&mut self.partial);
        let mut rest = held.as_slice();
        let mut offset = self.offset - held.len() as u64;
        while rest.len() >= self.piece {
            let (piece, after) = rest.split_at(whole_characters(&rest[..self.piece]));
            offset += piece.len() as u64;
            rest = after;
            lines.push(Line { end_offset: offset, bytes: piece.to_vec(), oversized: true });
        }
        self.partial = rest.to_vec();
    }

    fn give(&mut self, oversized: bool) -> Line {
        let mut bytes = std::mem::take(&mut self.partial);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { end_offset: self.offset, bytes, oversized }
    }
}

/// How many bytes there are up to the last character, if that one is cut; at least one.
fn whole_characters(bytes: &[u8]) -> usize {
    let from_end = (1..=bytes.len().min(4)).find(|back| !matches!(bytes[bytes.len() - back], 0x80..0xC0));
    let cut = from_end.is_some_and(|back| match bytes[bytes.len() - back] {
        0xC0..0xE0 => back < 2,
        0xE0..0xF0 => back < 3,
        0xF0.. => back < 4,
        _ => false,
    });
    match from_end {
        Some(back) if cut && back < bytes.len() => bytes.len() - back,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small(start: u64, longest: usize) -> Lines {
        Lines { longest, piece: longest.min(4), ..Lines::new(start) }
    }

    #[test]
    fn lines_know_where_they_end() {
        let mut lines = Lines::new(100);
        let mut got = lines.push("né".as_bytes());
        assert_eq!((got.len(), lines.pending()), (0, 3));
        got.extend(lines.push(b"w\r\n\nlast"));
        assert_eq!(lines.pending(), 4);
        got.extend(lines.finish());
        let line = |end_offset, text: &str| Line { end_offset, bytes: text.into(), oversized: false };
        assert_eq!(got, [line(106, "néw"), line(107, ""), line(111, "last")]);
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_that_is_too_long_comes_in_pieces() {
        let mut lines = small(0, 4);
        let got = lines.push(b"0123456789\nab\n");
        let text: Vec<_> = got.iter().map(|l| (l.end_offset, l.bytes.as_slice(), l.oversized)).collect();
        assert_eq!(text, [(4, &b"0123"[..], true), (8, b"4567", true), (11, b"89", true), (14, b"ab", false)]);
        let exact = small(0, 4).push(b"0123\nx\n");
        assert_eq!(exact.iter().map(|l| l.oversized).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn no_character_is_cut_by_the_pieces() {
        let text = "aé€𝄞".repeat(7);
        let mut lines = small(0, 8);
        let got = lines.push(format!("{text}\n").as_bytes());
        assert!(
            got.iter().all(|line| line.oversized && line.bytes.len() <= 4 && std::str::from_utf8(&line.bytes).is_ok())
        );
        assert_eq!(got.iter().flat_map(|line| line.bytes.clone()).collect::<Vec<_>>(), text.as_bytes());
        assert_eq!(got.last().map(|line| line.end_offset), Some(text.len() as u64 + 1));
        // What is no character at all is given all the same.
        let noise: Vec<u8> = small(0, 8).push(&[0xFF; 64]).iter().flat_map(|line| line.bytes.clone()).collect();
        assert!(noise.len() > 60);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0xC3), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1..20usize, 0..40),
        ) {
            let mut whole = small(7, 16);
            let mut expected = whole.push(&bytes);
            expected.extend(whole.finish());
            let mut lines = small(7, 16);
            let (mut rest, mut got) = (bytes.as_slice(), Vec::new());
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                got.extend(lines.push(chunk));
                prop_assert!(lines.pending() <= 16);
                rest = tail;
            }
            got.extend(lines.finish());
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(got.last().map_or(7, |l| l.end_offset), 7 + bytes.len() as u64);
        }
    }
}
