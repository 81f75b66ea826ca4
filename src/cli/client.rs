//! The HTTP client of all commands.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::discover::{self, Host};
use super::failure::Failure;
use super::ui::Ui;
use crate::api::ProblemBody;
use crate::domain::Page;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream says something every 15 s, so one that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(50);
/// How long a daemon that was there before is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long a daemon is waited for that was there a moment ago, by a command that has not begun yet.
const RESTART: Duration = Duration::from_secs(10);
const PAGE: &str = "500";

/// A daemon's API.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    streams: reqwest::Client,
    base: Url,
    host: Host,
    token: Option<SecretString>,
}

/// Query parameters.
pub(super) type Query = Vec<(&'static str, String)>;

impl Client {
    /// The daemon that was named, else the usual one. Nothing is sent yet.
    pub(super) fn connect(named: Option<&str>) -> Result<Self, Failure> {
        let host = Host::find(named)?;
        let token = discover::token(&host);
        Self::new(host, token)
    }

    /// For a known place and token.
    pub(super) fn new(host: Host, token: Option<SecretString>) -> Result<Self, Failure> {
        let build = |silence: Option<Duration>| {
            // A proxy of the environment has no business between a client and its own machine.
            let mut builder = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT);
            // A daemon that was restarted closed its connections: a kept one would fail at the next call.
            builder = builder.pool_max_idle_per_host(0);
            if let Host::Unix(path) = &host {
                builder = builder.unix_socket(path.as_path());
            }
            if let Some(silence) = silence {
                builder = builder.read_timeout(silence);
            }
            builder.build().map_err(|e| Failure::other(format!("cannot make an HTTP client: {e}")))
        };
        let base = match &host {
            Host::Unix(_) => Url::parse("http://localhost").map_err(|e| Failure::other(e.to_string()))?,
            Host::Tcp(url) => url.clone(),
        };
        Ok(Self { http: build(None)?, streams: build(Some(SILENCE))?, base, host, token })
    }

    /// Where it is, as people write it.
    pub(super) fn host(&self) -> String {
        self.host.display()
    }

    /// Where it is, and the token.
    pub(super) const fn place(&self) -> (&Host, Option<&SecretString>) {
        (&self.host, self.token.as_ref())
    }

    pub(super) fn url(&self, path: &[&str], query: &Query) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear();
            for segment in path {
                // A URL may not hold these as segments; as the name of a key they are `default:` ones.
                match *segment {
                    "." | ".." => segments.push(&format!("default:{segment}")),
                    _ => segments.push(segment),
                };
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.authorized(request).send().await.map_err(|e| self.broken(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<ProblemBody>().await {
            Ok(problem) => Err(Failure::problem(problem)),
            Err(_) => Err(Failure::other(format!("{} answered {status} and not as a wharf daemon does", self.host()))),
        }
    }

    fn broken(&self, e: &reqwest::Error) -> Failure {
        // The innermost cause says it in the system's words.
        let mut cause: &dyn std::error::Error = e;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let failure = Failure::unreachable(format!("no daemon answers on {}: {cause}", self.host()));
        failure.hint("start one with `wharf daemon`, or name one with --host or WHARF_HOST")
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|e| self.broken(&e))?;
        // 204 has no body, which reads as null.
        let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
        serde_json::from_slice(bytes)
            .map_err(|e| Failure::other(format!("{} answered what this version can't read: {e}", self.host())))
    }

    /// GET.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &Query) -> Result<T, Failure> {
        let response = self.send(self.http.get(self.url(path, query))).await?;
        self.read(response).await
    }

    /// GET that waits a moment for a daemon that is being restarted: its socket is there, and nobody listens yet.
    pub(super) async fn get_patiently<T: DeserializeOwned>(&self, ui: &Ui, path: &[&str]) -> Result<T, Failure> {
        let until = tokio::time::Instant::now() + RESTART;
        let (mut pause, mut was_there) = (Pause::default(), false);
        loop {
            let failure = match self.get(path, &Query::new()).await {
                Err(failure) if failure.passes() => failure,
                done => return done,
            };
            was_there |= failure.code().is_some() || matches!(&self.host, Host::Unix(socket) if socket.exists());
            if !was_there || tokio::time::Instant::now() > until {
                return Err(failure);
            }
            if !pause.tried() {
                ui.note("the daemon does not answer; waiting for it to come back …");
            }
            pause.wait().await;
        }
    }

    /// GET of something whose refusal matters too: the body, whatever the status.
    pub(super) async fn get_any(&self, path: &[&str]) -> Result<(StatusCode, serde_json::Value), Failure> {
        let request = self.authorized(self.http.get(self.url(path, &Query::new())));
        let response = request.send().await.map_err(|e| self.broken(&e))?;
        let status = response.status();
        Ok((status, self.read(response).await?))
    }

    /// Any other method, without a body.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &Query,
    ) -> Result<T, Failure> {
        let response = self.send(self.http.request(method, self.url(path, query))).await?;
        self.read(response).await
    }

    /// With a JSON body; gives the status too.
    pub(super) async fn submit<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &B,
    ) -> Result<(StatusCode, T), Failure> {
        let response = self.send(self.http.request(method, self.url(path, &Query::new())).json(body)).await?;
        Ok((response.status(), self.read(response).await?))
    }

    /// GET of something that is no JSON: the answer, to be read piece by piece.
    pub(super) async fn download(&self, path: &[&str], query: &Query) -> Result<Response, Failure> {
        self.send(self.http.get(self.url(path, query))).await
    }

    /// GET of something that is no JSON, or is to be shown as it is.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, Failure> {
        let response = self.download(path, &Query::new()).await?;
        response.text().await.map_err(|e| self.broken(&e))
    }

    /// PUT of a body that comes piece by piece.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query,
        kind: &'static str,
        body: reqwest::Body,
    ) -> Result<T, Failure> {
        let request = self.http.put(self.url(path, query)).header(CONTENT_TYPE, kind).body(body);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// POST with an `Idempotency-Key`; a daemon that goes away meanwhile is waited for and asked again, which the key
    /// makes safe.
    pub(super) async fn post_once<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        key: &str,
    ) -> Result<T, Failure> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        loop {
            let request = self.http.post(self.url(path, &Query::new())).header("Idempotency-Key", key).json(body);
            let answered = match self.send(request).await {
                Ok(response) => self.read(response).await,
                Err(failure) => Err(failure),
            };
            match answered {
                Err(failure) if failure.passes() && tokio::time::Instant::now() < until => pause.wait().await,
                done => return done,
            }
        }
    }

    /// All pages of a list.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &[&str], query: &Query) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let mut query = query.clone();
            query.push(("limit", PAGE.to_owned()));
            query.extend(after.map(|after| ("after", after)));
            let page: Page<T> = self.get(path, &query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// A live stream of a session's events after `after`; `None`: the session is closed and there are no more.
    pub(super) async fn stream(&self, session: &str, after: u64) -> Result<Option<Response>, Failure> {
        let url = self.url(&["v1", "sessions", session, "events"], &vec![("after", after.to_string())]);
        let accept = HeaderValue::from_static("text/event-stream");
        let response = self.send(self.streams.get(url).header(ACCEPT, accept)).await?;
        Ok((response.status() != StatusCode::NO_CONTENT).then_some(response))
    }

    /// A live stream of all sessions' events.
    pub(super) async fn stream_all(&self, query: &Query) -> Result<Response, Failure> {
        let accept = HeaderValue::from_static("text/event-stream");
        self.send(self.streams.get(self.url(&["v1", "events"], query)).header(ACCEPT, accept)).await
    }
}

/// Growing pauses between attempts.
#[derive(Debug, Default)]
pub(super) struct Pause(u32);

impl Pause {
    /// Whether it has waited before.
    pub(super) const fn tried(&self) -> bool {
        self.0 > 0
    }

    /// 50 ms, then twice as long each time, up to 1.6 s.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(Duration::from_millis(50 << self.0.min(5))).await;
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_encoded_into_the_path() {
        let client = Client::new(Host::parse("http://127.0.0.1:1").unwrap(), None).unwrap();
        let url = |id: &str| client.url(&["v1", "sessions", id, "events"], &vec![("after", "3".into())]).to_string();
        assert_eq!(
            url("slack:C1/ts ü?#"),
            "http://127.0.0.1:1/v1/sessions/slack:C1%2Fts%20%C3%BC%3F%23/events?after=3"
        );
        assert_eq!(url(".."), "http://127.0.0.1:1/v1/sessions/default:../events?after=3");
        assert_eq!(url("100%"), "http://127.0.0.1:1/v1/sessions/100%25/events?after=3");
    }
}
