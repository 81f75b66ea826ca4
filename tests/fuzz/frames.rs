//! Bytes that should be frames: what is whole comes out, whatever the cuts; what is not is refused, and never for the price
//! of what it claims to be.

use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use wharf::tether::{
    frames::{Decoder, Frame, FrameError, Input, Output, encode, encode_json},
    messages::{
        Ack, Attach, Attached, Credit, End, Ended, Error, Exited, Hello, InputTaken, OfProcess, Ping, Processes, Req,
        Resize, Resolve, Resolved, SendSignal, Start, Waits, Welcome,
    },
};

use crate::{
    fuzz::fuzz,
    mutate::{Change, Edit, change, edit},
};

/// A piece of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// One of the given messages, with changes.
    Known(Index, Vec<Edit>),
    /// A frame of any kind with anything in it.
    Any(u8, Vec<u8>),
    /// A head that promises much.
    Head(u32, u8),
    Bytes(Vec<u8>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        8 => (any::<Index>(), prop::collection::vec(edit(), 0..3)).prop_map(|(which, edits)| Piece::Known(which, edits)),
        2 => (any::<u8>(), bytes()).prop_map(|(kind, bytes)| Piece::Any(kind, bytes)),
        1 => (any::<u32>(), any::<u8>()).prop_map(|(length, kind)| Piece::Head(length, kind)),
        1 => bytes().prop_map(Piece::Bytes),
    ]
}

/// Pieces, what is done to their bytes, and where the stream is cut.
pub(crate) fn stream() -> impl Strategy<Value = (Vec<Piece>, Vec<Change>, Vec<usize>)> {
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(change(), 1..3)];
    (prop::collection::vec(piece(), 1..20), changes, prop::collection::vec(1..200_usize, 1..20))
}

/// A message of the protocol: its kind, and its JSON or its bytes.
pub(crate) enum Message {
    Json(u8, Value),
    Raw(Vec<u8>),
}

pub(crate) fn bytes(pieces: &[Piece], changes: &[Change], known: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Known(which, edits) => match which.get(known) {
                Message::Raw(frame) => out.extend_from_slice(frame),
                Message::Json(kind, message) => {
                    let text = edits.iter().fold(message.to_string(), |text, edit| edit.apply(text));
                    // A payload beyond its kind's limit can't be written; it is refused by its head alone.
                    let _ = encode(&mut out, *kind, &[text.as_bytes()]);
                }
            },
            Piece::Any(kind, bytes) => encode(&mut out, *kind, &[bytes]).expect("it is short"),
            Piece::Head(length, kind) => {
                out.extend_from_slice(&length.to_le_bytes());
                out.push(*kind);
            }
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
    changes.iter().for_each(|change| change.apply(&mut out));
    out
}

/// Every message of both directions, with all fields set.
fn messages() -> Vec<Message> {
    use serde_json::json;
    use wharf::tether::frames::kind;
    let info = json!({"id": "p", "running": true, "exit": {"code": 1, "signal": null, "lost": false}, "last_input": 3,
        "stdout": {"start": 0, "end": 9}, "stderr": {"start": 0, "end": 0}});
    vec![
        Message::Json(kind::HELLO, json!({"version": 1, "client": "c"})),
        Message::Json(
            kind::WELCOME,
            json!({"version": 1, "tether": "t", "generation": "g", "boot_id": "b", "processes": [info]}),
        ),
        Message::Json(
            kind::START,
            json!({"req": 1, "id": "p", "argv": ["/bin/true"], "env": [["A", "b"]], "cwd": "/", "uid": 1000,
            "gid": 1000, "pty": {"rows": 24, "cols": 80}, "files": [{"path": "/x", "text": "y"}]}),
        ),
        Message::Json(kind::ATTACHED, json!({"req": 1, "info": info})),
        Message::Json(kind::ERROR, json!({"req": 1, "process": "p", "n": 2, "code": "invalid", "message": "m"})),
        Message::Json(kind::EXITED, json!({"process": "p", "exit": {"code": 1}})),
        Message::Json(kind::WAITS, json!({"process": "p", "reason": "r"})),
    ]
}

/// All frames until one is refused, and why; `held`: the most bytes that were held for the next frame.
fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(e) => return (frames, Some(e)),
            }
        }
    }
    (frames, None)
}

/// Every reading that either side would try.
fn read(frame: &Frame) {
    let _ = (Output::decode(frame), Input::decode(frame));
    macro_rules! all {
        ($($message:ty),*) => {{
            $(if let Ok(message) = frame.json::<$message>() {
                // What was understood can be said again.
                let mut out = Vec::new();
                let _ = encode_json(&mut out, frame.kind, &message);
            })*
        }};
    }
    all!(
        Ack, Attach, Attached, Credit, End, Ended, Error, Exited, Hello, InputTaken, OfProcess, Ping, Processes, Req,
        Resize, Resolve, Resolved, SendSignal, Start, Waits, Welcome
    );
}

#[test]
fn fuzz_frames_are_the_same_however_the_stream_is_cut() {
    let known = messages();
    fuzz("tether frames", &stream(), |(pieces, changes, cuts)| {
        let bytes = bytes(&pieces, &changes, &known);
        let whole = decode(std::iter::once(&bytes[..]));
        let single = decode(bytes.chunks(1));
        assert_eq!(whole, single, "byte by byte");
        let (mut rest, mut chunks, mut cut) = (&bytes[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cut.next().expect("it is a cycle")));
            chunks.push(now);
            rest = later;
        }
        assert_eq!(decode(chunks.into_iter()), whole);
        whole.0.iter().for_each(read);
        // What came out is what went in, up to where it was refused or is not whole.
        let mut again = Vec::new();
        for frame in &whole.0 {
            encode(&mut again, frame.kind, &[&frame.payload]).expect("it was within its limit");
        }
        assert!(bytes.starts_with(&again));
    });
}
