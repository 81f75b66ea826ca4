//! Bytes as base64 text: a list of numbers takes three times the room, and records are bounded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

/// Writes what there is.
pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| STANDARD_NO_PAD.encode(bytes)).serialize(to)
}

/// Reads what `serialize` wrote.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)).transpose()
}
