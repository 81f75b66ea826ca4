//! Output: every byte once, in order, whatever happens to the connection or the receiver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wharf::tether::client::{OutputStream, ProcessEvent, TetherError};

use crate::support::*;

/// What `seq 1 n` prints.
fn seq(n: u32) -> Vec<u8> {
    (1..=n).flat_map(|i| format!("{i}\n").into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cut_of_the_connection_loses_or_doubles_a_byte() {
    let tether = Tether::start();
    let connections = Arc::new(AtomicU64::new(0));
    let client = Client::new(CuttingConnector { socket: tether.socket(), connections: Arc::clone(&connections) }).await;
    let done = client.run(sh("seq", "seq 1 600000 & seq 1 300000 >&2; wait; exit 3")).await;
    assert!(done.stdout == seq(600_000) && done.stderr == seq(300_000));
    assert_eq!(done.code, Some(3));
    assert!(connections.load(Ordering::Relaxed) > 20, "the connection was hardly cut: {connections:?}");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_exec_in_the_middle_loses_nothing() {
    let tether = Tether::start();
    let pid = Arc::new(AtomicU64::new(0));
    let socket = tether.socket();
    let argv = [binary().to_str().unwrap(), "connect", "--socket", socket.to_str().unwrap()];
    let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
    let client = Client::new(ExecConnector { argv, pid: Arc::clone(&pid) }).await;
    client.start(sh("seq", "seq 1 400000; cat; exit 5")).await.unwrap();
    let mut attachment = client.attach("seq", 0, 0).await.unwrap();
    let (mut all, mut killed, expected) = (Finished::default(), 0, seq(400_000));
    while all.stdout.len() < expected.len() {
        let Some(ProcessEvent::Output { stream, offset, bytes, .. }) = within(attachment.events.recv()).await else {
            panic!("it ended")
        };
        all.add(stream, offset, &bytes);
        if all.stdout.len() > killed * 500_000 {
            killed += 1;
            let now = u32::try_from(pid.load(Ordering::Relaxed)).unwrap();
            // One that was killed before and is not replaced yet, or has just gone, is no target.
            if is_alive(&now.to_string()) {
                let _ = std::process::Command::new("kill").args(["-9", &now.to_string()]).output();
            }
        }
    }
    assert!(all.stdout == expected);
    client.input("seq", 1, false, "bye").await.unwrap();
    assert_eq!(within(attachment.events.recv()).await, Some(ProcessEvent::InputTaken { n: 1 }));
    client.close_stdin("seq").await.unwrap();
    let done = finish_from(attachment, all).await;
    assert!(done.stdout.ends_with(b"bye") && done.code == Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_goes_on_where_the_last_one_was_durable() {
    let tether = Tether::start();
    let first = tether.client().await;
    first.start(sh("seq", "seq 1 200000; cat; exit 0")).await.unwrap();
    let mut attachment = first.attach("seq", 0, 0).await.unwrap();
    let mut all = Finished::default();
    while all.stdout.len() < 300_000 {
        let Some(ProcessEvent::Output { stream, offset, bytes, .. }) = within(attachment.events.recv()).await else {
            panic!("it ended")
        };
        all.add(stream, offset, &bytes);
    }
    first.ack("seq", all.stdout.len() as u64, 0);
    first.stop().await;
    assert!(attachment.events.is_closed() || attachment.events.recv().await.is_some());

    let second = tether.client().await;
    let attachment = second.attach("seq", all.stdout.len() as u64, 0).await.unwrap();
    assert!(attachment.running);
    second.close_stdin("seq").await.unwrap();
    assert!(finish_from(attachment, all).await.stdout == seq(200_000));
    let beyond = second.attach("seq", u64::MAX, 0).await.unwrap();
    assert_eq!(finish(beyond).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_and_any_length_of_line_come_through() {
    let tether = Tether::start();
    let client = tether.client().await;
    let long = client.run(sh("long", "head -c 5000000 /dev/zero | tr '\\0' x; echo")).await;
    assert!(long.stdout.len() == 5_000_001 && long.stdout[..5_000_000].iter().all(|&b| b == b'x'));
    let odd = client.run(sh("odd", r"printf '\377\376\000\303\050\r\n\200'")).await;
    assert_eq!(odd.stdout, b"\xff\xfe\0\xc3\x28\r\n\x80");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_process_waits_and_nothing_is_dropped() {
    let limit = 1 << 20;
    let tether = Tether::start_with(&["--journal-limit", "1048576"]);
    let client = tether.client().await;
    client.start(sh("seq", "seq 1 900000; exit 6")).await.unwrap();
    let expected = seq(900_000);
    let mut attachment = client.attach("seq", 0, 0).await.unwrap();
    let mut all = Finished::default();
    let mut highest = 0;
    loop {
        // All that may come without an acknowledgement, and then one for it.
        let acked = all.stdout.len();
        while all.stdout.len() < (acked + limit).min(expected.len()) {
            match within(attachment.events.recv()).await.unwrap() {
                ProcessEvent::Output { stream, offset, bytes, .. } => all.add(stream, offset, &bytes),
                other => panic!("{other:?}"),
            }
        }
        let info = client.list().await.unwrap().remove(0);
        let unacked = info.stdout.end - acked as u64;
        // One read beyond it, at most.
        assert!(unacked <= (limit + (64 << 10)) as u64, "{unacked}");
        assert_eq!(info.running, all.stdout.len() < expected.len() || info.running);
        highest = highest.max(unacked);
        client.ack("seq", all.stdout.len() as u64, 0);
        if all.stdout.len() == expected.len() {
            break;
        }
    }
    assert!(highest >= limit as u64);
    let done = finish_from(attachment, all).await;
    assert!(done.stdout == expected && done.code == Some(6));
    // What is durable elsewhere is not kept: at most the segment under way.
    // An acknowledgement is not answered, and may come after the next request.
    within(async {
        loop {
            let info = client.list().await.unwrap().remove(0);
            if info.stdout.end - info.stdout.start <= (1 << 20) + (64 << 10) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(matches!(client.attach("seq", 0, 0).await, Err(TetherError::Offset(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_read_holds_nobody_else_back() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("flood", "yes & yes >&2; wait")).await.unwrap();
    let flood = client.attach("flood", 0, 0).await.unwrap();
    // The flood has filled all that it may.
    until("the journal is full", || flood.events.len() == flood.events.max_capacity()).await;
    for i in 0..50 {
        let done = client.run(sh(&format!("echo-{i}"), "echo hello")).await;
        assert_eq!(done.text(), "hello\n");
    }
    drop(flood);
    let again = client.attach("flood", 0, 0).await.unwrap();
    assert!(again.running);
    assert!(client.end("flood", false, Duration::ZERO).await.unwrap().killed >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attachment_takes_over() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("cat", "echo one; cat")).await.unwrap();
    let mut first = client.attach("cat", 0, 0).await.unwrap();
    assert_eq!(lines(&mut first, 1).await, ["one"]);
    let mut second = client.attach("cat", 0, 0).await.unwrap();
    assert_eq!(lines(&mut second, 1).await, ["one"]);
    assert!(matches!(within(first.events.recv()).await, Some(ProcessEvent::Detached { .. })));
    client.input("cat", 1, false, "two\n").await.unwrap();
    let mut got = Vec::new();
    while got != b"two\n" {
        if let Some(ProcessEvent::Output { stream, bytes, time, .. }) = within(second.events.recv()).await {
            assert_eq!(stream, OutputStream::Stdout);
            assert!((wharf::domain::Timestamp::now().as_millis() - time.as_millis()).abs() < 60_000);
            got.extend_from_slice(&bytes);
        }
    }
    assert!(within(first.events.recv()).await.is_none());
}
