//! The tests' own model API, spoken to as an agent does: what the tests with real agents stand on.

#[path = "support/model_server/mod.rs"]
mod model_server;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The log, a line at a time, as the test reads it.
struct Lines(mpsc::SyncSender<Value>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = serde_json::from_slice(line).expect("a line of the log is one JSON document");
            self.0.send(line).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Server {
    address: SocketAddr,
    log: mpsc::Receiver<Value>,
}

impl Server {
    fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, log) = mpsc::sync_channel(1024);
        // It serves for as long as the test's process lives.
        thread::spawn(move || model_server::serve(&listener, delay, io::LineWriter::new(Lines(sender))));
        let server = Self { address, log };
        assert_eq!(server.logged()["listening"], address.to_string());
        server
    }

    fn logged(&self) -> Value {
        self.log.recv_timeout(Duration::from_secs(10)).expect("a line in the log")
    }

    fn send(&self, request: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        BufReader::new(stream)
    }

    /// One request on a connection of its own: the head and the body of the answer.
    fn whole(&self, request: &str) -> (String, String) {
        let mut stream = self.send(request);
        stream.get_ref().shutdown(Shutdown::Write).expect("no more requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }
}

fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("POST {path} HTTP/1.1\r\nhost: model\r\nx-api-key: secret\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn message(text: &str, stream: bool) -> String {
    post(
        "/v1/messages?beta=true",
        &json!({"model": "m1", "stream": stream, "tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": text}]}),
    )
}

/// The same question in the words of an API of OpenAI's, by its route.
fn openai(route: &str, text: &str, stream: bool) -> String {
    let tool = json!({"name": "shell", "type": "function", "function": {"name": "bash"}});
    let user = [json!({"role": "user", "content": text})];
    let key = if route == "/v1/responses" { "input" } else { "messages" };
    post(route, &json!({"model": "m1", "stream": stream, "tools": [tool], key: user}))
}

/// The events of a chunked stream, its framing and their names checked.
fn events(body: &str) -> Vec<Value> {
    let named = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").expect("an event with a name");
        let data: Value = serde_json::from_str(data.trim_end()).expect("data is JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    chunks(body).iter().map(|chunk| named(chunk)).collect()
}

/// The chunks of a body, the framing checked.
fn chunks(mut body: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk's size");
        let (chunk, rest) = rest.split_at(usize::from_str_radix(size, 16).expect("hexadecimal"));
        body = rest.strip_prefix("\r\n").expect("a chunk's end");
        if chunk.is_empty() {
            assert_eq!(body, "", "nothing after the last chunk");
            return chunks;
        }
        chunks.push(chunk);
    }
}

#[test]
fn a_streamed_answer_has_the_events_of_the_messages_api() {
    let server = Server::start(Duration::from_millis(1));
    let (head, body) = server.whole(&message("think all is well", true));
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let events = events(&body);
    let types: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(types[types.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, "all is well");
    let starts: Vec<_> = events.iter().filter_map(|event| event["content_block"]["type"].as_str()).collect();
    assert_eq!(starts, ["thinking", "text"]);
    assert_eq!(events[types.len() - 2]["delta"]["stop_reason"], "end_turn");
}

#[test]
fn a_tool_call_and_its_result_make_a_turn() {
    let server = Server::start(Duration::from_millis(1));
    let (_, body) = server.whole(&message("run echo hi", true));
    let events = events(&body);
    let call = events.iter().find(|event| event["content_block"]["type"] == "tool_use").expect("a call");
    let input = events.iter().find_map(|event| event["delta"]["partial_json"].as_str()).expect("its input");
    assert_eq!(serde_json::from_str::<Value>(input).expect("JSON")["command"], "echo hi");
    let (_, body) = server.whole(&post(
        "/v1/messages",
        &json!({"messages": [
            {"role": "user", "content": "run echo hi"},
            {"role": "assistant", "content": [call["content_block"]]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["content_block"]["id"], "content": "hi\n"}]},
        ]}),
    ));
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["content"], json!([{"type": "text", "text": "DONE\nhi"}]));
    assert_eq!(answer["stop_reason"], "end_turn");
    let asked: Vec<Value> = (0..4).map(|_| server.logged()).filter(|line| line["api"] == "anthropic").collect();
    assert_eq!((&asked[0]["text"], &asked[0]["auth"]), (&json!("run echo hi"), &json!("x-api-key")));
    assert_eq!(asked[1]["tool_output"], "hi\n");
    assert!(!asked.iter().any(|line| line.to_string().contains("secret")), "the key is not logged");
}

#[test]
fn a_streamed_answer_has_the_events_of_the_responses_api() {
    let server = Server::start(Duration::from_millis(1));
    let (head, body) = server.whole(&openai("/v1/responses", "think all is well", true));
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    let events = events(&body);
    assert!(events.iter().enumerate().all(|(n, event)| event["sequence_number"] == n), "{events:#?}");
    let last = &events[events.len() - 1];
    assert_eq!((&events[0]["type"], &last["type"]), (&json!("response.created"), &json!("response.completed")));
    let deltas = |kind: &str| -> String {
        events.iter().filter(|e| e["type"] == kind).filter_map(|e| e["delta"].as_str()).collect()
    };
    assert_eq!(deltas("response.output_text.delta"), "all is well");
    let thought = deltas("response.reasoning_summary_text.delta");
    let output = &last["response"]["output"];
    assert_eq!((&output[0]["type"], &output[0]["summary"][0]["text"]), (&json!("reasoning"), &json!(thought)));
    assert_eq!((&output[1]["status"], &output[1]["content"][0]["text"]), (&json!("completed"), &json!("all is well")));
    let whole = server.whole(&openai("/v1/responses", "think all is well", false)).1;
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(whole["output"][1]["content"], output[1]["content"]);
}

#[test]
fn a_conversation_is_compacted_on_request() {
    let server = Server::start(Duration::ZERO);
    let input = json!([{"role": "user", "content": "hang 600"}, {"type": "compaction_trigger"}]);
    let request = post("/v1/responses", &json!({"model": "m1", "stream": false, "input": input}));
    let whole: Value = serde_json::from_str(&server.whole(&request).1).expect("JSON");
    let kinds: Vec<_> = whole["output"].as_array().expect("items").iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["compaction"]);
}

#[test]
fn a_streamed_answer_has_the_chunks_of_chat_completions() {
    let server = Server::start(Duration::from_millis(1));
    let (_, body) = server.whole(&openai("/v1/chat/completions", "think all is well", true));
    let mut chunks = chunks(&body);
    assert_eq!(chunks.pop(), Some("data: [DONE]\n\n"));
    let data = |chunk: &&str| serde_json::from_str(chunk.strip_prefix("data: ").expect("no name")).expect("JSON");
    let chunks: Vec<Value> = chunks.iter().map(data).collect();
    let all = |key: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][key].as_str()).collect()
    };
    assert_eq!(all("content"), "all is well");
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(chunks[chunks.len() - 1]["usage"]["total_tokens"].as_u64() > Some(0));
    let whole = server.whole(&openai("/v1/chat/completions", "think all is well", false)).1;
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    let message = &whole["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("all is well"), &json!(all("reasoning_content")))
    );
}

#[test]
fn every_api_calls_tools_fails_and_is_logged() {
    let server = Server::start(Duration::from_millis(1));
    for (route, api) in [("/v1/responses", "responses"), ("/v1/chat/completions", "chat")] {
        let (_, body) = server.whole(&openai(route, "run echo hi", false));
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let call = match api {
            "chat" => &answer["choices"][0]["message"]["tool_calls"][0]["function"],
            _ => &answer["output"][0],
        };
        let input: Value = serde_json::from_str(call["arguments"].as_str().expect("arguments")).expect("JSON");
        assert!(input["command"].to_string().contains("echo hi"), "{body}");
        let (head, body) = server.whole(&openai(route, "error 429 slow down", true));
        assert!(head.starts_with("HTTP/1.1 429") && body.contains(r#""message":"slow down""#), "{head} {body}");
        let asked: Vec<Value> = (0..4).map(|_| server.logged()).filter(|line| line["api"] == api).collect();
        assert_eq!((&asked[0]["text"], &asked[0]["model"]), (&json!("run echo hi"), &json!("m1")));
        assert_eq!((&asked[1]["stream"], &asked[1]["turns"]), (&json!(true), &json!(1)));
    }
    let (_, models) = server.whole("GET /v1/models HTTP/1.1\r\n\r\n");
    let models: Value = serde_json::from_str(&models).expect("JSON");
    assert_eq!((&models["object"], &models["data"][0]["object"]), (&json!("list"), &json!("model")));
}

#[test]
fn a_client_that_goes_away_is_noticed_at_once() {
    let server = Server::start(Duration::from_secs(600));
    let mut stream = server.send(&message("slow 3", true));
    let mut line = String::new();
    while !line.contains("chunk 1 ") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).expect("the stream goes on"), 0);
    }
    assert_eq!(server.logged()["text"], "slow 3");
    let began = Instant::now();
    drop(stream);
    assert_eq!(server.logged()["event"], "disconnect");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn errors_and_small_routes_answer_on_one_connection() {
    let server = Server::start(Duration::ZERO);
    let requests = [
        message("error 529 too much", false),
        post("/v1/messages/count_tokens", &json!({"messages": []})),
        "HEAD / HTTP/1.1\r\n\r\n".to_owned(),
        "POST /v1/messages HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"m\r\n8\r\nodel\":1}\r\n0\r\n\r\n"
            .to_owned(),
        post("/v1/messages", &json!("no object")),
        post("/v1/nothing", &json!({})),
    ];
    let (head, rest) = server.whole(&requests.concat());
    assert!(head.starts_with("HTTP/1.1 529"), "{head}");
    assert!(rest.contains("overloaded_error") && rest.contains("too much") && rest.contains("input_tokens"), "{rest}");
    let statuses: Vec<&str> = rest.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400", "404"]);
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let server = Server::start(Duration::ZERO);
    for nonsense in
        ["\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n"]
    {
        let mut stream = server.send(nonsense);
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{nonsense:?}");
        assert_eq!(server.logged()["event"], "broken");
    }
    assert!(server.whole("GET /health HTTP/1.1\r\n\r\n").1.contains("true"));
}
