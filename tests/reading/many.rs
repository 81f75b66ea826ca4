//! Rule: 200 SSE clients on one busy session, one of them reading nothing for 10 s: all get everything, once, in order.
//! And totals stay cheap with ten thousand sessions.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use wharf::domain::{SessionId, SessionRecord};

use super::store_common::{batch, progress, run, session};
use super::store_of;
use super::support::{Daemon, PATIENCE};

/// A client with a raw connection, so that what it does not read stays where it is.
struct Raw {
    stream: UnixStream,
    raw: Vec<u8>,
}

impl Raw {
    async fn ask(daemon: &Daemon, path: &str) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).await.expect("a connection");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("asked");
        Self { stream, raw: Vec::new() }
    }

    /// The numbers of all events up to `last`.
    async fn read_to(mut self, last: u64) -> Vec<u64> {
        let end = format!("id: {last}\n");
        let mut buffer = vec![0; 64 * 1024];
        let whole = async {
            loop {
                let read = self.stream.read(&mut buffer).await.expect("bytes");
                assert!(read > 0, "the stream ended early");
                self.raw.extend_from_slice(&buffer[..read]);
                let from = self.raw.len().saturating_sub(64 * 1024 + read);
                if self.raw[from..].windows(end.len()).any(|w| w == end.as_bytes()) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("all of it in time");
        // Frames are small here and each write is a chunk of whole frames, so no chunk's head cuts an id.
        let text = String::from_utf8_lossy(&self.raw);
        let seqs = text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|n| n.parse().expect("a number"));
        // More may have come after it by now.
        seqs.filter(|seq| *seq <= last).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_on_a_busy_session_get_everything_once_in_order_though_one_reads_nothing_for_10_s() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("many:one").await;
    let path = format!("/v1/sessions/{id}/events");
    let paused = Raw::ask(&daemon, &path).await;
    let mut readers = Vec::new();
    for _ in 0..199 {
        readers.push(Raw::ask(&daemon, &path).await);
    }
    let n = client.prompt(&id, "burst 20000").await;
    let begun = Instant::now();
    let mut watch = client.events(&id, 0).await;
    let (_, end) = watch.turn(n).await;
    assert_eq!(end["status"], "done");
    let last = watch.last();
    let reading = readers.into_iter().map(|reader| tokio::spawn(reader.read_to(last)));
    let mut got = Vec::new();
    for reader in reading.collect::<Vec<_>>() {
        got.push(reader.await.expect("a reader"));
    }
    // The others were done long before the paused one begins: it held nobody up.
    let pause = Duration::from_secs(10);
    tokio::time::sleep_until(tokio::time::Instant::from_std(begun + pause)).await;
    got.push(paused.read_to(last).await);
    let all: Vec<u64> = (1..=last).collect();
    for (n, seqs) in got.iter().enumerate() {
        assert_eq!(seqs.len(), all.len(), "reader {n}");
        assert!(*seqs == all, "reader {n} got something out of order");
    }
    assert!(last > 20_000, "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_ten_thousand_sessions_take_milliseconds() {
    const SESSIONS: usize = 10_000;
    let mut daemon = Daemon::prepared(&[], None);
    {
        let store = store_of(&daemon);
        for chunk in 0..SESSIONS / 500 {
            let all = batch(|b| {
                for n in 0..500 {
                    let id = SessionId::new(["demo", "claude", "codex"][n % 3]);
                    let project = Some(format!("project-{}", n % 10));
                    b.put_session(SessionRecord { agent: id.agent().to_owned(), project, ..session(&id) });
                    b.append(id.clone(), run(&id, 1, 3)).put_progress(id.clone(), progress(3));
                }
            });
            store.commit(all).await.unwrap_or_else(|e| panic!("chunk {chunk}: {e}"));
        }
        store.close().await.expect("closed");
    }
    daemon.spawn();
    daemon.answers().await;
    let client = daemon.client();
    for query in ["", "?project=project-3"] {
        let mut took = Vec::new();
        let mut total = json!(0);
        for _ in 0..30 {
            let begun = Instant::now();
            let response = client.request("GET", &format!("/v1/stats{query}")).send().await.expect("an answer");
            let body: serde_json::Value =
                serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
            took.push(begun.elapsed());
            total = body["sessions"]["total"].clone();
        }
        took.sort_unstable();
        let median = took[took.len() / 2];
        println!("/v1/stats{query} of {SESSIONS} sessions: median {median:?}, slowest {:?}", took[took.len() - 1]);
        assert_eq!(total, if query.is_empty() { SESSIONS } else { SESSIONS / 10 });
        // Debug code on a shared machine; what it may not do is read 10,000 logs.
        assert!(median < Duration::from_millis(50), "{query}: {median:?}");
    }
}
