//! A real tether to which a controller says anything: it lives, stays small, and serves the next controller.

use std::{
    cell::Cell,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;
use wharf::tether::{
    client::TetherError,
    frames::{Decoder, Input, encode_json, kind},
};

use crate::{
    frames::{Message, bytes, stream},
    fuzz::fuzz,
    seen::memory,
    tethers::{Tether, UID, is_alive, sh, within},
};

/// How much more memory it may take than before.
const GROWTH: u64 = 32 << 20;

fn messages() -> Vec<Message> {
    let start = |id: &str, pty: bool| {
        let pty = pty.then(|| json!({"rows": 24, "cols": 80}));
        json!({"req": 1, "id": id, "argv": ["/bin/sh", "-c", "cat"], "env": [["A", "b"]], "cwd": "/", "uid": UID, "gid": UID, "pty": pty})
    };
    let input = |id: &str, n: u64, mark: bool| {
        let mut out = Vec::new();
        Input { process: id, n, mark, bytes: b"hello\n" }.encode(&mut out).expect("it is short");
        Message::Raw(out)
    };
    vec![
        Message::Json(kind::START, start("a", false)),
        Message::Json(kind::START, start("b", true)),
        Message::Json(kind::ATTACH, json!({"req": 2, "process": "a", "stdout": 0, "stderr": 0, "credit": 1_000_000})),
        Message::Json(kind::ATTACH, json!({"req": 2, "process": "b", "stdout": 0, "stderr": 0, "credit": 1})),
        Message::Json(kind::ACK, json!({"process": "a", "stdout": 6, "stderr": 0})),
        Message::Json(kind::CREDIT, json!({"process": "b", "add": 100_000})),
        Message::Json(kind::END, json!({"req": 3, "process": "a", "since_mark": true, "grace_ms": 5})),
        Message::Json(kind::END, json!({"req": 3, "process": "b", "since_mark": false, "grace_ms": 5})),
        Message::Json(kind::CLOSE_STDIN, json!({"req": 4, "process": "a"})),
        Message::Json(kind::SIGNAL, json!({"req": 5, "process": "a", "signal": 10})),
        Message::Json(kind::RESIZE, json!({"req": 6, "process": "b", "size": {"rows": 1, "cols": 1}})),
        Message::Json(kind::FORGET, json!({"req": 7, "process": "a"})),
        Message::Json(kind::DETACH, json!({"req": 8, "process": "a"})),
        Message::Json(kind::LIST, json!({"req": 9})),
        Message::Json(kind::PING, json!({"n": 10})),
        Message::Json(kind::RESOLVE, json!({"req": 11, "path": "/"})),
        Message::Json(kind::HELLO, json!({"version": 1, "client": "again"})),
        input("a", 1, true),
        input("a", 2, false),
        input("b", 1, false),
        input("nobody", u64::MAX, false),
    ]
}

/// Says all that as the controller, and reads what comes until it is quiet.
fn say(tether: &Tether, greets: bool, said: &[u8], cuts: &[usize]) {
    let mut socket = UnixStream::connect(tether.socket()).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
    // A tether that does not read what it was sent is not waited for.
    socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let mut hello = Vec::new();
    encode_json(&mut hello, kind::HELLO, &json!({"version": 1})).expect("it is short");
    if greets {
        socket.write_all(&hello).expect("it is taken");
    }
    let (mut rest, mut cut) = (said, cuts.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(50 * cut.next().expect("it is a cycle")));
        if socket.write_all(now).is_err() {
            break;
        }
        rest = later;
    }
    let mut chunk = [0; 64 << 10];
    while socket.read(&mut chunk).is_ok_and(|n| n > 0) {}
}

/// Whether a tether that is told this is told to end: then it does, and that is no fault of it.
fn stops(said: &[u8]) -> bool {
    let mut decoder = Decoder::default();
    decoder.push(said);
    std::iter::from_fn(|| decoder.next_frame().ok().flatten()).any(|frame| frame.kind == kind::STOP)
}

/// The next controller finds everything in order.
async fn serves(tether: &Tether, n: u64) {
    let client = tether.client().await;
    for process in within(client.list()).await.expect("a list") {
        if process.running {
            match within(client.end(&process.id, false, Duration::from_millis(1))).await {
                // It was being started, and could not be.
                Ok(_) | Err(TetherError::NotFound(_)) => {}
                Err(e) => panic!("it does not end: {e}"),
            }
        }
        within(client.forget(&process.id)).await.expect("it is forgotten");
    }
    let id = format!("good{n}");
    let done = client.run(sh(&id, "echo still here; exit 3")).await;
    assert_eq!((done.text(), done.code), ("still here\n", Some(3)));
    within(client.forget(&id)).await.expect("it is forgotten");
    assert!(within(client.list()).await.expect("a list").is_empty());
    client.stop().await;
}

#[test]
fn fuzz_a_tether_outlives_any_controller() {
    let runtime = Runtime::new().expect("a runtime");
    let tether = Tether::start();
    runtime.block_on(serves(&tether, 0));
    let (before, known, count) = (memory(tether.pid()), messages(), Cell::new(0));
    fuzz("a tether's socket", &(prop::bool::weighted(0.9), stream()), |(greets, (pieces, changes, cuts))| {
        let said = bytes(&pieces, &changes, &known);
        if stops(&said) {
            return;
        }
        say(&tether, greets, &said, &cuts);
        assert!(is_alive(&tether.pid().to_string()), "it died");
        count.set(count.get() + 1);
        runtime.block_on(serves(&tether, count.get()));
        let now = memory(tether.pid());
        assert!(now < before + GROWTH, "it has grown from {before} to {now} bytes");
    });
    drop(tether);
}
