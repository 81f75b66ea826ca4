//! A byte changed anywhere: the store refuses to open and stays as it is, or serves what was written. It never panics
//! and never loses anything without a word.

mod store_common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use store_common::{batch, copy, files, hash, open, progress, prompt, run, session, sized_run};
use wharf::domain::{PromptState, SessionId, SessionRecord};
use wharf::store::{Options, Store, StoreError};

/// A store with something in every part, some of it in tables (the small memtables are overrun) and some in journals.
fn sample(dir: &Path, ids: &[SessionId]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(dir, Options { events_memtable: 256 * 1024, ..Options::default() }).unwrap();
    runtime.block_on(async {
        for (i, id) in ids.iter().enumerate() {
            let keyed = SessionRecord { key: Some(format!("app:{i}").parse().unwrap()), ..session(id) };
            store
                .commit(batch(|b| {
                    b.put_session(keyed);
                }))
                .await
                .unwrap();
            for seq in 1..=20 {
                let next = if seq % 2 == 0 { sized_run(id, seq, 30_000) } else { run(id, seq, 1) };
                let b = batch(|b| {
                    b.append(id.clone(), &next);
                    b.put_progress(id.clone(), progress(seq)).put_prompt(id.clone(), prompt(seq, PromptState::Done));
                });
                store.commit(b).await.unwrap();
            }
        }
        store.close().await.unwrap();
    });
}

/// Everything that the store says.
fn read(store: &Store, ids: &[SessionId]) -> Result<String, StoreError> {
    let mut said = format!("{}", store.instance());
    for (i, id) in ids.iter().enumerate() {
        let parts = (
            store.session(id)?,
            store.session_by_key(&format!("app:{i}").parse().unwrap())?,
            store.progress(id)?,
            store.runs(id, 0, usize::MAX)?,
            store.prompts(id, 0, 100)?,
        );
        said += &format!("{parts:?}");
    }
    Ok(said + &format!("{:?}", store.sessions(None, 100)?))
}

/// What became of a damaged store.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused,
    Right,
}

/// The paths of the files of `a` that `b` does not have, or has with other contents.
fn without<'a>(a: &'a [(PathBuf, Vec<u8>)], b: &[(PathBuf, Vec<u8>)]) -> Vec<&'a Path> {
    a.iter().filter(|file| !b.contains(file)).map(|(path, _)| path.as_path()).collect()
}

fn try_damaged(dir: &Path, ids: &[SessionId], right: &str, what: &str) -> Outcome {
    let before = hash(dir);
    match Store::open(dir, Options::default()) {
        Err(StoreError::Locked { .. } | StoreError::Closed | StoreError::Failed { .. }) => panic!("{what}"),
        Err(_) => {
            let after = hash(dir);
            let changed = (without(&before, &after), without(&after, &before));
            assert!(before == after, "{what}: refused, but these were changed: {changed:?}");
            Outcome::Refused
        }
        Ok(store) => match read(&store, ids) {
            Err(_) => Outcome::Refused,
            Ok(said) => {
                assert!(said == right, "{what}: lost something without a word");
                Outcome::Right
            }
        },
    }
}

/// A few places of a file: its beginning, its end, and some between, that hold data.
fn places(bytes: &[u8]) -> Vec<usize> {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let mut found: Vec<usize> = (0..end.min(8)).chain(end.saturating_sub(10)..end).collect();
    found.extend((1..8).map(|i| end * i / 8));
    found.sort_unstable();
    found.dedup();
    found.retain(|at| *at < bytes.len());
    found
}

#[test]
fn a_changed_byte_is_refused_or_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<SessionId> = (0..3).map(|_| SessionId::new("demo")).collect();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    sample(&good, &ids);
    let right = { read(&open(&good), &ids).unwrap() };
    let (mut refused, mut fine) = (0, 0);
    for path in files(&good) {
        let name = path.strip_prefix(&good).unwrap();
        if name == Path::new("lock") {
            continue;
        }
        for at in places(&fs::read(&path).unwrap()) {
            copy(&good, &bad);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 0x5a;
            fs::write(bad.join(name), bytes).unwrap();
            match try_damaged(&bad, &ids, &right, &format!("{} byte {at}", name.display())) {
                Outcome::Refused => refused += 1,
                Outcome::Right => fine += 1,
            }
            fs::remove_dir_all(&bad).unwrap();
        }
    }
    assert!(refused > 50 && fine > 0, "{refused} refused, {fine} fine");
}

#[test]
fn a_file_cut_short_is_refused_or_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<SessionId> = (0..2).map(|_| SessionId::new("demo")).collect();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    sample(&good, &ids);
    let right = { read(&open(&good), &ids).unwrap() };
    for path in files(&good) {
        let name = path.strip_prefix(&good).unwrap();
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        for len in [0, end / 2, end.saturating_sub(1)] {
            if name == Path::new("lock") || len == bytes.len() {
                continue;
            }
            copy(&good, &bad);
            fs::write(bad.join(name), &bytes[..len]).unwrap();
            try_damaged(&bad, &ids, &right, &format!("{} cut to {len}", name.display()));
            fs::remove_dir_all(&bad).unwrap();
        }
    }
}

#[test]
fn a_torn_last_write_is_cut_off_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let ids = [SessionId::new("demo")];
    sample(dir.path(), &ids);
    let right = { read(&open(dir.path()), &ids).unwrap() };
    let journal = files(dir.path()).into_iter().rfind(|p| p.extension().is_some_and(|e| e == "jnl")).unwrap();
    let whole = fs::read(&journal).unwrap();
    let end = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
    // The beginning of another batch: the head of the first one again.
    for torn in [1, 5, 13, 20, 60] {
        let bytes = [&whole[..end], &whole[..torn]].concat();
        fs::write(&journal, bytes).unwrap();
        assert_eq!(read(&open(dir.path()), &ids).unwrap(), right, "torn at {torn}");
    }
}

#[test]
fn a_last_write_of_which_the_middle_is_missing_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let ids = [SessionId::new("demo")];
    sample(dir.path(), &ids);
    let journal = files(dir.path()).into_iter().rfind(|p| p.extension().is_some_and(|e| e == "jnl")).unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    bytes[end - 600..end - 500].fill(0);
    fs::write(&journal, bytes).unwrap();
    // With the witness it is known to have been acknowledged, so this is no torn write.
    let before = hash(dir.path());
    assert!(matches!(Store::open(dir.path(), Options::default()), Err(StoreError::Unreadable { .. })));
    assert!(hash(dir.path()) == before);
    fs::remove_file(dir.path().join("witness")).unwrap();
    let store = open(dir.path());
    assert_eq!(store.progress(&ids[0]).unwrap(), Some(progress(19)));
    assert_eq!(store.runs(&ids[0], 20, 1).unwrap(), []);
    assert_eq!(store.prompt(&ids[0], 20).unwrap(), None);
}
