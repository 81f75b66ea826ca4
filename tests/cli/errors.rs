//! What is wrong is said with what to do, and the exit code tells its kind.

use serde_json::Value;

use super::program::Wharf;
use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_it_says_how_to_start_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = format!("unix://{}/s", dir.path().display());
    for wharf in [Wharf::at(&nowhere, None), Wharf::at("http://127.0.0.1:1", Some("x"))] {
        for args in [&["ls"][..], &["send", "x", "hello"], &["doctor"], &["chat", "x"], &["logs", "-f", "x"]] {
            let said = wharf.run(args).await;
            assert!(said.err.starts_with("error: no daemon answers on "), "{args:?}: {said:?}");
            assert!(said.err.contains("wharf daemon") && said.err.contains("--host"), "{said:?}");
            assert_eq!(said.expect(5), "");
        }
        let json = wharf.run(&["ls", "--json"]).await;
        let error: Value = serde_json::from_str(&json.err).expect("JSON");
        assert!(error["hint"].as_str().expect("a hint").contains("wharf daemon"), "{error}");
        json.expect(5);
    }
    // Without WHARF_HOST too; there is no home directory here to look into.
    let mut command = Wharf::at("", None).command(&["ls"]);
    command.env("XDG_STATE_HOME", dir.path()).env("XDG_RUNTIME_DIR", dir.path()).env("WHARF_STATE_DIR", dir.path());
    let output = command.output().await.expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains(&dir.path().display().to_string()) && output.status.code() == Some(5), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_exit_codes() {
    let absent = "[agents.absent]\nprotocol = \"acp\"\nimage = \"wharf/absent:latest\"\nargv = [\"/bin/x\"]\n";
    let daemon = Daemon::start_with(&[], Some(absent)).await;
    let (wharf, client) = (Wharf::of(&daemon), daemon.client());
    let id = client.demo("cli:busy").await;
    let mut events = client.events(&id, 0).await;
    let n = client.prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["send", "no:one", "x"], 6, "`no:one`"),
        (&["logs", "no:one"], 6, "no session has"),
        (&["workspaces", "show", "nowhere"], 6, "nowhere"),
        (&["new", "-w", "nowhere"], 6, "nowhere"),
        (&["new", "--agent", "nobody"], 2, "the agents are"),
        (&["new", "--agent", "absent"], 8, "make images"),
        (&["new", "--image", "not/here:1"], 8, "docker pull not/here:1"),
        (&["new", "--image", "Bad Image"], 2, "image"),
        (&["new", "--key", "a:"], 2, "app:name"),
        (&["new", "--cwd", "here"], 2, "absolute"),
        (&["send", "cli:busy", "--when-busy", "reject", "x"], 8, "busy"),
        (&["send", "cli:busy", " "], 2, "empty"),
        (&["workspaces", "create", "-x"], 2, "--help"),
        (&["workspaces", "create", "a/b", "-i", "wharf/demo:latest"], 2, "letters"),
        (&["workspaces", "create", "w", "--memory", "lots"], 2, "2GiB"),
        (&["ls", "--status", "asleep"], 2, "asleep"),
        (&["ls", "--colour"], 2, "--help"),
        (&["frobnicate"], 2, "frobnicate"),
        (&["--host", "https://example.org", "ls"], 2, "unix:///PATH"),
        (&["--host", "http://example.org", "ls"], 2, "tunnel"),
    ];
    for (args, code, says) in cases {
        let said = wharf.run(args).await;
        assert!(said.err.contains(says), "{args:?}: {says:?} is missing: {said:#?}");
        assert_eq!(said.expect(*code), "", "{args:?}");
    }
    client.post(&format!("/v1/sessions/{id}/cancel"), serde_json::json!({})).await.expect(200);
    events.turn(n).await;
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    let closed = wharf.run(&["send", "cli:busy", "x", "--json"]).await;
    let problem: Value = serde_json::from_str(&closed.err).expect("JSON");
    assert_eq!(problem["code"], "session_closed");
    closed.expect(8);

    let tcp = daemon.tcp();
    let refused = Wharf::at(&tcp, Some("wharf_wrong")).run(&["ls"]).await;
    assert!(refused.err.contains("<state-dir>/token"), "{refused:?}");
    refused.expect(7);
    Wharf::at(&tcp, Some(&daemon.token())).run(&["ls"]).await.expect(0);
    let mut found = Wharf::at(&tcp, None).command(&["ls"]);
    let found = found.env("WHARF_STATE_DIR", daemon.state()).output().await.expect("it runs");
    assert!(found.status.success(), "the token lies in the state directory: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn help_fits_a_screen() {
    let wharf = Wharf::at("", None);
    let page = wharf.run(&["--help"]).await.expect(0);
    assert!((20..=24).contains(&page.lines().count()), "{} lines\n{page}", page.lines().count());
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    let named = ["new", "ls", "send", "chat", "logs", "cancel", "approve", "reset", "rm", "workspaces", "doctor"];
    for name in named.iter().chain(["daemon", "restore", "agents", "shell", "token", "completions", "help"].iter()) {
        assert!(page.contains(&format!("  {name} ")), "{name} is missing in {page}");
        let page = wharf.run(&[name, "--help"]).await.expect(0);
        assert!(page.contains("Usage: wharf") && page.lines().count() <= 40, "{name}:\n{page}");
    }
    for code in 0..=9 {
        let codes = wharf.run(&["help", "exit-codes"]).await.expect(0);
        assert!(codes.contains(&format!("\n    {code}  ")), "{code} is missing in {codes}");
    }
    assert!(wharf.run(&["help", "send"]).await.expect(0).contains("Usage: wharf send"));
    wharf.run(&["help", "nothing"]).await.expect(2);
    for shell in ["bash", "zsh", "fish"] {
        let script = wharf.run(&["completions", shell]).await.expect(0);
        assert!(script.contains("workspaces") && script.contains("shell"), "{shell}");
    }
    let bare = wharf.run(&[]).await;
    assert!(bare.err.contains("Talk with an agent"), "{bare:?}");
    bare.expect(2);
    assert!(wharf.run(&["--version"]).await.expect(0).starts_with("wharf "));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_on_a_terminal_only() {
    let daemon = Daemon::start().await;
    let piped = Wharf::of(&daemon).run(&["send", "nobody", "hello"]).await;
    assert!(piped.err.starts_with("error:") && !piped.err.contains('\u{1b}'), "{piped:?}");
    let mut shown = super::screen::Terminal::open(&daemon, &["send", "nobody", "hello"]);
    shown.wait("\u{1b}[31merror:\u{1b}[0m");
}
