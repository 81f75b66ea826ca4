//! The protocol, frame by frame: who may speak, what is refused, and that versions get along.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};
use wharf::tether::frames::{Decoder, Frame, encode, encode_json, kind};

use crate::support::*;

struct Raw {
    stream: UnixStream,
    decoder: Decoder,
}

impl Raw {
    fn connect(tether: &Tether) -> Self {
        let stream = UnixStream::connect(tether.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, decoder: Decoder::default() }
    }

    fn hello(tether: &Tether) -> Self {
        let mut raw = Self::connect(tether);
        raw.send(kind::HELLO, &json!({"version": 99, "client": "test", "news": [1]}));
        let welcome = raw.receive().unwrap();
        assert_eq!(welcome.kind, kind::WELCOME);
        assert_eq!(welcome.json::<Value>().unwrap()["version"], 1);
        raw
    }

    fn send(&mut self, kind: u8, message: &Value) {
        let mut out = Vec::new();
        encode_json(&mut out, kind, message).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    /// None when tether has closed the connection.
    fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.decoder.push(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn error(&mut self) -> Value {
        let frame = self.receive().expect("it was closed");
        assert_eq!(frame.kind, kind::ERROR);
        frame.json().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_daemon_gets_along() {
    let tether = Tether::start();
    drop(tether.client().await);
    let mut raw = Raw::hello(&tether);
    raw.send(63, &json!({"req": 5, "what": "ever"}));
    let error = raw.error();
    assert_eq!((&error["req"], &error["code"]), (&json!(5), &json!("unsupported")));
    let mut out = Vec::new();
    encode(&mut out, 62, &[b"\xff\x00 no json"]).unwrap();
    raw.stream.write_all(&out).unwrap();
    assert_eq!(raw.error()["code"], "unsupported");
    raw.send(kind::START, &json!({"req": 6}));
    assert_eq!(raw.error()["code"], "invalid");
    raw.send(kind::PING, &json!({"n": 7, "more": true}));
    assert_eq!(raw.receive().unwrap().json::<Value>().unwrap()["n"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_hello_or_no_frame_ends_the_connection_and_harms_nobody() {
    let tether = Tether::start();
    let client = tether.client().await;
    let mut no_hello = Raw::connect(&tether);
    no_hello.send(kind::LIST, &json!({"req": 1}));
    assert_eq!(no_hello.error()["code"], "invalid");
    assert!(no_hello.receive().is_none());
    let mut too_old = Raw::connect(&tether);
    too_old.send(kind::HELLO, &json!({"version": 0}));
    assert_eq!(too_old.error()["code"], "unsupported");
    assert!(too_old.receive().is_none());
    let mut noise = Raw::connect(&tether);
    noise.stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(noise.error()["code"], "invalid");
    assert!(client.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_what_could_not_be_started_is_told() {
    let tether = Tether::start();
    drop(tether.client().await);
    let mut raw = Raw::hello(&tether);
    let start =
        json!({"req": 1, "id": "p", "argv": ["/no/such/program"], "env": [], "cwd": "/", "uid": UID, "gid": UID});
    let mut out = Vec::new();
    encode_json(&mut out, kind::START, &start).unwrap();
    let attach = json!({"req": 2, "process": "p", "stdout": 0, "stderr": 0, "credit": 1000});
    encode_json(&mut out, kind::ATTACH, &attach).unwrap();
    encode_json(&mut out, kind::END, &json!({"req": 3, "process": "p", "since_mark": false, "grace_ms": 60_000}))
        .unwrap();
    raw.stream.write_all(&out).unwrap();
    // The failure may also be known before the others are read: then there is no such process.
    let (mut answered, mut attached, mut exited) = (Vec::new(), false, false);
    while answered.len() < 3 || (attached && !exited) {
        let frame = raw.receive().expect("an answer");
        attached |= frame.kind == kind::ATTACHED;
        exited |= frame.kind == kind::EXITED;
        if frame.kind != kind::EXITED {
            answered.push(frame.json::<Value>().unwrap()["req"].as_u64().expect("a request's number"));
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3]);
    raw.send(kind::LIST, &json!({"req": 4}));
    assert_eq!(raw.receive().unwrap().json::<Value>().unwrap()["processes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_connection_wins() {
    let tether = Tether::start();
    drop(tether.client().await);
    let mut first = Raw::hello(&tether);
    let mut second = Raw::hello(&tether);
    assert_eq!(first.error()["code"], "superseded");
    assert!(first.receive().is_none());
    second.send(kind::LIST, &json!({"req": 1}));
    assert_eq!(second.receive().unwrap().kind, kind::PROCESSES);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_get_in() {
    let open = tempfile::tempdir_in("/tmp").unwrap();
    std::process::Command::new("chmod").arg("755").arg(open.path()).status().unwrap();
    let (program_path, socket) = (open.path().join("wharf-tether"), open.path().join("host.sock"));
    write_program(&program_path);
    let tether = Tether::start_with(&["--host-socket", socket.to_str().unwrap()]);
    // The host's socket serves as well as the other, and stays while nobody else connects.
    let client = Client::new(UnixConnector(socket.clone())).await;
    for (id, path, code) in [("host", &socket, 0), ("inner", &tether.socket(), 1)] {
        client
            .start(program(id, &[program_path.to_str().unwrap(), "connect", "--socket", path.to_str().unwrap()]))
            .await
            .unwrap();
        if id == "host" {
            let mut hello = Vec::new();
            encode_json(&mut hello, kind::HELLO, &json!({"version": 1})).unwrap();
            client.input(id, 1, false, hello).await.unwrap();
        }
        // It is turned away at once: its hello may come too late for it.
        let nothing = Finished { may_be_deaf: true, ..Finished::default() };
        let done = finish_from(client.attach(id, 0, 0).await.unwrap(), nothing).await;
        assert!(done.stdout.is_empty(), "{done:?}");
        assert_eq!(done.code, Some(code), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(client.is_connected());
}
