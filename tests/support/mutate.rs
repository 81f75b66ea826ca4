//! What a fuzzer does to input that was right: to its bytes, and to the values of a JSON text.
#![allow(dead_code, reason = "each test program uses a part of it")]

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

/// A change of bytes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
}

/// Bytes that mean something to a parser of text.
const TELLING: [&[u8]; 14] = [
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3",
    b"{",
    b"\"",
    b":",
    b" ",
    b"%",
    b"\xef\xbb\xbf",
    b"\\ud800",
];

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..9),
        (0..TELLING.len()).prop_map(|which| TELLING[which].to_vec()),
    ];
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        3 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Change::Delete(at, count)),
        1 => (any::<Index>(), 1..40_usize, 1..400_usize).prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        1 => any::<Index>().prop_map(Change::Cut),
    ]
}

impl Change {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + 1;
        let range = |at: &Index, count: usize, len: usize| {
            let from = at.index(end);
            from..(from + count).min(len)
        };
        match self {
            Self::Flip(at, byte) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Self::Insert(at, more) => {
                bytes.splice(at.index(end)..at.index(end), more.iter().copied());
            }
            Self::Delete(at, count) => {
                bytes.drain(range(at, *count, bytes.len()));
            }
            Self::Repeat(at, count, times) => {
                let range = range(at, *count, bytes.len());
                let part = bytes[range.clone()].repeat(*times);
                bytes.splice(range.end..range.end, part);
            }
            Self::Cut(at) => bytes.truncate(at.index(end)),
        }
    }
}

/// JSON that is seldom meant: as text, since a parsed number could not be so large.
pub(crate) fn odd() -> impl Strategy<Value = String> {
    let nested = |open: &'static str, close: &'static str| {
        prop_oneof![Just(100_usize), Just(127), Just(128), Just(10_000), Just(200_000)]
            .prop_map(move |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth)))
    };
    let plain = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e3",
        "1e400",
        "-1e400",
        "1e-400",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "99999999999999999999999999999999",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"../../etc/passwd\"",
        "\"\\n\\r\\t\\u001b[2J\"",
        "[]",
        "{}",
        "[null]",
        "[[],{},\"x\"]",
        "{\"\":{}}",
        "{\"type\":\"text\",\"text\":5}",
        "\"text\"",
        "\"cancelled\"",
        "NaN",
        "01",
        "'x'",
        "\"\u{feff}é\u{202e}x\"",
    ]);
    prop_oneof![
        12 => plain.prop_map(str::to_owned),
        1 => nested("[", "]"),
        1 => nested("{\"a\":", "}"),
        1 => (1..20_000_usize).prop_map(|count| format!("\"{}\"", "é".repeat(count))),
        1 => (1..2_000_usize).prop_map(|count| format!("[{}0]", "null,".repeat(count))),
        2 => any::<f64>().prop_map(|number| number.to_string()),
    ]
}

/// A change of a JSON text.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// A value becomes another.
    Retype(Index, String),
    /// A field goes.
    Drop(Index),
    /// An object gets a field that is not known, or one of its own again.
    Add(Index, String, String),
    /// A value takes the place of another.
    Move(Index, Index),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (any::<Index>(), odd()).prop_map(|(at, odd)| Edit::Retype(at, odd)),
        2 => any::<Index>().prop_map(Edit::Drop),
        1 => (any::<Index>(), "[a-zA-Z_]{0,6}", odd()).prop_map(|(at, name, odd)| Edit::Add(at, name, odd)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Move(from, to)),
    ]
}

/// Stands for a text that no `Value` could hold.
const MARK: &str = "\u{1}here\u{1}";

impl Edit {
    /// The changed text; one that is no JSON, or that has no place for the change, stays as it is.
    pub(crate) fn apply(&self, text: String) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return text };
        let mut places = Vec::new();
        pointers(&value, String::new(), &mut places);
        let place = |at: &Index| places[at.index(places.len())].as_str();
        let odd = match self {
            Self::Retype(at, odd) => {
                *value.pointer_mut(place(at)).expect("a place") = MARK.into();
                odd
            }
            Self::Add(at, name, odd) => {
                let Some(Value::Object(map)) = value.pointer_mut(place(at)) else { return text };
                map.insert(name.clone(), MARK.into());
                odd
            }
            Self::Move(from, to) => {
                let moved = value.pointer(place(from)).expect("a place").clone();
                *value.pointer_mut(place(to)).expect("a place") = moved;
                return value.to_string();
            }
            Self::Drop(at) => {
                let Some((parent, name)) = place(at).rsplit_once('/') else { return text };
                match value.pointer_mut(parent).expect("a place") {
                    Value::Object(map) => drop(map.remove(&name.replace("~1", "/").replace("~0", "~"))),
                    Value::Array(list) => drop(list.remove(name.parse().expect("an index"))),
                    _ => {}
                }
                return value.to_string();
            }
        };
        value.to_string().replace(&Value::from(MARK).to_string(), odd)
    }
}

/// The places of all values in a message.
pub(crate) fn pointers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}
