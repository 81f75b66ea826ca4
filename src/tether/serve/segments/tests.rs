//! Whatever is appended comes back from any offset, over any restart and acknowledgement; torn tails are cut.

use proptest::prelude::*;

use super::*;

fn append(log: &mut StreamLog, bytes: &[u8], time: i64) {
    let mut record = vec![0; HEADER];
    record.extend_from_slice(bytes);
    log.append(&mut record, time).unwrap();
}

fn read_from(log: &StreamLog, offset: u64) -> Vec<u8> {
    let (mut cursor, mut buffer, mut all) = (Cursor::at(offset), Vec::new(), Vec::new());
    while let Some(piece) = log.read(&mut cursor, &mut buffer).unwrap() {
        assert_eq!(piece.offset, offset + all.len() as u64);
        all.extend_from_slice(&buffer[piece.from..piece.to]);
    }
    all
}

fn pattern(n: usize, seed: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from((i * 7 + seed * 13) % 251).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_appended_comes_back(
        sizes in prop::collection::vec(prop_oneof![1usize..300, 40_000usize..=MAX_OUTPUT], 1..60),
        reopen_at in 0usize..60, ack in 0.0f64..1.0, from in 0.0f64..1.0,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = StreamLog::new(dir.path().to_owned(), "out");
        let mut all = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            if i == reopen_at {
                log = StreamLog::open(dir.path().to_owned(), "out").unwrap();
                prop_assert_eq!(log.span().end, all.len() as u64);
                break;
            }
            let bytes = pattern(*size, i);
            append(&mut log, &bytes, 5);
            all.extend_from_slice(&bytes);
        }
        let acked = (all.len() as f64 * ack) as u64;
        log.ack(acked).unwrap();
        prop_assert!(log.span().start <= acked);
        prop_assert!(acked - log.span().start <= SEGMENT + MAX_OUTPUT as u64);
        let from = acked + ((all.len() as u64 - acked) as f64 * from) as u64;
        prop_assert_eq!(read_from(&log, from), &all[usize::try_from(from).unwrap()..]);
        let again = StreamLog::open(dir.path().to_owned(), "out").unwrap();
        prop_assert_eq!(again.span(), log.span());
        prop_assert_eq!(read_from(&again, from), &all[usize::try_from(from).unwrap()..]);
    }

    #[test]
    fn a_torn_tail_is_cut_to_whole_records(cut in 0usize..2000, noise in prop::collection::vec(any::<u8>(), 0..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = StreamLog::new(dir.path().to_owned(), "out");
        let mut ends = vec![(0, 0)];
        for i in 0..12 {
            append(&mut log, &pattern(100 + i, i), 5);
            ends.push((log.segments[0].len, log.end));
        }
        let all = read_from(&log, 0);
        let path = log.path(0);
        let mut file = fs::read(&path).unwrap();
        file.truncate(cut);
        file.extend_from_slice(&noise);
        let untouched = fs::read(&path).unwrap() == file;
        fs::write(&path, &file).unwrap();
        let log = StreamLog::open(dir.path().to_owned(), "out").unwrap();
        if !untouched {
            let whole = ends.iter().rfind(|(len, _)| *len <= cut as u64).unwrap().1;
            prop_assert_eq!(log.span(), Span { start: 0, end: whole });
        }
        let kept = read_from(&log, 0);
        prop_assert_eq!(&kept[..], &all[..kept.len()]);
    }
}

#[test]
fn a_flipped_bit_ends_the_journal_there_and_later_segments_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = StreamLog::new(dir.path().to_owned(), "err");
    for i in 0..40 {
        append(&mut log, &pattern(MAX_OUTPUT, i), 5);
    }
    assert_eq!(log.segments.len(), 3);
    let second = log.path(log.segments[1].start);
    let mut bytes = fs::read(&second).unwrap();
    let at = HEADER + MAX_OUTPUT + HEADER + 5;
    bytes[at] ^= 1;
    fs::write(&second, bytes).unwrap();
    let whole = log.segments[1].start + MAX_OUTPUT as u64;
    let log = StreamLog::open(dir.path().to_owned(), "err").unwrap();
    assert_eq!(log.span(), Span { start: 0, end: whole });
    assert_eq!(read_from(&log, 0).len() as u64, whole);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_acknowledgement_beyond_the_end_or_below_the_last_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = StreamLog::new(dir.path().to_owned(), "out");
    append(&mut log, b"hello", 5);
    log.ack(1000).unwrap();
    log.ack(2).unwrap();
    assert_eq!((log.unacked(), log.span()), (0, Span { start: 0, end: 5 }));
    append(&mut log, b"!", 6);
    assert_eq!(read_from(&log, 5), b"!");
}
