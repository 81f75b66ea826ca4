//! Input: taken once, in order, durable before it is written.

use wharf::tether::client::{ProcessEvent, TetherError};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_taken_once_over_any_number_of_clients() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("cat", "cat; exit 0")).await.unwrap();
    let mut attachment = client.attach("cat", 0, 0).await.unwrap();
    assert_eq!(attachment.last_input, 0);
    for n in 1..=3 {
        client.input("cat", n, false, format!("line {n}\n")).await.unwrap();
    }
    client.input("cat", 3, false, "again\n").await.unwrap();
    assert_eq!(lines(&mut attachment, 3).await, ["line 1", "line 2", "line 3"]);
    client.stop().await;

    let client = tether.client().await;
    let mut attachment = client.attach("cat", 21, 0).await.unwrap();
    assert_eq!(attachment.last_input, 3);
    client.input("cat", 2, false, "old\n").await.unwrap();
    assert_eq!(within(attachment.events.recv()).await, Some(ProcessEvent::InputTaken { n: 2 }));
    client.input("cat", 5, false, "gap\n").await.unwrap();
    let rejected = within(attachment.events.recv()).await;
    assert!(matches!(rejected, Some(ProcessEvent::InputRejected { n: 5, .. })), "{rejected:?}");
    client.input("cat", 4, false, "line 4\n").await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["line 4"]);
    client.close_stdin("cat").await.unwrap();
    let so_far = Finished { stdout: vec![0; 28], ..Finished::default() };
    assert_eq!(finish_from(attachment, so_far).await.stdout.len(), 28);
    assert_eq!(client.list().await.unwrap()[0].last_input, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_queued_over_cuts_arrive_once_and_in_order() {
    let tether = Tether::start();
    let connections = std::sync::Arc::default();
    let client = Client::new(CuttingConnector { socket: tether.socket(), connections }).await;
    client.start(sh("cat", "cat; exit 0")).await.unwrap();
    let mut attachment = client.attach("cat", 0, 0).await.unwrap();
    let big = |n: u64| format!("{n}:{}\n", "x".repeat(20_000)).into_bytes();
    let expected: Vec<u8> = (1..=200).flat_map(big).collect();
    for n in 1..=200 {
        client.input("cat", n, false, big(n)).await.unwrap();
    }
    let (mut all, mut taken) = (Finished::default(), Vec::new());
    while all.stdout.len() < expected.len() || taken.len() < 200 {
        match within(attachment.events.recv()).await.unwrap() {
            ProcessEvent::Output { stream, offset, bytes, .. } => all.add(stream, offset, &bytes),
            ProcessEvent::InputTaken { n } => taken.push(n),
            other => panic!("{other:?}"),
        }
    }
    assert!(all.stdout == expected);
    assert_eq!(taken, (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_read_is_bounded_and_one_that_ended_takes_nothing() {
    let tether = Tether::start();
    let client = tether.client().await;
    client.start(sh("deaf", "sleep 1000")).await.unwrap();
    let mut attachment = client.attach("deaf", 0, 0).await.unwrap();
    let chunk = vec![b'x'; 30 << 20];
    for n in 1..=3 {
        client.input("deaf", n, false, chunk.clone()).await.unwrap();
        let event = within(attachment.events.recv()).await.unwrap();
        if n < 3 {
            assert_eq!(event, ProcessEvent::InputTaken { n });
        } else {
            assert!(
                matches!(&event, ProcessEvent::InputRejected { n: 3, reason } if reason.contains("does not read")),
                "{event:?}"
            );
        }
    }
    let too_long = client.input("deaf", 3, false, vec![0; (32 << 20) + 1]).await;
    assert!(matches!(too_long, Err(TetherError::Invalid(_))), "{too_long:?}");
    client.start(sh("eager", "cat >/dev/null; echo done; cat")).await.unwrap();
    let mut eager = client.attach("eager", 0, 0).await.unwrap();
    for n in 1..=3 {
        client.input("eager", n, false, chunk[..20 << 20].to_vec()).await.unwrap();
    }
    client.close_stdin("eager").await.unwrap();
    assert_eq!(lines(&mut eager, 1).await, ["done"]);
    client.signal("deaf", 9).await.unwrap();
    assert_eq!(finish(attachment).await.signal, Some(9));
    let attachment = client.attach("deaf", 0, 0).await.unwrap();
    assert_eq!((attachment.last_input, attachment.running), (2, false));
    client.input("nobody", 1, false, "x").await.unwrap();
    client.list().await.unwrap();
    // What was needed for the big inputs is given back: tether is to stay small.
    let status = std::fs::read_to_string(format!("/proc/{}/status", tether.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB");
    assert!(resident.parse::<u32>().unwrap() < 8 << 10, "{resident} KiB");
}
