//! A real session whose agent's wire carries anything in the middle of a turn: the session answers afterwards.

use proptest::{prelude::*, sample::Index};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    fuzz::fuzz,
    mutate::{Change, Edit, change, edit},
    seen::{memory, unharmed},
    support::{Client, Daemon, so, until},
};

/// What agents have said, of all protocols: most of it is noise to the one that hears it.
fn said() -> Vec<String> {
    let mut lines = Vec::new();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures");
    let mut files: Vec<_> =
        std::fs::read_dir(dir).expect("captures").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a capture");
        let said = text.lines().filter(|line| line[9..].starts_with('<')).map(|line| line[11..].to_owned());
        // Those of its own protocol come as often as all others together.
        let own = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("acp"));
        said.for_each(|line| lines.extend(std::iter::repeat_n(line, if own { 4 } else { 1 })));
    }
    // With ids that the session's own requests have, too.
    for id in 0..12 {
        lines.push(json!({"jsonrpc": "2.0", "id": id, "result": {"stopReason": "end_turn"}}).to_string());
        lines.push(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "no"}}).to_string());
    }
    lines
}

type Line = (Index, Vec<Edit>, Vec<Change>);

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let edits = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(edit(), 1..4)];
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(change(), 1..3)];
    prop::collection::vec((any::<Index>(), edits, changes), 1..40)
}

/// One turn full of noise, and one that is none.
async fn case(client: &Client, id: &str, noise: Vec<u8>) {
    let path = format!(
        "/v1/workspaces/{}/files?path=/workspace/noise",
        client.session(id).await["workspace"].as_str().expect("an id")
    );
    let request = client.request("PUT", &path).header("content-type", "application/octet-stream").body(noise);
    assert_eq!(Client::send(request).await.expect("an answer").status, 200);
    client.prompt(id, "run cat /workspace/noise > /proc/$PPID/fd/1").await;
    let rests = async || {
        let session = client.session(id).await;
        let status = session["status"].as_str().unwrap_or_default().to_owned();
        if status == "waiting" {
            // It has asked for a permission that it did not wait for.
            client.post(&format!("/v1/sessions/{id}/cancel"), json!({})).await;
        }
        so(["idle", "suspended", "error"].contains(&status.as_str()), session)
    };
    until("an end of the turn", rests).await;
    let restored = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    if restored.status != 200 {
        // An agent that has said that it lost its memory is not begun afresh without a word.
        assert!(restored.json.to_string().contains("reset the session"), "{:#}", restored.json);
        client.post(&format!("/v1/sessions/{id}/reset"), json!({})).await;
        client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    }
    until("rest", rests).await;
    let (text, end) = client.turn(id, "echo still here").await;
    assert!(text.contains("still here") && end["status"] == "done", "{text:?} {end:#}");
}

#[test]
fn fuzz_a_session_answers_after_any_noise() {
    let runtime = Runtime::new().expect("a runtime");
    let (daemon, client, id) = runtime.block_on(async {
        let daemon = Daemon::start_with(&[], Some("[rate]\nrequests = 0\n")).await;
        let client = daemon.client();
        let id = client.demo("it:noise").await;
        client.turn(&id, "echo hello").await;
        (daemon, client, id)
    });
    let (said, before) = (said(), memory(daemon.pid()));
    fuzz("noise on a session's wire", &lines(), |lines| {
        let mut noise = Vec::new();
        for (which, edits, changes) in lines {
            let text = edits.iter().fold(which.get(&said).clone(), |text, edit| edit.apply(text));
            let mut line = text.into_bytes();
            changes.iter().for_each(|change| change.apply(&mut line));
            noise.extend_from_slice(&line);
            noise.push(b'\n');
        }
        runtime.block_on(async {
            case(&client, &id, noise).await;
            // What an agent says wrong may be told in the log, but not as an error of the daemon's.
            unharmed(&daemon, &client, before, &mut 0).await;
        });
    });
    drop(daemon);
}
