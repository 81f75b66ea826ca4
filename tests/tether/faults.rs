//! Faults: tether killed, its keeper killed, its journal torn, the container gone.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use wharf::tether::client::{Connect, ConnectError, ProcessEvent, Stream};

use crate::support::*;

fn keeper(id: &str, tether: u32) -> u32 {
    let output =
        Command::new("pgrep").args(["-P", &tether.to_string(), "-f", &format!("^wharf-tether keep {id}$")]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tether_knows_what_the_killed_one_held() {
    let mut tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("p", "echo $$; sleep 1000 & echo $!; cat; echo never")).await.unwrap();
    client.run(sh("q", "echo done; exit 9")).await;
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let pids = lines(&mut attachment, 2).await;
    client.input("p", 1, true, "hello\n").await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["hello"]);
    let generation = client.generation();

    tether.kill_and_restart(|state| {
        // As if the machine had died in the middle of a record.
        let segment = state.join("processes/p/stdout.00000000000000000000");
        OpenOptions::new().append(true).open(segment).unwrap().write_all(&[1; 37]).unwrap();
    });
    // The client finds its way back by itself.
    let end = within(attachment.events.recv()).await;
    assert_eq!(end, Some(ProcessEvent::Exited { code: None, signal: None, lost: true }));
    assert_ne!(client.generation(), generation);
    assert!(client.is_connected());
    // Nobody of the old tether's runs on: its keepers have seen to that.
    until("the lost process is gone", || !pids.iter().any(|pid| is_alive(pid))).await;

    let attachment = client.attach("p", 0, 0).await.unwrap();
    assert_eq!((attachment.running, attachment.last_input), (false, 1));
    let lost = finish(attachment).await;
    assert_eq!((lost.text(), lost.lost), (format!("{}\nhello\n", pids.join("\n")).as_str(), true));
    let kept = finish(client.attach("q", 0, 0).await.unwrap()).await;
    assert_eq!((kept.text(), kept.code, kept.lost), ("done\n", Some(9), false));
    // A lost id is not started again behind anybody's back.
    client.start(sh("p", "echo again")).await.unwrap();
    assert!(!client.list().await.unwrap().iter().any(|info| info.running));
    for id in ["p", "q"] {
        client.forget(id).await.unwrap();
    }
    assert_eq!(fs::read_dir(tether.state().join("processes")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_keeper_takes_its_tree_along() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("other", "cat; exit 0")).await.unwrap();
    client.start(sh("p", "echo $$; setsid sleep 1000 & echo $!; cat")).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let pids = lines(&mut attachment, 2).await;
    signal(keeper("p", tether.pid()), "KILL");
    let so_far = Finished { stdout: (pids.join("\n") + "\n").into_bytes(), ..Finished::default() };
    let done = finish_from(attachment, so_far).await;
    assert!(done.lost && done.code.is_none());
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    client.close_stdin("other").await.unwrap();
    assert_eq!(finish(client.attach("other", 0, 0).await.unwrap()).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_it_ends_everything_and_records_it() {
    let mut tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("p", "trap 'echo bye; exit 21' TERM; echo $$; sleep 1000 & echo $!; wait")).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let pids = lines(&mut attachment, 2).await;
    assert!(tether.terminate().success());
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    let meta = fs::read_to_string(tether.state().join("processes/p/meta")).unwrap();
    assert!(meta.contains(r#""code":21"#), "{meta}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tether_on_the_same_state_is_refused() {
    let tether = Tether::start();
    let _client = tether.client().await;
    let second = Command::new(binary())
        .args(["serve", "--state", tether.state().to_str().unwrap(), "--socket"])
        .arg(tether.dir.path().join("run/second.sock"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains("another tether serves"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_without_a_tether_says_so() {
    let output = Command::new(binary()).args(["connect", "--socket", "/nonexistent/tether.sock"]).output().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no tether serves at /nonexistent/tether.sock"), "{message}");
}

struct Vanishing {
    inner: UnixConnector,
    gone: Arc<AtomicBool>,
}

impl Connect for Vanishing {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        if self.gone.load(Ordering::Relaxed) {
            return Box::pin(async { Err(ConnectError::Gone("the container is gone".to_owned())) });
        }
        self.inner.connect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_container_is_gone_everybody_is_told() {
    let mut tether = Tether::start();
    let gone = Arc::new(AtomicBool::new(false));
    let client = Client::new(Vanishing { inner: UnixConnector(tether.socket()), gone: Arc::clone(&gone) }).await;
    client.start(sh("p", "echo hello; cat")).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["hello"]);
    let closed = client.closed();
    gone.store(true, Ordering::Relaxed);
    tether.terminate();
    within(closed).await;
    loop {
        match within(attachment.events.recv()).await {
            Some(ProcessEvent::Exited { .. }) => break,
            Some(ProcessEvent::Detached { reason }) => {
                assert!(reason.contains("the container is gone"), "{reason}");
                break;
            }
            other => assert!(matches!(other, Some(ProcessEvent::Output { .. })), "{other:?}"),
        }
    }
    assert!(!client.is_connected());
    assert_gone(&client.list().await);
    assert_gone(&client.start(sh("q", "true")).await);
    assert_gone(&client.attach("p", 0, 0).await.map(|_| ()));
    assert_gone(&client.input("p", 1, false, "x").await);
    client.stop().await;
}
