//! Idleness on a clock of the test's own.

use serde_json::json;
use wharf::domain::WorkspaceStatus;
use wharf::session::SessionChanges;
use wharf::terminal::Terminals;

use super::world::{MINUTE, World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal() {
    let world = World::new();
    let session = world.session().await;
    let (id, workspace) = (session.id.as_str(), &session.workspace);
    let mut events = world.sessions.subscribe(id, 0).await.expect("subscribed");
    world.prompt(id, "slow 15").await;
    until(&mut events, "agent_message_chunk").await;
    // A turn in flight is never swept, however long it takes.
    world.pass(600 * MINUTE);
    world.pass(600 * MINUTE);
    until(&mut events, "\"stop_reason\":\"end_turn\"").await;
    // Once it has served this, it has seen the turn's end; and it is a client's request, so the half hour begins now.
    world.sessions.change(id, SessionChanges::default()).await.expect("nothing to change");
    world.pass(29 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    // A terminal holds it, and its idleness begins when the terminal ends.
    let terminal = world.workspaces.hold(workspace);
    world.pass(40 * MINUTE);
    world.pass(40 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    drop(terminal);
    world.pass(29 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    assert_eq!(world.workspaces.watch(workspace).borrow().status, WorkspaceStatus::Running);
    world.pass(MINUTE);
    until(&mut events, "\"status\":\"suspended\"").await;
    world.until_workspace_is(workspace, WorkspaceStatus::Stopped).await;
    assert!(world.workspaces.attached(workspace).is_none(), "no connection is left");
    // The next prompt finds everything as it was.
    world.prompt(id, "recall").await;
    until(&mut events, "slow 15").await;
    assert_eq!(world.workspaces.watch(workspace).borrow().status, WorkspaceStatus::Running);
    world.sessions.close(id, false).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_terminal_keeps_its_workspace_awake_and_when_it_is_gone_the_idle_clock_starts() {
    let world = World::new();
    let session = world.session().await;
    let (id, workspace) = (session.id.as_str(), &session.workspace);
    let mut events = world.sessions.subscribe(id, 0).await.expect("subscribed");
    world.prompt(id, "echo here").await;
    until(&mut events, "\"stop_reason\":\"end_turn\"").await;
    let terminals = Terminals::new(world.workspaces.clone(), world.tracker.clone(), world.stop.clone());
    let shell = serde_json::from_value(json!({ "cols": 80, "rows": 24 })).expect("a terminal");
    let shell = terminals.create(workspace.as_str(), shell).await.expect("it is started");
    let viewer = terminals.attach(workspace.as_str(), &shell.id, [None, None]).await.expect("it is there");
    world.sessions.change(id, SessionChanges::default()).await.expect("the half hour begins now");
    for _ in 0..5 {
        world.pass(40 * MINUTE);
        assert_eq!(world.status(id).await, "idle");
    }
    drop(viewer);
    world.pass(29 * MINUTE);
    assert_eq!(world.status(id).await, "idle");
    assert_eq!(world.workspaces.watch(workspace).borrow().status, WorkspaceStatus::Running);
    world.pass(MINUTE);
    until(&mut events, "\"status\":\"suspended\"").await;
    world.until_workspace_is(workspace, WorkspaceStatus::Stopped).await;
    // It was ended once: whoever had ended it while the terminal was there would have woken nothing again.
    let page = world.sessions.events(id, 0, 1000, &["agent.exited".to_owned()]).await.expect("a page");
    assert_eq!(page.items.len(), 1, "{:?}", page.items);
    world.sessions.close(id, false).await.expect("closed");
}
