//! Requests that were right, and what is done to them before they are sent, byte for byte.

use proptest::{prelude::*, sample::Index};

use crate::mutate::{Change, Edit, change, edit};

/// A call of the API as a client would make it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    method: &'static str,
    path: &'static str,
    body: &'static str,
}

const fn call(method: &'static str, path: &'static str, body: &'static str) -> Call {
    Call { method, path, body }
}

const SESSION: &str = r#"{"agent":"absent","key":"it:made","model":"m","mode":"build","cwd":"/workspace","permissions":"ask",
"env":{"A":"b"},"labels":{"a":"b"},"mcp_servers":[{"name":"s","command":"/x","args":["a"],"env":[{"name":"A","value":"b"}]}],
"agent_session_id":"x","project":"p","channel":"c","task_id":"t","mcp_session_id":"m","max_turns":3,"max_cost":1.5,
"workspace":{"image":"nobody/none:1","cpus":0.5,"memory":67108864,"pids":99,"network":"none"},
"prompt":[{"type":"text","text":"echo x"}]}"#;
const WORKSPACE: &str = r#"{"name":"made","image":"nobody/none:1","cpus":0.5,"memory":67108864,"pids":99,"network":"none",
"env":{"A":"b"},"labels":{"a":"b"},"repo":{"url":"https://localhost/x.git","ref":"main"},"setup":"true","mounts":[]}"#;

/// `VICTIM` is a session that may be changed, `PLACE` its workspace, `SCREEN` a terminal there.
pub(crate) const CALLS: [Call; 36] = [
    call("GET", "/healthz", ""),
    call("GET", "/v1/agents?image=nobody/none:1", ""),
    call("GET", "/v1/events?after=0&limit=5&session=VICTIM&type=update,turn.ended", ""),
    call("GET", "/v1/orphans", ""),
    call("GET", "/v1/sessions?app=it&workspace=PLACE&agent=demo&status=idle&project=p&label=a=b&limit=10", ""),
    call("POST", "/v1/sessions", SESSION),
    call("POST", "/v1/sessions", r#"{"agent":"absent","key":"it:VICTIM","prompt":"echo x"}"#),
    call("POST", "/v1/sessions/recreate?project=p&reason=x", ""),
    call("GET", "/v1/sessions/VICTIM", ""),
    call(
        "PATCH",
        "/v1/sessions/VICTIM",
        r#"{"model":"demo-2","permissions":"deny","labels":{"a":"b"},"project":"p","channel":"c","task_id":"t","max_turns":9,"max_cost":2.5}"#,
    ),
    call("DELETE", "/v1/sessions/it:nobody?purge=true", ""),
    call("POST", "/v1/sessions/VICTIM/cancel?queue=true", ""),
    call("GET", "/v1/sessions/VICTIM/events?after=1&limit=2&type=update", ""),
    call("GET", "/v1/sessions/it%3Alater/events?wait=true", ""),
    call("GET", "/v1/sessions/VICTIM/permissions", ""),
    call("POST", "/v1/sessions/VICTIM/permissions/r1-p1", r#"{"option_id":"allow","kind":"allow_once"}"#),
    call("GET", "/v1/sessions/VICTIM/prompts?after=0&limit=5", ""),
    call("POST", "/v1/sessions/VICTIM/prompts", r#"{"content":"echo hello","when_busy":"queue"}"#),
    call(
        "POST",
        "/v1/sessions/VICTIM/prompts?wait=1s",
        r#"{"content":[{"type":"text","text":"echo x"},{"type":"resource_link","uri":"file:///x","name":"x"}],"when_busy":"reject"}"#,
    ),
    call("DELETE", "/v1/sessions/VICTIM/prompts/7", ""),
    call("POST", "/v1/sessions/VICTIM/recreate?reason=x", ""),
    call("GET", "/v1/stats?project=p", ""),
    call("GET", "/v1/tokens", ""),
    call("POST", "/v1/tokens", r#"{"name":"made","scope":"read"}"#),
    call("DELETE", "/v1/tokens/nobody", ""),
    call("POST", "/v1/tokens/nobody/rotate", ""),
    call("POST", "/v1/workspaces", WORKSPACE),
    call("GET", "/v1/workspaces?after=ws_0&limit=5", ""),
    call("GET", "/v1/workspaces/PLACE", ""),
    call("GET", "/v1/workspaces/PLACE/files?path=/workspace/x", ""),
    call("PUT", "/v1/workspaces/PLACE/files?path=/workspace/x", "some bytes"),
    call("GET", "/v1/workspaces/PLACE/logs?tail=5", ""),
    call("POST", "/v1/workspaces/nowhere/recreate", r#"{"image":"nobody/none:1","cpus":1}"#),
    call(
        "POST",
        "/v1/workspaces/PLACE/terminals",
        r#"{"argv":["/nothing"],"cols":80,"rows":24,"cwd":"/workspace","env":{"A":"b"},"pty":true}"#,
    ),
    call("GET", "/v1/workspaces/PLACE/terminals/SCREEN?stdout=0&stderr=0", ""),
    call("GET", "/openapi.json", ""),
];

const METHODS: [&str; 10] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "gEt", "PRI"];

const PARTS: [&str; 22] = [
    "",
    "/",
    "//",
    "..",
    "%2e%2e",
    "%2f",
    "%00",
    "%",
    "%ff",
    "%zz",
    "é",
    "%c3%a9",
    "?",
    "#",
    "a:b:c",
    ":",
    "VICTIM",
    "PLACE",
    "*",
    "0",
    "99999999999999999999",
    "it%3Anobody%2Fx",
];

const HEADERS: [&str; 32] = [
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: 99999999999",
    "Content-Length: 18446744073709551616",
    "Content-Length: -1",
    "Content-Length: +5",
    "Content-Length: 5, 6",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Expect: 100-continue",
    "Accept: text/event-stream",
    "Last-Event-ID: 1",
    "Last-Event-ID: -1",
    "Last-Event-ID: 99999999999999999999999",
    "Last-Event-ID: 1.0.0.0",
    "Last-Event-ID: \u{e9}",
    "Content-Type: text/xml",
    "Content-Type: application/json; charset=\"",
    "Idempotency-Key: one",
    "Idempotency-Key: \u{e9}\u{e9}",
    "Host: evil.example",
    "Host: localhost:1:2",
    "Host:",
    "Origin: https://evil.example",
    "Origin: null",
    "Authorization: Bearer x",
    "Authorization: Basic \u{e9}",
    "Connection: close, upgrade",
    "Upgrade: h2c",
    "Range: bytes=5-1",
    " folded: yes",
];

const WEBSOCKET: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What is done to a call.
#[derive(Clone, Debug)]
pub(crate) enum Twist {
    Method(usize),
    /// A part of the path becomes another.
    Part(Index, usize),
    Query(String),
    Header(usize),
    LongHeader(usize),
    ManyHeaders(usize),
    Body(Edit),
    /// The body says another length than it has.
    Lies(i64),
    /// The body comes in chunks, right or not.
    Chunks(Vec<(String, Vec<u8>)>),
    /// A WebSocket, and what is said on it.
    Frames(Vec<Vec<u8>>),
    Bytes(Change),
}

pub(crate) fn twist() -> impl Strategy<Value = Twist> {
    let size = prop_oneof!["[0-9a-f]{1,3}", "[0-9A-Fa-f]{14,20}", "-?[0-9g-z;=\"]{0,5}", Just("0".to_owned())];
    let chunk = (size, prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        1 => (0..METHODS.len()).prop_map(Twist::Method),
        3 => (any::<Index>(), 0..PARTS.len()).prop_map(|(at, part)| Twist::Part(at, part)),
        2 => "[a-z]{0,9}=?[ -~é]{0,20}".prop_map(Twist::Query),
        3 => (0..HEADERS.len()).prop_map(Twist::Header),
        1 => (1..100_000_usize).prop_map(Twist::LongHeader),
        1 => (1..300_usize).prop_map(Twist::ManyHeaders),
        8 => edit().prop_map(Twist::Body),
        1 => (-40..40_i64).prop_map(Twist::Lies),
        1 => prop::collection::vec(chunk, 0..6).prop_map(Twist::Chunks),
        2 => prop::collection::vec(frame(), 1..12).prop_map(Twist::Frames),
        5 => change().prop_map(Twist::Bytes),
    ]
}

/// A WebSocket frame, right or not: its head may lie about all that it can say.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..130),
        Just(br#"{"type":"resize","cols":4294967295,"rows":0}"#.to_vec()),
        Just(br#"{"type":"eof"}"#.to_vec()),
        crate::mutate::odd().prop_map(String::into_bytes),
    ];
    let head = (0..16_u8, 0..8_u8, prop::bool::weighted(0.9), prop::option::weighted(0.2, any::<u64>()));
    (head, payload).prop_map(|((opcode, reserved, masked, lie), payload)| {
        let known = [0, 1, 1, 1, 2, 2, 2, 8, 9, 10];
        let opcode = known.get(usize::from(opcode)).copied().unwrap_or(opcode);
        let fin = if reserved & 4 == 0 { 0x80 } else { 0 };
        let mut frame = vec![fin | opcode | if reserved == 7 { 0x70 } else { 0 }];
        let mask = if masked { 0x80 } else { 0 };
        let length = lie.unwrap_or(payload.len() as u64);
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        if masked {
            // A mask of zeros: the payload stays readable.
            frame.extend_from_slice(&[0; 4]);
        }
        frame.extend_from_slice(&payload);
        frame
    })
}

/// A call and what is done to it.
pub(crate) fn twisted() -> impl Strategy<Value = (Index, Vec<Twist>)> {
    (any::<Index>(), prop::collection::vec(twist(), 0..4))
}

/// The bytes that are sent.
pub(crate) fn bytes(call: &Call, twists: &[Twist], names: &[(&str, &str)], token: Option<&str>) -> Vec<u8> {
    let (mut method, mut path, mut body) = (call.method, call.path.to_owned(), call.body.to_owned());
    let (mut headers, mut tail, mut chunked, mut lie) = (String::new(), Vec::new(), None, 0);
    for twist in twists {
        match twist {
            Twist::Method(which) => method = METHODS[*which],
            Twist::Part(at, part) => {
                let mut parts: Vec<&str> = path.split('/').collect();
                let at = at.index(parts.len());
                parts[at] = PARTS[*part];
                path = parts.join("/");
            }
            Twist::Query(more) => path = format!("{path}{}{more}", if path.contains('?') { '&' } else { '?' }),
            Twist::Header(which) => headers += &format!("{}\r\n", HEADERS[*which]),
            Twist::LongHeader(length) => headers += &format!("X-Long: {}\r\n", "x".repeat(*length)),
            Twist::ManyHeaders(count) => (0..*count).for_each(|n| headers += &format!("X-{n}: {n}\r\n")),
            Twist::Body(edit) => body = edit.apply(body),
            Twist::Lies(by) => lie = *by,
            Twist::Chunks(chunks) => chunked = Some(chunks),
            Twist::Frames(frames) => {
                headers += WEBSOCKET;
                tail = frames.concat();
            }
            Twist::Bytes(_) => {}
        }
    }
    for (name, value) in names {
        (path, body) = (path.replace(name, value), body.replace(name, value));
    }
    let mut out = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.contains("Host:") {
        out += "Host: localhost\r\n";
    }
    if let Some(token) = token.filter(|_| !headers.contains("Authorization:")) {
        out += &format!("Authorization: Bearer {token}\r\n");
    }
    let kind = if call.method == "PUT" { "application/octet-stream" } else { "application/json" };
    if !body.is_empty() && !headers.contains("Content-Type:") {
        out += &format!("Content-Type: {kind}\r\n");
    }
    out += &headers;
    let mut body = body.into_bytes();
    if let Some(chunks) = chunked {
        out += "Transfer-Encoding: chunked\r\n";
        body = chunks.iter().flat_map(|(size, data)| [size.as_bytes(), b"\r\n", data, b"\r\n"].concat()).collect();
    } else if !body.is_empty() && !headers.contains("Content-Length:") && !headers.contains("Transfer-Encoding:") {
        out += &format!("Content-Length: {}\r\n", body.len().saturating_add_signed(lie as isize));
    }
    let mut out = [out.as_bytes(), b"\r\n", &body, &tail].concat();
    for twist in twists {
        if let Twist::Bytes(change) = twist {
            change.apply(&mut out);
        }
    }
    out
}
