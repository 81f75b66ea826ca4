//! The session that is measured: how it is reached, and what its turns send.

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::{
    support::Daemon,
    wire::{self, Checker},
};

/// A session with a ready agent.
pub struct Target<'a> {
    /// Its daemon.
    pub daemon: &'a Daemon,
    /// Where that listens on TCP.
    pub address: SocketAddr,
    /// Its token.
    pub token: String,
    /// The session's id.
    pub session: String,
}

/// A turn that was run once, and is the same each time.
pub struct Turn {
    /// Its prompt.
    pub prompt: String,
    /// How many events it makes.
    pub events: u64,
    /// What came before it.
    pub after: u64,
    /// What a subscriber receives of it, HTTP's chunks included.
    pub bytes: Bytes,
}

impl<'a> Target<'a> {
    /// A session of its own.
    pub async fn new(daemon: &'a Daemon, key: &str) -> Self {
        let client = daemon.client();
        let session = client.demo(key).await;
        client.post(&format!("/v1/sessions/{session}/restore"), json!({})).await.expect(200);
        let address = daemon.tcp().trim_start_matches("http://").parse().expect("an address");
        Self { daemon, address, token: daemon.token(), session }
    }

    /// The number of its last event.
    pub async fn last(&self) -> u64 {
        self.daemon.client().session(&self.session).await["last_seq"].as_u64().expect("a number")
    }

    /// Runs a prompt to the end and looks at what it made.
    pub async fn rehearse(&self, prompt: &str) -> Turn {
        let client = self.daemon.client();
        let after = self.last().await;
        let mut events = client.events(&self.session, after).await;
        let n = client.prompt(&self.session, prompt).await;
        events.turn(n).await;
        // The status that follows comes in the same commit.
        let last = self.last().await;
        Turn { prompt: prompt.to_owned(), events: last - after, after, bytes: self.record(after, last).await }
    }

    /// The bytes that a subscriber gets of the events after `after` up to `last`.
    async fn record(&self, after: u64, last: u64) -> Bytes {
        let stream = wire::subscribe(self.address, &self.token, &self.session, after, None).await;
        let (mut stream, mut checker, mut all) = (stream.expect("a subscriber"), Checker::new(after), Vec::new());
        while checker.last < last {
            let old = all.len();
            assert_ne!(stream.read_buf(&mut all).await.expect("bytes"), 0, "the stream goes on");
            checker.feed(&all[old..]).expect("every event once, in order");
        }
        let head = memchr::memmem::find(&all, b"\r\n\r\n").map_or(0, |end| end + 4);
        Bytes::from(all).slice(head..)
    }
}
