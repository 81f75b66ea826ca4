//! Ending: nothing is left, not even what daemonised itself; and nothing else is touched.

use std::time::{Duration, Instant};

use wharf::tether::client::TetherError;

use crate::support::*;

/// Prints the pid of a sleep that has left its session, its group and its parent.
const DAEMON: &str = "setsid sh -c 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $!' & wait $!";

#[tokio::test(flavor = "multi_thread")]
async fn ending_reaches_what_has_daemonised_itself() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("p", &format!("{DAEMON}; echo $$; exec cat"))).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let pids = lines(&mut attachment, 2).await;
    assert!(pids.iter().all(|pid| is_alive(pid)));
    let ended = client.end("p", false, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ended.killed, 2);
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    let so_far = Finished { stdout: (pids.join("\n") + "\n").into_bytes(), ..Finished::default() };
    assert_eq!(finish_from(attachment, so_far).await.signal, Some(15));
    assert_eq!(client.end("p", false, Duration::ZERO).await.unwrap().killed, 0);
    assert!(matches!(client.end("q", false, Duration::ZERO).await, Err(TetherError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_exits_leaves_nothing_behind() {
    let tether = Tether::start();
    let client = tether.client().await;
    let done = client.run(sh("p", &format!("{DAEMON}; sleep 1000 & echo $!; exit 3"))).await;
    assert_eq!(done.code, Some(3));
    assert_eq!(done.text().lines().count(), 2);
    assert!(!done.text().lines().any(is_alive));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_sigterm_gets_its_grace_and_no_more() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("p", "trap '' TERM; echo $$; while :; do sleep 1000 & wait; done")).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let pid = lines(&mut attachment, 1).await.remove(0);
    let began = Instant::now();
    client.end("p", false, Duration::from_millis(300)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(!is_alive(&pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn since_the_mark_spares_what_was_there_before() {
    let tether = Tether::start();
    let client = tether.client().await;
    let script = format!(
        "sleep 1000 & echo $!; echo $$; while read x; do {DAEMON}; sleep 1000 & echo $!; sh -c 'sleep 1000 & wait' & echo $!; echo; done"
    );
    client.start(sh("p", &script)).await.unwrap();
    let mut attachment = client.attach("p", 0, 0).await.unwrap();
    let before = lines(&mut attachment, 2).await;
    // Nothing was marked, so nothing was born since.
    assert_eq!(client.end("p", true, Duration::ZERO).await.unwrap().killed, 0);
    for n in 1..=3 {
        client.input("p", n, true, "go\n").await.unwrap();
        let born = lines(&mut attachment, 4).await;
        let killed = client.end("p", true, Duration::from_millis(if n == 2 { 500 } else { 0 })).await.unwrap().killed;
        // The daemonised, the plain one, the shell, and the shell's own if it was there already.
        assert!((3..=4).contains(&killed), "{killed}");
        assert!(!born.iter().filter(|pid| !pid.is_empty()).any(|pid| is_alive(pid)), "{born:?}");
        assert!(before.iter().all(|pid| is_alive(pid)));
    }
    client.end("p", false, Duration::ZERO).await.unwrap();
    assert!(!before.iter().any(|pid| is_alive(pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_holds_the_pipe_does_not_hold_the_end_back() {
    let tether = Tether::start();
    let client = tether.client().await;
    // The second opens the first's stdout by name, so that its pipe outlives the first.
    client.start(sh("one", "echo $$; read x; exit 2")).await.unwrap();
    let mut one = client.attach("one", 0, 0).await.unwrap();
    let pid = lines(&mut one, 1).await.remove(0);
    client.start(sh("two", &format!("exec 9>/proc/{pid}/fd/1; echo ready; cat"))).await.unwrap();
    let mut two = client.attach("two", 0, 0).await.unwrap();
    assert_eq!(lines(&mut two, 1).await, ["ready"]);
    client.input("one", 1, false, "\n").await.unwrap();
    let so_far = Finished { stdout: format!("{pid}\n").into_bytes(), ..Finished::default() };
    assert_eq!(finish_from(one, so_far).await.code, Some(2));
}
