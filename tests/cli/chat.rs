//! `wharf chat` on a terminal.

use super::screen::Terminal;
use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_questions_commands_and_an_interruption() {
    let daemon = Daemon::start().await;
    let id = daemon.client().demo("cli:chat").await;
    let mut chat = Terminal::open(&daemon, &["chat", "cli:chat"]);
    chat.wait("/help says what else there is");
    chat.line("echo hello-there");
    chat.wait("\r\nhello-there\r\n");
    chat.line("ask echo permitted");
    chat.wait("permission");
    chat.wait("  1  ");
    chat.line("7");
    chat.wait("a number from 1 to");
    chat.line("1");
    chat.wait("\r\npermitted\r\n");
    chat.line("ask echo refused");
    chat.wait("  1  ");
    chat.line("/cancel");
    chat.wait("is cancelled");
    chat.line("/permissions allow");
    chat.wait("permissions allow");
    chat.line("ask echo by-policy");
    chat.wait("\r\nby-policy\r\n");
    chat.line("slow 1000");
    chat.wait("chunk 2 ");
    chat.keys("\u{3}");
    chat.wait("cancelling; Ctrl-C again leaves it running");
    chat.wait("· cancelled");
    chat.line("/status");
    chat.wait("turns");
    chat.line("/nonsense");
    chat.wait("there is no /nonsense");
    chat.line("/model gigantic");
    chat.wait("this agent has no model");
    chat.line("/model demo-2");
    chat.wait("model demo-2");
    chat.line("/help");
    chat.wait("/quit");
    chat.line("fail");
    chat.wait("the turn failed");
    chat.line("/quit");
    assert_eq!(chat.end(), 0);
    assert_eq!(daemon.client().session(&id).await["status"], "idle", "the session stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_outlives_the_daemon() {
    let mut daemon = Daemon::start().await;
    daemon.client().demo("cli:chat").await;
    let mut chat = Terminal::open(&daemon, &["chat", "cli:chat"]);
    chat.line("slow 30");
    let mut seen = chat.wait("chunk 3 ");
    daemon.kill();
    daemon.start_again().await;
    seen.push_str(&chat.wait("chunk 30 "));
    for n in 1..=30 {
        assert_eq!(seen.matches(&format!("chunk {n} ")).count(), 1, "chunk {n} once in {seen:?}");
    }
    // Asked before the daemon goes, answered after it is back.
    chat.line("ask echo still-permitted");
    chat.wait("  1  ");
    daemon.stop();
    daemon.start_again().await;
    chat.line("1");
    chat.wait("\r\nstill-permitted\r\n");
    chat.wait("› ");
    chat.keys("\u{4}");
    assert_eq!(chat.end(), 0, "Ctrl-D leaves too");
}
