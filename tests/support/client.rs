//! A client of the API, as any program would write it.

use std::path::Path;

use serde_json::{Value, json};

use super::Events;

/// A client.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type.
    pub kind: String,
    /// The body, where it is JSON.
    pub json: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.json);
        self.json
    }

    /// The code of a problem that must have this status.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(self.status, status, "{:#}", self.json);
        assert_eq!(self.kind, "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert!(self.json["detail"].as_str().is_some_and(|d| !d.is_empty()), "{:#}", self.json);
        self.json["code"].as_str().expect("a code").to_owned()
    }
}

impl Client {
    /// Over a Unix socket.
    pub fn unix(socket: &Path) -> Self {
        let http = reqwest::Client::builder().unix_socket(socket.to_owned()).build().expect("a client");
        Self { http, base: "http://localhost".to_owned(), token: None }
    }

    /// Over TCP.
    pub fn tcp(base: &str, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// A request to fill in.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request.
    pub async fn send(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.bytes().await?;
        Ok(Answer { status, kind, json: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// GET, where the daemon may be away.
    pub async fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        Self::send(self.request("GET", path)).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.expect("an answer")
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Self::send(self.request("POST", path).json(&body)).await.expect("an answer")
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        Self::send(self.request("PATCH", path).json(&body)).await.expect("an answer")
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        Self::send(self.request("DELETE", path)).await.expect("an answer")
    }

    /// Makes a session with the demo agent in a workspace of its own; its id.
    pub async fn demo(&self, key: &str) -> String {
        let body = json!({ "agent": "demo", "key": key });
        let session = self.post("/v1/sessions", body).await.expect(201);
        session["id"].as_str().expect("an id").to_owned()
    }

    /// Accepts a prompt; its number.
    pub async fn prompt(&self, session: &str, text: &str) -> u64 {
        let body = json!({ "content": text });
        let accepted = self.post(&format!("/v1/sessions/{session}/prompts"), body).await.expect(202);
        accepted["id"].as_u64().expect("a number")
    }

    /// Runs a prompt to its end; the agent's text and the end.
    pub async fn turn(&self, session: &str, text: &str) -> (String, Value) {
        let after = self.session(session).await["last_seq"].as_u64().expect("a number");
        let mut events = self.events(session, after).await;
        let n = self.prompt(session, text).await;
        events.turn(n).await
    }

    /// A session as it is.
    pub async fn session(&self, session: &str) -> Value {
        self.get(&format!("/v1/sessions/{session}")).await.expect(200)
    }

    /// The live events after a sequence number.
    pub async fn events(&self, session: &str, after: u64) -> Events {
        Events::open(self, session, after).await
    }
}
