//! The server: a thread a connection, the routes, and the log of what was asked.

use std::{
    io::{self, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    api::Api,
    ask::{Ask, tokens},
    http::{Connection, Request},
    plan::plan,
};

/// More than an agent opens; a client gone mad must not take the machine's threads.
const MAX_CONNECTIONS: usize = 256;

struct Server<W> {
    delay: Duration,
    log: Mutex<W>,
    requests: AtomicU64,
    connections: AtomicUsize,
}

/// Serves until the listener fails; what was asked goes to `log`, one JSON document a line.
///
/// # Errors
/// The listener's, and the log's.
pub(crate) fn serve(listener: &TcpListener, delay: Duration, log: impl Write + Send) -> io::Result<()> {
    let server = Server { delay, log: Mutex::new(log), requests: AtomicU64::new(0), connections: AtomicUsize::new(0) };
    server.log(&json!({"listening": listener.local_addr()?.to_string()}))?;
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let stream = stream?;
            if server.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
                continue;
            }
            server.connections.fetch_add(1, Ordering::Relaxed);
            scope.spawn(|| {
                // A client that breaks off or talks nonsense is no failure of the server; the log has it.
                if let Err(error) = server.connection(stream) {
                    let _ = server.log(&json!({"event": "broken", "error": error.to_string()}));
                }
                server.connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
        Ok(())
    })
}

/// An id as the APIs have them: a prefix and 24 hexadecimal digits, never the same twice.
pub(super) fn new_id(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{prefix}{:016x}{:08x}", now & u128::from(u64::MAX), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl<W: Write> Server<W> {
    fn log(&self, record: &Value) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(log, "{record}")?;
        log.flush()
    }

    fn connection(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = Connection::new(stream)?;
        while let Some(request) = connection.read()? {
            let n = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let (ask, event) = self.answer(n, &request, &mut connection)?;
            if ask {
                self.log(&json!({"n": n, "event": if event.is_ok() { "finished" } else { "disconnect" }}))?;
            }
            if event.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Answers one request; says whether the model was asked, and whether the client stayed to the end.
    fn answer(&self, n: u64, request: &Request, connection: &mut Connection) -> io::Result<(bool, io::Result<()>)> {
        let mut record = json!({"n": n, "method": request.method, "path": request.path});
        let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let api = Api::of(&request.path);
        let told = match (request.method.as_str(), request.path.as_str(), api) {
            ("HEAD", _, _) => connection.head(),
            ("GET", "/health", _) => connection.json(200, &json!({"ok": true})),
            ("GET", "/v1/models", _) => connection.json(200, &models()),
            ("POST", _, Some(api)) if !body.is_object() => {
                record["bad_body"] = request.header("content-encoding").unwrap_or("no JSON object").into();
                api.fail(connection, 400, "the body is not a JSON object")
            }
            ("POST", "/v1/messages/count_tokens", _) => {
                connection.json(200, &json!({"input_tokens": tokens(&body.to_string())}))
            }
            ("POST", path, Some(api)) if Api::is_asked(path) => {
                let ask = api.understand(&body);
                let steps = plan(&ask, self.delay);
                self.log(&describe(record, request, api, &ask))?;
                return Ok((true, api.answer(connection, &ask, &steps)));
            }
            (_, path, api) => {
                record["unknown"] = true.into();
                api.unwrap_or(Api::Chat).fail(connection, 404, &format!("no {path} here"))
            }
        };
        self.log(&record)?;
        Ok((false, told))
    }
}

/// The models, in the words of both Anthropic and OpenAI; any other name is answered as well.
fn models() -> Value {
    let model = |id: &str| {
        json!({"id": id, "type": "model", "object": "model", "display_name": id, "created": 0, "owned_by": "mock",
               "created_at": "2026-01-01T00:00:00Z"})
    };
    // Codex looks for a catalogue of its own under `models`.
    json!({"object": "list", "data": [model("mock-1"), model("mock-2")], "models": [], "has_more": false,
           "first_id": "mock-1", "last_id": "mock-2"})
}

/// The log's record of a request to the model. How it was authorised is told, the secret never.
fn describe(mut record: Value, request: &Request, api: Api, ask: &Ask) -> Value {
    let auth = match (request.header("x-api-key"), request.header("authorization")) {
        (Some(_), _) => Some("x-api-key"),
        (None, Some(value)) if value.starts_with("Bearer ") => Some("bearer"),
        (None, Some(_)) => Some("authorization"),
        (None, None) => None,
    };
    let start = |text: &str| text.chars().take(200).collect::<String>();
    record["api"] = api.name().into();
    record["model"] = ask.model.as_str().into();
    record["stream"] = ask.stream.into();
    record["text"] = start(&ask.text).into();
    record["length"] = ask.text.len().into();
    record["turns"] = ask.turns.into();
    record["tool_output"] = ask.tool_output.as_deref().map(start).into();
    record["tool_output_length"] = ask.tool_output.as_ref().map(String::len).into();
    record["tools"] = ask.tools.keys().cloned().collect::<Vec<_>>().into();
    record["aside"] = ask.aside.into();
    record["auth"] = auth.into();
    record["user_agent"] = request.header("user-agent").into();
    record
}
