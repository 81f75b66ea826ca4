//! Cuts a text that no event could hold: an agent's line may be of any bytes, and JSON writes some of them as six.

/// The longest text of one event, in bytes.
const PIECE: usize = 4 << 20;

/// The text whole, or where it is too long in pieces that nothing is missing between.
pub(super) fn in_pieces(text: String) -> impl Iterator<Item = String> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let mut piece = rest.take()?;
        if piece.len() > PIECE {
            rest = Some(piece.split_off(piece.floor_char_boundary(PIECE)));
        }
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_no_character_is_cut() {
        for text in [String::new(), "short".to_owned(), "\u{20ac}".repeat(PIECE), "x".repeat(2 * PIECE - 1)] {
            let pieces: Vec<String> = in_pieces(text.clone()).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE) && pieces.concat() == text);
            assert!(pieces.len() <= text.len() / PIECE + 1, "{} of {}", pieces.len(), text.len());
        }
    }
}
