//! Cuts a text that no event could hold: an agent's line may be of any bytes, and JSON writes some of them as six.

/// The longest text of one event, in bytes: no record of the store is much larger.
const PIECE: usize = 256 << 10;

/// The text whole, or where it is too long in pieces that nothing is missing between.
pub(super) fn in_pieces(text: String) -> impl Iterator<Item = String> {
    let (mut whole, mut at) = if text.len() <= PIECE { (Some(text), None) } else { (None, Some((text, 0))) };
    std::iter::from_fn(move || {
        if let Some(text) = whole.take() {
            return Some(text);
        }
        let (text, from) = at.as_mut()?;
        let to = text.floor_char_boundary(*from + PIECE);
        let piece = text[*from..to].to_owned();
        *from = to;
        if to == text.len() {
            at = None;
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
            assert!(pieces.len() <= text.len() / (PIECE - 3) + 1, "{} of {}", pieces.len(), text.len());
        }
    }
}
