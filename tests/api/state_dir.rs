//! The state directory: one daemon each, and a store that can't be read is left as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use super::support::Daemon;

/// All files with their bytes, but for the lock, which names the last process that tried.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && path.file_name().is_some_and(|name| name != "lock") {
            found.insert(path.display().to_string(), std::fs::read(&path).expect("its bytes"));
        }
    }
    found
}

async fn run(daemon: &Daemon) -> (Output, String) {
    let mut command = tokio::process::Command::from(daemon.command());
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(super::support::PATIENCE, output).await.expect("it ends").expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_and_the_first_is_unharmed() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:first").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 10").await;
    events.until(|e| e.chunk().is_some()).await;
    let (output, said) = run(&daemon).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another wharf daemon"), "{said}");
    assert!(said.contains(&daemon.pid().to_string()), "whose process it names: {said}");
    assert!(said.contains(&daemon.state().display().to_string()), "{said}");
    let (text, end) = events.turn(n).await;
    assert!(text.ends_with("chunk 10 ") && end["status"] == "done", "{text} {end}");
    client.get("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_can_not_be_read_is_refused_by_name_and_left_as_it_is() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:store").await;
    client.turn(&id, "echo kept").await;
    daemon.stop();
    let store = daemon.state().join("store.json");
    let whole = std::fs::read(&store).expect("its description");
    let text = String::from_utf8(whole.clone()).expect("text");
    let registry = daemon.state().join("registry/db");
    let records = std::fs::read(&registry).expect("the registry");
    let mut broken = records.clone();
    // sled's pages begin after its header; a byte in the middle of what is written.
    let written = broken.iter().rposition(|byte| *byte != 0).expect("something") / 2;
    broken[written] ^= 0xff;
    let cases = [
        (&store, text.replace("\"format\": 2", "\"format\": 99").into_bytes(), "format 99", "newer wharf"),
        (&store, whole[..whole.len() / 2].to_vec(), "store.json", "backup"),
        (&store, text.replace("\"format\": 2", "\"format\": 0").into_bytes(), "store.json", "Nothing was changed"),
        (&registry, broken, "registry", "backup"),
        (&registry, records[..records.len() / 2].to_vec(), "registry", "backup"),
    ];
    for (path, bytes, names, advises) in cases {
        let right = std::fs::read(path).expect("its bytes");
        assert_ne!(right, bytes, "the damage is one");
        std::fs::write(path, &bytes).expect("damaged");
        let before = files(daemon.state());
        let (output, said) = run(&daemon).await;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(names) && said.contains(advises), "{names}, {advises}: {said}");
        assert!(said.contains(&daemon.state().display().to_string()), "{said}");
        let after = files(daemon.state());
        let changed: Vec<_> = after.keys().chain(before.keys()).filter(|k| before.get(*k) != after.get(*k)).collect();
        assert!(changed.is_empty(), "{said} changed {changed:?}");
        std::fs::write(path, right).expect("mended");
    }
    daemon.start_again().await;
    let client = daemon.client();
    assert_eq!(client.turn(&id, "recall").await.0.trim(), "echo kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_can_not_be_is_told_with_its_line() {
    for (config, says) in [
        ("listne = \"x\"\n", "line 1"),
        ("\n[agents.x]\nprotocl = \"acp\"\n", "line 3"),
        ("listen = \"0.0.0.0:1\"\n", "loopback"),
        ("engine = \"ftp://x\"\n", "ftp"),
        ("[agents.X]\n", "agents.X"),
        ("[log]\nlevel = \"=\"\n", "log.level"),
    ] {
        let daemon = Daemon::prepared(&[], Some(config));
        let mut command = daemon.command();
        if config.starts_with("listen") {
            let listen = ["--listen".as_ref(), "127.0.0.1:0".as_ref()];
            let args: Vec<_> = command.get_args().filter(|a| !listen.contains(a)).map(ToOwned::to_owned).collect();
            command = std::process::Command::new(command.get_program());
            command.args(args);
        }
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{config}: {says}: {said}");
        assert!(!daemon.state().join("store.json").exists(), "nothing is made");
    }
}
