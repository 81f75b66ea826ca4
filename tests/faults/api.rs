//! A client that outlives the daemon: what got no answer is asked again, in the same words.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The longest that anything may take, with the faults that are under way.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A client.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
}

impl Api {
    /// Over a Unix socket that need not be there yet.
    pub fn new(socket: &Path) -> Self {
        let http = reqwest::Client::builder()
            .unix_socket(socket.to_owned())
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Self { http }
    }

    /// A request to fill in.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("http://localhost{path}"))
    }

    /// One try: status and JSON, or `None` where there was no whole answer.
    pub async fn try_call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Option<(u16, Value)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// Until there is an answer that is no server's fault; an error says what there was last.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<(u16, Value), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_call(method, path, body, key).await;
            match &answer {
                Some((status, _)) if *status < 500 && *status != 429 => return Ok(answer.unwrap_or_default()),
                _ if Instant::now() > deadline => {
                    return Err(format!("{method} {path}: no answer in time: {answer:?}"));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// GET of what must be there.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        match self.call("GET", path, None, None).await? {
            (200, value) => Ok(value),
            other => Err(format!("GET {path}: {other:?}")),
        }
    }

    /// The bytes of a file in a workspace.
    pub async fn file(&self, workspace: &str, path: &str) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.request("GET", &format!("/v1/workspaces/{workspace}/files")).query(&[("path", path)]);
            let seen = match request.send().await {
                Ok(response) if response.status() == 200 => match response.bytes().await {
                    Ok(bytes) => return Ok(bytes.to_vec()),
                    Err(e) => e.to_string(),
                },
                Ok(response) => format!("{} {}", response.status(), response.text().await.unwrap_or_default()),
                Err(e) => e.to_string(),
            };
            if Instant::now() > deadline {
                return Err(format!("{path} of {workspace}: {seen}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Looks until something is so; otherwise tells what it saw last.
pub async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(seen) if Instant::now() > deadline => return Err(format!("{what} does not come: {seen}")),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
