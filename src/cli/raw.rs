//! The user's own terminal, given over to another one: raw while this lives, as it was afterwards, however it ends.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// What is typed between line starts: `~.` leaves, `~~` is a tilde.
const ESCAPE: u8 = b'~';

/// A terminal in raw mode.
#[derive(Debug)]
pub(super) struct Raw(Termios);

impl Raw {
    /// Whether there is a person at a terminal.
    pub(super) fn possible() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Every key goes through from now on.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }

    /// Columns and rows.
    pub(super) fn size() -> (u16, u16) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (size.ws_col.min(1000), size.ws_row.min(1000)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Looks for the way out in what is typed: `~.` at the start of a line.
#[derive(Debug)]
pub(super) struct Escape {
    line_start: bool,
    held: bool,
}

impl Default for Escape {
    fn default() -> Self {
        Self { line_start: true, held: false }
    }
}

impl Escape {
    /// What of it is to be sent on; and whether the user wants out.
    pub(super) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            if std::mem::take(&mut self.held) {
                match byte {
                    b'.' => return (out, true),
                    ESCAPE => {}
                    _ => out.push(ESCAPE),
                }
                out.push(byte);
            } else if byte == ESCAPE && self.line_start {
                self.held = true;
            } else {
                out.push(byte);
            }
            self.line_start = matches!(byte, b'\r' | b'\n');
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, bool) {
        let (mut escape, mut all) = (Escape::default(), Vec::new());
        for piece in pieces {
            let (out, leave) = escape.take(piece.as_bytes());
            all.extend(out);
            if leave {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    #[test]
    fn a_tilde_and_a_dot_at_the_start_of_a_line_lead_out() {
        assert_eq!(typed(&["~."]), (String::new(), true));
        assert_eq!(typed(&["ls\r", "~", ".x"]), ("ls\r".into(), true));
        assert_eq!(typed(&["cd ~.\r"]), ("cd ~.\r".into(), false));
        assert_eq!(typed(&["~~.\r"]), ("~.\r".into(), false));
        assert_eq!(typed(&["~x~."]), ("~x~.".into(), false));
        assert_eq!(typed(&["a\r~/bin/b\r"]), ("a\r~/bin/b\r".into(), false));
    }
}
