//! The daemon's end of a connection whose other end says anything: an error at most, and the next connection works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    runtime::Runtime,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wharf::tether::{
    client::{Connect, ConnectError, Stream, TetherClient, TetherError},
    frames::{self, Decoder, encode_json, kind},
};

use crate::{
    frames::{Message, bytes, stream},
    fuzz::fuzz,
    tethers::{sh, within},
};

/// How long a call waits while the other end talks nonsense.
const NONSENSE: Duration = Duration::from_millis(20);

fn welcome() -> Value {
    json!({"version": 1, "tether": "t", "generation": "g", "boot_id": "b", "processes": []})
}

fn messages() -> Vec<Message> {
    let info = |id: &str, last: u64| json!({"id": id, "running": true, "exit": null, "last_input": last, "stdout": {"start": 0, "end": 9}, "stderr": {"start": 0, "end": 0}});
    let output = |process: &str, offset: u64, bytes: &[u8]| {
        let mut out = Vec::new();
        let stream = frames::Stream::Stdout;
        frames::Output { process, stream, offset, time: -1, bytes }.encode(&mut out).expect("it is short");
        Message::Raw(out)
    };
    vec![
        Message::Json(kind::WELCOME, welcome()),
        Message::Json(kind::DONE, json!({"req": 1})),
        Message::Json(kind::DONE, json!({"req": 2})),
        Message::Json(kind::ENDED, json!({"req": 3, "killed": 7})),
        Message::Json(kind::PROCESSES, json!({"req": 2, "processes": [info("a", 1)]})),
        Message::Json(kind::ATTACHED, json!({"req": 4, "info": info("a", 0)})),
        Message::Json(kind::ATTACHED, json!({"req": 3, "info": info("a", u64::MAX)})),
        Message::Json(kind::ATTACHED, json!({"req": 2, "info": info("b", 3)})),
        Message::Json(kind::INPUT_TAKEN, json!({"process": "a", "n": 1})),
        Message::Json(kind::INPUT_TAKEN, json!({"process": "a", "n": u64::MAX})),
        Message::Json(kind::EXITED, json!({"process": "a", "exit": {"code": 0, "lost": true}})),
        Message::Json(kind::PONG, json!({"n": 0})),
        Message::Json(kind::RESOLVED, json!({"req": 1, "path": "/x"})),
        Message::Json(kind::WAITS, json!({"process": "a", "reason": "r"})),
        Message::Json(kind::ERROR, json!({"req": 3, "code": "not_found", "message": "m"})),
        Message::Json(kind::ERROR, json!({"process": "a", "n": 1, "code": "full", "message": "m"})),
        Message::Json(kind::ERROR, json!({"code": "superseded", "message": "m"})),
        output("a", 0, b"hello\n"),
        output("a", 6, &[0xff; 60_000]),
        output("a", u64::MAX, b"x"),
        output("b", 0, b"x"),
    ]
}

/// Gives a connection to one that says `said` first, and to a right one from then on.
struct Liar {
    said: Vec<u8>,
    welcomes: bool,
    connections: Arc<AtomicUsize>,
    tracker: TaskTracker,
}

impl Connect for Liar {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, ConnectError>> {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let first = self.connections.fetch_add(1, Ordering::Relaxed) == 0;
        let mut said = Vec::new();
        if first && self.welcomes {
            encode_json(&mut said, kind::WELCOME, &welcome()).expect("it is short");
        }
        if first {
            said.extend_from_slice(&self.said);
            self.tracker.spawn(lie(theirs, said));
        } else {
            self.tracker.spawn(serve(theirs));
        }
        Box::pin(async { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Says it all, listens for a moment and hangs up.
async fn lie(mut stream: DuplexStream, said: Vec<u8>) {
    let mut chunk = vec![0; 64 << 10];
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let listen = async { while reader.read(&mut chunk).await.is_ok_and(|n| n > 0) {} };
    let talk = async {
        let _ = writer.write_all(&said).await;
        tokio::time::sleep(NONSENSE).await;
    };
    tokio::select! {
        () = listen => {}
        () = talk => {}
    }
}

/// A tether that holds nothing.
async fn serve(mut stream: DuplexStream) {
    let (mut decoder, mut chunk, mut out) = (Decoder::default(), vec![0; 64 << 10], Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        decoder.push(&chunk[..n]);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let message: Value = frame.json().unwrap_or_default();
            let answer = match frame.kind {
                kind::HELLO => encode_json(&mut out, kind::WELCOME, &welcome()),
                kind::LIST => encode_json(&mut out, kind::PROCESSES, &json!({"req": message["req"], "processes": []})),
                _ if message["req"].is_u64() => {
                    let error = json!({"req": message["req"], "code": "not_found", "message": "nothing is here"});
                    encode_json(&mut out, kind::ERROR, &error)
                }
                _ => Ok(()),
            };
            answer.expect("it is short");
        }
        if stream.write_all(&std::mem::take(&mut out)).await.is_err() {
            return;
        }
    }
}

/// Uses a connection as a session does, while its other end says `said`.
async fn converse(said: Vec<u8>, welcomes: bool) {
    let (tracker, stop, connections) = (TaskTracker::new(), CancellationToken::new(), Arc::default());
    let liar = Liar { said, welcomes, connections, tracker: tracker.clone() };
    match within(TetherClient::connect(liar, &tracker, stop.clone())).await {
        Ok(client) => {
            let use_it = async {
                let _ = timeout(NONSENSE, client.start(sh("a", "cat"))).await;
                let attached = timeout(NONSENSE, client.attach("a", 0, 0)).await;
                let _ = timeout(NONSENSE, client.input("a", 1, true, b"hello\n".to_vec())).await;
                client.ack("a", 3, 0);
                let _ = timeout(NONSENSE, client.end("a", false, Duration::ZERO)).await;
                if let Ok(Ok(mut attachment)) = attached {
                    let read = async { while attachment.events.recv().await.is_some() {} };
                    let _ = timeout(NONSENSE, read).await;
                }
            };
            use_it.await;
            // The next connection is a right one; unless the first has said that it is of no use, for good.
            match within(client.list()).await {
                Ok(_) | Err(TetherError::Unsupported(_)) => {}
                Err(e) => panic!("the connection is lost: {e}"),
            }
            assert!(client.list().await.is_ok_and(|list| list.is_empty()) || !client.is_connected());
        }
        // It spoke of another version.
        Err(TetherError::Unsupported(_)) => {}
        Err(e) => panic!("no connection: {e}"),
    }
    stop.cancel();
    tracker.close();
    within(tracker.wait()).await;
}

#[test]
fn fuzz_a_client_outlives_any_tether() {
    let runtime = Runtime::new().expect("a runtime");
    let known = messages();
    fuzz("a tether that lies", &(prop::bool::weighted(0.8), stream()), |(welcomes, (pieces, changes, _))| {
        runtime.block_on(converse(bytes(&pieces, &changes, &known), welcomes));
    });
}
