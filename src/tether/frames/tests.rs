//! Frames survive any cut of the stream, and no bytes make the decoder panic or allocate without bound.

use proptest::prelude::*;

use super::*;

fn id() -> impl Strategy<Value = String> {
    "[a-z0-9_-]{1,96}"
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_frames(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..400)), 0..20),
        cuts in prop::collection::vec(1usize..60, 1..40),
    ) {
        let mut bytes = Vec::new();
        for (kind, payload) in &frames {
            encode(&mut bytes, *kind, &[payload]).unwrap();
        }
        let (mut decoder, mut got, mut rest, mut cuts) = (Decoder::default(), Vec::new(), &bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            decoder.push(now);
            rest = later;
            while let Some(frame) = decoder.next_frame().unwrap() {
                got.push((frame.kind, frame.payload));
            }
        }
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn noise_is_refused_or_read_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let _ = Output::decode(&frame);
            let _ = Input::decode(&frame);
            let _ = frame.json::<crate::tether::messages::Welcome>();
        }
    }

    #[test]
    fn output_and_input_read_themselves_back(
        id in id(), offset in any::<u64>(), time in any::<i64>(), bytes in prop::collection::vec(any::<u8>(), 1..2000), flag in any::<bool>(),
    ) {
        let (mut wire, mut decoder) = (Vec::new(), Decoder::default());
        let stream = if flag { Stream::Stderr } else { Stream::Stdout };
        let output = Output { process: &id, stream, offset, time, bytes: &bytes };
        let input = Input { process: &id, n: offset, mark: flag, bytes: &bytes };
        output.encode(&mut wire).unwrap();
        input.encode(&mut wire).unwrap();
        decoder.push(&wire);
        let (first, second) = (decoder.next_frame().unwrap().unwrap(), decoder.next_frame().unwrap().unwrap());
        prop_assert_eq!(Output::decode(&first).unwrap(), output);
        prop_assert_eq!(Input::decode(&second).unwrap(), input);
    }
}

#[test]
fn lengths_beyond_the_kinds_limit_are_refused_from_the_header_alone() {
    let mut decoder = Decoder::default();
    decoder.push(&u32::try_from(MAX_PAYLOAD + 2).unwrap().to_le_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(&[kind::OUTPUT]);
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { kind: kind::OUTPUT, len: MAX_PAYLOAD + 1 }));
    let mut decoder = Decoder::default();
    decoder.push(&u32::try_from(MAX_PAYLOAD + 2).unwrap().to_le_bytes());
    decoder.push(&[kind::INPUT]);
    assert_eq!(decoder.next_frame(), Ok(None));
    let mut decoder = Decoder::default();
    decoder.push(&[0; 4]);
    assert_eq!(decoder.next_frame(), Err(FrameError::Empty));
    let mut out = vec![7];
    assert!(encode(&mut out, kind::PING, &[&vec![0; MAX_PAYLOAD + 1]]).is_err());
    assert_eq!(out, [7]);
}

#[test]
fn ids_that_could_leave_their_directory_are_refused() {
    for bad in ["", ".", "..", "a/b", "A", "a b", "ü", &"x".repeat(97)] {
        assert!(!is_process_id(bad), "{bad:?}");
        assert!(Input { process: bad, n: 1, mark: false, bytes: b"x" }.encode(&mut Vec::new()).is_err(), "{bad:?}");
    }
    assert!(is_process_id(&"x".repeat(96)));
}
