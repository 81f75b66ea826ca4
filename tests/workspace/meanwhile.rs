//! What others do meanwhile: to the containers, to the daemon, to the engine.

use super::*;

#[tokio::test]
async fn what_others_do_to_the_container_is_told_in_words_and_healed() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (workspaces, engine) = (&rooms.workspaces, &site.ground.engine);
    let (made, _) = workspaces.create(named("abused")).await.unwrap();
    let name = container(&made.id);
    let mut watched = workspaces.watch(&made.id);
    let client = soon("the start", workspaces.attach(&made.id)).await.unwrap();
    until(&mut watched, WorkspaceStatus::Running).await;

    engine.pause_container(&name).await.unwrap();
    let paused = until(&mut watched, WorkspaceStatus::Paused).await;
    assert!(paused.reason.unwrap().contains("paused"));
    soon("thawing", workspaces.attach(&made.id)).await.unwrap();
    assert_eq!(engine.inspect_container(&name).await.unwrap().state, ContainerState::Running);

    engine.kill_container(&name, "KILL").await.unwrap();
    let killed = until(&mut watched, WorkspaceStatus::Stopped).await;
    assert!(killed.reason.unwrap().contains("killed"));
    soon("the connection's end", client.closed()).await;
    assert!(workspaces.attached(&made.id).is_none());

    let client = soon("starting again", workspaces.attach(&made.id)).await.unwrap();
    until(&mut watched, WorkspaceStatus::Running).await;
    engine.remove_container(&name).await.unwrap();
    let removed = until(&mut watched, WorkspaceStatus::Absent).await;
    assert!(removed.reason.unwrap().contains("removed"));
    soon("the connection's end", client.closed()).await;

    soon("making it again", workspaces.attach(&made.id)).await.unwrap();
    until(&mut watched, WorkspaceStatus::Running).await;
    // Paused, stopped: a frozen PID 1 takes no signal.
    engine.pause_container(&name).await.unwrap();
    until(&mut watched, WorkspaceStatus::Paused).await;
    soon("the stop", workspaces.stop("abused")).await.unwrap();
    assert_eq!(engine.inspect_container(&name).await.unwrap().state, ContainerState::Exited);
    workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn a_daemon_that_comes_back_finds_its_containers_running() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (made, _) = rooms.workspaces.create(named("kept")).await.unwrap();
    soon("the start", rooms.workspaces.attach(&made.id)).await.unwrap();
    let before = site.ground.engine.inspect_container(&container(&made.id)).await.unwrap();
    rooms.close().await;
    let after = site.ground.engine.inspect_container(&container(&made.id)).await.unwrap();
    assert_eq!((after.state, &after.id), (ContainerState::Running, &before.id));

    let rooms = site.reopen();
    let mut engine_state = rooms.workspaces.engine_state();
    soon("the engine", engine_state.wait_for(|state| *state == EngineState::Up)).await.unwrap();
    assert_eq!(rooms.workspaces.running().await.unwrap(), std::slice::from_ref(&made.id));
    until(&mut rooms.workspaces.watch(&made.id), WorkspaceStatus::Running).await;
    soon("the connection", rooms.workspaces.attach(&made.id)).await.unwrap();
    assert_eq!(site.ground.engine.inspect_container(&container(&made.id)).await.unwrap().id, before.id);
    rooms.workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn a_daemon_that_comes_back_leaves_the_socket_of_what_lives() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (made, _) = rooms.workspaces.create(named("kept")).await.unwrap();
    soon("the start", rooms.workspaces.attach(&made.id)).await.unwrap();
    let name = container(&made.id);
    let socket = site.dir.path().join("run").join(name.trim_start_matches("wharf-")).join("s");
    assert_eq!(socket.exists(), engine().endpoint().is_local());
    let before = socket.symlink_metadata().ok().map(|socket| socket.ino());
    let mut open = rooms;
    for paused in [false, true] {
        open.close().await;
        if paused {
            site.ground.engine.pause_container(&name).await.unwrap();
        }
        open = site.reopen();
        // At once: before it has seen what runs.
        soon("the connection", open.workspaces.attach(&made.id)).await.unwrap();
        assert_eq!(socket.symlink_metadata().ok().map(|socket| socket.ino()), before, "paused: {paused}");
        assert_eq!(site.ground.engine.inspect_container(&name).await.unwrap().state, ContainerState::Running);
    }
    open.workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    open.close().await;
}

fn docker(args: &[&str]) -> String {
    let done = std::process::Command::new("docker").args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_tether_that_the_engine_does_not_know_of_is_ended_before_another_serves() {
    if !engine().endpoint().is_local() {
        return;
    }
    let (site, rooms) = Site::new(Transport::Auto).await;
    let workspaces = &rooms.workspaces;
    let (made, _) = workspaces.create(named("stray")).await.unwrap();
    soon("the start", workspaces.attach(&made.id)).await.unwrap();
    soon("the stop", workspaces.stop("stray")).await.unwrap();
    let name = container(&made.id);
    // An engine that was killed while it started a container does not know that it runs. Here another container stands in
    // for it: with all that is the workspace's, and not by its name.
    let argv: Vec<String> =
        serde_json::from_str(&docker(&["inspect", "--format", "{{json .Config.Entrypoint}}", &name])).unwrap();
    let label = format!("{LABEL_INSTANCE}={}", site.ground.instance);
    let run = ["run", "--detach", "--network", "none", "--label", &label, "--volumes-from", &name, "--entrypoint"];
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let stray = docker(&[&run[..], &[argv[0], &site.ground.image], &argv[1..]].concat());
    let socket = site.dir.path().join("run").join(name.trim_start_matches("wharf-")).join("s");
    soon("the stray's socket", async {
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    soon("the start", workspaces.attach(&made.id)).await.unwrap();
    assert_eq!(docker(&["wait", &stray]), "0", "it went by itself");
    assert_eq!(site.ground.engine.inspect_container(&name).await.unwrap().state, ContainerState::Running);
    docker(&["rm", "--force", &stray]);
    workspaces.delete(&made.id).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn a_deletion_that_was_broken_off_is_finished_at_the_next_start() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (made, _) = rooms.workspaces.create(named("half")).await.unwrap();
    soon("the start", rooms.workspaces.attach(&made.id)).await.unwrap();
    let mut record = rooms.workspaces.resolve("half").unwrap();
    record.deleting = true;
    let mut batch = Batch::new();
    batch.put_workspace(record);
    rooms.store.commit(batch).await.unwrap();
    assert!(matches!(rooms.workspaces.create(named("half")).await, Err(WorkspaceError::Deleting { .. })));
    rooms.close().await;

    let rooms = site.reopen();
    let mut watched = rooms.workspaces.watch(&made.id);
    let deleted = |state: &WorkspaceState| state.reason.as_deref().is_some_and(|why| why.contains("deleted"));
    soon("the deletion", watched.wait_for(deleted)).await.unwrap();
    assert!(matches!(rooms.workspaces.get("half").await, Err(WorkspaceError::NotFound { .. })));
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn orphans_are_found_and_removed_and_others_are_left_alone() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    let (other_site, other_rooms) = Site::new(Transport::Auto).await;
    let (kept, _) = rooms.workspaces.create(named("kept")).await.unwrap();
    soon("the start", rooms.workspaces.attach(&kept.id)).await.unwrap();
    let ours = |found: Vec<wharf::workspace::Orphan>| -> Vec<_> {
        // Of tether's volumes of other versions there may be some on this engine.
        found.into_iter().filter(|o| !o.name.starts_with("wharf-tether-")).map(|o| (o.kind, o.name)).collect()
    };
    assert_eq!(ours(rooms.workspaces.orphans().await.unwrap()), []);

    let lost = WorkspaceId::new();
    let mut spec = site.ground.spec("lost", &["/bin/busybox", "true"]);
    spec.labels.insert(LABEL_WORKSPACE.into(), lost.to_string());
    site.ground.engine.create_container(&spec).await.unwrap();
    let volume = site.ground.name("lost-volume");
    let labels = [(LABEL_INSTANCE.to_owned(), site.ground.instance.to_string())].into();
    site.ground.engine.create_volume(&volume, &labels).await.unwrap();
    let directory = site.dir.path().join("run/0123456789ab");
    std::fs::create_dir(&directory).unwrap();
    let expected = [
        (OrphanKind::Container, spec.name),
        (OrphanKind::Volume, volume),
        (OrphanKind::Directory, directory.to_str().unwrap().to_owned()),
    ];
    assert_eq!(ours(rooms.workspaces.orphans().await.unwrap()), expected);
    assert_eq!(ours(other_rooms.workspaces.orphans().await.unwrap()), [], "another daemon does not see them");
    assert_eq!(other_rooms.workspaces.running().await.unwrap(), []);
    rooms.workspaces.remove_orphans().await.unwrap();
    assert_eq!(ours(rooms.workspaces.orphans().await.unwrap()), []);
    assert_eq!(rooms.workspaces.running().await.unwrap(), std::slice::from_ref(&kept.id));
    rooms.workspaces.delete(&kept.id).await.unwrap();
    site.assert_empty().await;
    other_site.assert_empty().await;
    rooms.close().await;
    other_rooms.close().await;
}

#[tokio::test]
async fn what_a_daemon_that_died_was_filling_tethers_volume_with_is_removed_at_the_next_start() {
    let (site, rooms) = Site::new(Transport::Auto).await;
    rooms.close().await;
    let mut spec = site.ground.spec("filling", &["/bin/busybox", "true"]);
    spec.name = format!("wharf-tether-0123456789ab-fill-{}", &site.ground.instance.as_str()[..12]);
    spec.labels = [(LABEL_INSTANCE.to_owned(), site.ground.instance.to_string())].into();
    site.ground.engine.create_container(&spec).await.unwrap();
    assert_eq!(site.ground.left().await, [spec.name]);
    let rooms = site.reopen();
    let mut engine_state = rooms.workspaces.engine_state();
    soon("up", engine_state.wait_for(|state| *state == EngineState::Up)).await.unwrap();
    site.assert_empty().await;
    rooms.close().await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_told_and_used_when_it_appears() {
    let Endpoint::Unix(real) = engine().endpoint().clone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let ground = Playground::new().await;
    let socket = dir.path().join("engine.sock");
    let late = Engine::new(socket.to_str().unwrap()).unwrap();
    let rooms = Rooms::open(dir.path(), &ground.image, late, Transport::Auto);
    let _theirs = ground.of(rooms.store.instance().clone());
    let mut engine_state = rooms.workspaces.engine_state();
    let down =
        soon("down", engine_state.wait_for(|state| matches!(state, EngineState::Down(_)))).await.unwrap().clone();
    assert!(matches!(down, EngineState::Down(why) if why.contains("start the engine")));
    let refused = rooms.workspaces.create(named("late")).await;
    assert!(matches!(refused, Err(WorkspaceError::EngineUnreachable { .. })));
    std::os::unix::fs::symlink(real, &socket).unwrap();
    soon("up", engine_state.wait_for(|state| *state == EngineState::Up)).await.unwrap();
    let (made, _) = rooms.workspaces.create(named("late")).await.unwrap();
    assert_eq!(made.status, WorkspaceStatus::Absent);
    soon("the start", rooms.workspaces.attach(&made.id)).await.unwrap();
    std::fs::remove_file(&socket).unwrap();
    rooms.close().await;
}
