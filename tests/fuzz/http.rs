//! Whatever comes as a request, a real daemon answers it or cuts it off, and is none the worse for it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use proptest::{prelude::*, sample::Index};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    runtime::Runtime,
    time::{Instant, timeout_at},
};

use crate::{
    fuzz::fuzz,
    request::{CALLS, Twist, bytes, twisted},
    seen::{Seen, memory, unharmed},
    support::{Client, Daemon},
};

/// No limit to the rate of the only client; workspaces without an image of their own can't be made.
const CONFIG: &str = "[rate]\nrequests = 0\n\n[agents.absent]\nprotocol = \"acp\"\nimage = \"wharf/absent:latest\"\nargv = [\"/bin/x\"]\n";
/// How long an answer is waited for where it is not clear that one comes.
const QUIET: Duration = Duration::from_millis(60);
/// How long one is waited for that has begun.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session that anything may be done to, its workspace, and a terminal there.
#[derive(Clone)]
struct Prey {
    victim: String,
    place: String,
    screen: String,
}

impl Prey {
    async fn new(client: &Client) -> Self {
        let victim = client.demo("it:victim").await;
        client.turn(&victim, "echo take me").await;
        let place = client.session(&victim).await["workspace"].as_str().expect("a workspace").to_owned();
        let terminals = format!("/v1/workspaces/{place}/terminals");
        let body = json!({ "argv": ["/bin/busybox", "cat"] });
        let screen = client.post(&terminals, body).await.expect(201)["id"].as_str().expect("an id").to_owned();
        Self { victim, place, screen }
    }
}

/// A daemon with a session that anything may be done to, and one that nothing may.
struct Target {
    daemon: Daemon,
    client: Client,
    prey: RefCell<Prey>,
    witness: String,
    memory: u64,
    logged: Cell<usize>,
    /// How often there was which answer; 0: none.
    statuses: RefCell<BTreeMap<u16, u64>>,
}

impl Target {
    async fn new() -> Self {
        let daemon = Daemon::start_with(&[], Some(CONFIG)).await;
        let client = daemon.client();
        let witness = client.demo("it:witness").await;
        client.turn(&witness, "echo I saw nothing").await;
        let prey = RefCell::new(Prey::new(&client).await);
        let memory = memory(daemon.pid());
        let (logged, statuses) = (Cell::new(0), RefCell::default());
        Self { daemon, client, prey, witness, memory, logged, statuses }
    }

    /// Sends requests at once, each on a connection of its own; the statuses of the answers.
    async fn attack(&self, requests: &[Vec<u8>], over_tcp: bool) -> Vec<Option<u16>> {
        let asks = requests.iter().map(async |request| {
            if over_tcp {
                let address = self.daemon.tcp().replace("http://", "");
                ask(TcpStream::connect(address).await.expect("a connection"), request).await
            } else {
                ask(UnixStream::connect(self.daemon.socket()).await.expect("a connection"), request).await
            }
        });
        futures_util::future::join_all(asks).await
    }

    async fn case(&self, twisted: &[(Index, Vec<Twist>)], over_tcp: bool) {
        let Prey { victim, place, screen } = self.prey.borrow().clone();
        let token = self.daemon.token();
        let names = [("VICTIM", victim.as_str()), ("PLACE", &place), ("SCREEN", &screen)];
        let token = over_tcp.then_some(token.as_str());
        let requests: Vec<Vec<u8>> =
            twisted.iter().map(|(call, twists)| bytes(call.get(&CALLS), twists, &names, token)).collect();
        let before = Seen::of(&self.client, &victim).await;
        let witness = self.client.session(&self.witness).await;
        let statuses = self.attack(&requests, over_tcp).await;
        for (status, request) in statuses.iter().zip(&requests) {
            let text = String::from_utf8_lossy(&request[..request.len().min(4_000)]);
            *self.statuses.borrow_mut().entry(status.unwrap_or(0)).or_default() += 1;
            assert!(status.is_none_or(|status| status < 500 || [503, 507].contains(&status)), "{status:?} to {text}");
        }
        let mut logged = self.logged.get();
        unharmed(&self.daemon, &self.client, self.memory, &mut logged).await;
        self.logged.set(logged);
        assert_eq!(self.client.session(&self.witness).await, witness, "the witness was changed");
        if statuses.iter().all(|status| status.is_none_or(|status| status >= 400)) {
            let what: Vec<_> = requests.iter().map(|request| String::from_utf8_lossy(request)).collect();
            assert_eq!(Seen::of(&self.client, &victim).await, before, "changed by what was refused: {what:?}");
        } else {
            self.tidy().await;
        }
    }

    /// Removes what was made, so that the machine does not fill, and has a victim that is open.
    async fn tidy(&self) {
        let victim = self.prey.borrow().victim.clone();
        if self.client.get(&format!("/v1/sessions/{victim}")).await.json["status"] == "closed" {
            // Its key goes to the next.
            let next = Prey::new(&self.client).await;
            self.prey.replace(next);
        }
        let Prey { victim, place, .. } = self.prey.borrow().clone();
        let keep = [self.witness.clone(), victim];
        let sessions = self.client.get("/v1/sessions?closed=true&limit=1000").await.expect(200);
        for session in sessions["items"].as_array().expect("a list") {
            let id = session["id"].as_str().expect("an id");
            if !keep.iter().any(|kept| kept == id) {
                self.client.delete(&format!("/v1/sessions/{id}?purge=true")).await;
            }
        }
        let workspaces = self.client.get("/v1/workspaces?limit=1000").await.expect(200);
        let witness = self.client.session(&self.witness).await["workspace"].clone();
        for workspace in workspaces["items"].as_array().expect("a list") {
            let id = &workspace["id"];
            if *id != witness && *id != place.as_str() {
                self.client.delete(&format!("/v1/workspaces/{}", id.as_str().expect("an id"))).await;
            }
        }
        let tokens = self.client.get("/v1/tokens").await.expect(200);
        for token in tokens["items"].as_array().expect("a list") {
            let name = token["name"].as_str().expect("a name");
            if name != "default" {
                self.client.delete(&format!("/v1/tokens/{name}")).await;
            }
        }
    }
}

/// Sends a request and reads the status of its answer; `None`: none came, as the request has no end or is no request.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Option<u16> {
    // A daemon may cut off what it has refused before all of it was sent.
    let _ = tokio::time::timeout(PATIENCE, stream.write_all(request)).await.expect("it takes or refuses it");
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    let mut until = Instant::now() + QUIET;
    let mut said_all = false;
    loop {
        match timeout_at(until, stream.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(n)) => {
                answer.extend_from_slice(&chunk[..n]);
                if status(&answer).is_some_and(|status| status != 100) {
                    break;
                }
                until = Instant::now() + PATIENCE;
            }
            // What has no end gets one: whatever is then to be said comes now.
            Err(_) if !said_all => {
                said_all = true;
                let _ = stream.shutdown().await;
                until = Instant::now() + PATIENCE;
            }
            Err(_) => {
                panic!("no answer and no end to {}", String::from_utf8_lossy(&request[..request.len().min(4_000)]))
            }
        }
    }
    assert!(answer.is_empty() || status(&answer).is_some(), "no answer: {}", String::from_utf8_lossy(&answer));
    status(&answer)
}

/// The last status line of what came, once it is whole: one of 100 may be before it.
fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let one =
        |text: &str| text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok();
    match one(&text)? {
        100 => text.split_once("\r\n\r\n").and_then(|(_, rest)| one(rest)).or(Some(100)),
        status => Some(status),
    }
}

#[test]
fn fuzz_no_request_harms_the_daemon() {
    let runtime = Runtime::new().expect("a runtime");
    let target = runtime.block_on(Target::new());
    let strategy = (prop::collection::vec(twisted(), 1..12), prop::bool::weighted(0.3));
    fuzz("HTTP, up to 12 requests at once", &strategy, |(twisted, over_tcp)| {
        runtime.block_on(target.case(&twisted, over_tcp));
    });
    runtime.block_on(async {
        let (text, _) = target.client.turn(&target.witness, "recall").await;
        assert_eq!(text.trim(), "echo I saw nothing");
        let victim = target.prey.borrow().victim.clone();
        // It may have been given a model that its agent does not have, and caps.
        let sane = json!({ "model": "demo-1", "max_turns": 0, "max_cost": 0 });
        target.client.patch(&format!("/v1/sessions/{victim}"), sane).await.expect(200);
        target.client.post(&format!("/v1/sessions/{victim}/reset"), json!({})).await.expect(200);
        let (text, end) = target.client.turn(&victim, "echo still here").await;
        assert_eq!((text.trim(), &end["status"]), ("still here", &json!("done")));
    });
    eprintln!("answers by status, 0 for none: {:?}", target.statuses.borrow());
    drop(target);
}

/// A place in a stream, right or not.
fn place() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..60_u64).prop_map(|n| n.to_string()),
        2 => any::<u64>().prop_map(|n| n.to_string()),
        2 => "[0-9.+-]{0,24}",
        1 => "[ -~]{0,40}",
        1 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
    ]
}

/// A number as the API takes it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[test]
fn fuzz_a_stream_begins_behind_the_place_that_was_named_or_not_at_all() {
    let runtime = Runtime::new().expect("a runtime");
    let target = runtime.block_on(Target::new());
    fuzz("Last-Event-ID", &(place(), prop::option::of(place())), |(id, after)| {
        runtime.block_on(async {
            let last = target.client.session(&target.witness).await["last_seq"].as_u64().expect("a number");
            let after = after.map(|after| after.replace([' ', '#', '%', '&', '+'], ""));
            let is_number = after.as_ref().is_none_or(|after| number(after).is_some());
            let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
            let path = format!("/v1/sessions/{}/events{query}", target.witness);
            let request = target.client.request("GET", &path).header("accept", "text/event-stream");
            let mut answer = request.header("last-event-id", &id).send().await.expect("an answer");
            let named = number(id.trim()).filter(|named| *named <= last);
            let Some(named) = named.filter(|_| is_number) else {
                assert!(answer.status() == 400 || id.trim().is_empty(), "{id:?}: {}", answer.status());
                return;
            };
            assert_eq!(answer.status(), 200, "{id:?} of {last}");
            let mut text = String::new();
            while named < last && !text.contains(&format!("id: {last}\n")) {
                let chunk = tokio::time::timeout(PATIENCE, answer.chunk()).await.expect("in time").expect("whole");
                text += std::str::from_utf8(&chunk.expect("more")).expect("UTF-8");
            }
            let got: Vec<u64> = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
            assert_eq!(got, (named + 1..=last).collect::<Vec<_>>(), "after {id:?}");
        });
    });
    drop(target);
}
