//! Tests of what leads where.

use std::{fs, os::unix::fs::symlink};

use super::{get::send_for_test, put::take_for_test, *};

struct Space {
    dir: tempfile::TempDir,
}

impl Space {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("w/sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("w/sub/a"), "inside").unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    fn place(&self, path: &str) -> Result<Place, Refusal> {
        Place::below(&[self.root().to_str().unwrap()], path)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>, &'static str> {
        let sent = self.place(path).and_then(|place| send_for_test(&place, false, 1000));
        let sent = sent.map_err(|Refusal(why, _)| why)?;
        let head = sent.iter().position(|&b| b == b'\n').unwrap();
        Ok(sent[head + 1..].to_vec())
    }

    fn put(&self, path: &str, tar: bool, bytes: &[u8]) -> Result<(u64, u64), &'static str> {
        let framed = [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes, &[0; 4]].concat();
        let framed = if bytes.is_empty() { vec![0; 4] } else { framed };
        let taken = self.place(path).and_then(|place| take_for_test(&place, tar, 4000, &framed));
        taken.map_err(|Refusal(why, _)| why)
    }
}

#[test]
fn what_leads_out_is_refused_and_what_leads_round_is_not() {
    let space = Space::new();
    let root = space.root();
    symlink("../secret", root.join("up")).unwrap();
    symlink(space.dir.path().join("secret"), root.join("abs")).unwrap();
    symlink("..", root.join("out")).unwrap();
    symlink("sub/a", root.join("round")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    assert_eq!(space.get("sub/a").unwrap(), b"inside");
    assert_eq!(space.get(root.join("sub/a").to_str().unwrap()).unwrap(), b"inside");
    assert_eq!(space.get("round").unwrap(), b"inside");
    for path in ["up", "abs", "out/secret", "loop", "../secret", "sub/../../secret", "/etc/passwd", "/workspacex"] {
        assert_eq!(space.get(path), Err("outside"), "{path}");
    }
    assert_eq!(space.get("none"), Err("not_found"));
    for path in ["out/new", "../new", "/etc/new"] {
        assert_eq!(space.put(path, false, b"x"), Err("outside"), "{path}");
    }
    assert!(!space.dir.path().join("new").exists());
    // A link in the place of a file is replaced, what it leads to stays.
    space.put("up", false, b"mine").unwrap();
    assert_eq!(fs::read(space.dir.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(root.join("up")).unwrap(), b"mine");
}

#[test]
fn without_openat2_no_link_is_followed() {
    let space = Space::new();
    symlink("sub", space.root().join("round")).unwrap();
    let open = |way: &str| {
        let root = space.place("").unwrap().root;
        step_by_step(Ok(root), Path::new(way), OFlags::RDONLY | OFlags::CLOEXEC)
    };
    assert!(open("sub/a").is_ok() && open(".").is_ok());
    assert!(open("round/a").is_err() && open("..").is_err() && open("sub/../..").is_err());
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let space = Space::new();
    let place = space.place("sub/new/file").unwrap();
    let half = [&8_u32.to_be_bytes()[..], b"half"].concat();
    assert_eq!(take_for_test(&place, false, 1000, &half).unwrap_err().0, "failed");
    let no_end = [&4_u32.to_be_bytes()[..], b"half"].concat();
    assert_eq!(take_for_test(&place, false, 1000, &no_end).unwrap_err().0, "failed");
    assert_eq!(take_for_test(&place, false, 3, &no_end).unwrap_err().0, "too_large");
    assert_eq!(fs::read_dir(space.root().join("sub/new")).unwrap().count(), 0, "no draft is left");
    assert_eq!(space.put("sub/new/file", false, b"whole").unwrap(), (1, 5));
    assert_eq!(space.get("sub/new/file").unwrap(), b"whole");
    assert_eq!(space.put("empty", false, b"").unwrap(), (1, 0));
    assert_eq!(space.put("sub", false, b"x"), Err("kind"));
    assert_eq!(space.put("", false, b"x"), Err("kind"));
    fs::write(space.root().join("big"), vec![0; 2000]).unwrap();
    assert_eq!(space.get("big"), Err("too_large"));
    assert_eq!(space.get(""), Err("too_large"), "in sum");
}

#[test]
fn a_directory_goes_out_and_in_as_an_archive() {
    let space = Space::new();
    symlink("a", space.root().join("sub/link")).unwrap();
    symlink("/etc/passwd", space.root().join("sub/abs")).unwrap();
    let archive = space.get("sub").unwrap();
    let names = |bytes: &[u8]| -> Vec<String> {
        let mut tar = tar::Archive::new(bytes);
        tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
    };
    assert_eq!(names(&archive), [".", "a", "abs", "link"], "links are carried as links");
    fs::remove_file(space.root().join("sub/abs")).unwrap();
    let archive = space.get("sub").unwrap();
    assert_eq!(space.put("copy/deep", true, &archive).unwrap(), (2, 6));
    assert_eq!(fs::read(space.root().join("copy/deep/link")).unwrap(), b"inside");
}

#[test]
fn an_archive_s_entries_stay_in_the_directory() {
    let space = Space::new();
    let archive = |path: &str, kind: tar::EntryType, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, io::empty()).unwrap();
        tar.into_inner().unwrap()
    };
    use tar::EntryType::{Fifo, Link, Regular, Symlink};
    for (path, kind, target, why) in [
        ("../new", Regular, "", "outside"),
        ("/new", Regular, "", "outside"),
        ("a/../../new", Regular, "", "outside"),
        ("l", Symlink, "/etc", "outside"),
        ("l", Symlink, "../../..", "outside"),
        ("f", Fifo, "", "archive"),
        ("h", Link, "a", "archive"),
    ] {
        assert_eq!(space.put("sub", true, &archive(path, kind, target)), Err(why), "{path} {target}");
    }
    assert_eq!(space.put("sub", true, b"no archive at all"), Err("archive"));
    // A link that was there before leads no further than one in a path.
    symlink("..", space.root().join("out")).unwrap();
    assert_eq!(space.put("", true, &archive("out/new", Regular, "")), Err("outside"));
    assert!(!space.dir.path().join("new").exists());
}
