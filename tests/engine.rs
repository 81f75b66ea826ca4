//! The engine room against a real engine: what each fault of the engine looks like to the rest of the daemon.

mod engine_support;

use engine_support::{Playground, busybox_archive, engine, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use wharf::engine::{
    ContainerState, Engine, EngineError, EngineEvent, EventKind, ExecEnd, LABEL_INSTANCE, Mount, MountKind,
};

#[tokio::test]
async fn a_container_goes_through_its_life() {
    let ground = Playground::new().await;
    let name = ground.waiting("life").await;
    let engine = &ground.engine;
    assert_eq!(engine.inspect_container(&name).await.unwrap().state, ContainerState::Running);
    engine.start_container(&name).await.expect("starting a running one changes nothing");
    engine.pause_container(&name).await.unwrap();
    assert_eq!(engine.inspect_container(&name).await.unwrap().state, ContainerState::Paused);
    let paused = engine.exec_attach(&name, &["/bin/busybox", "true"], "0", &CancellationToken::new()).await;
    assert!(matches!(paused, Err(EngineError::Paused { .. })));
    engine.unpause_container(&name).await.unwrap();
    engine.stop_container(&name, 5).await.unwrap();
    let stopped = engine.inspect_container(&name).await.unwrap();
    assert_eq!((stopped.state, stopped.exit_code), (ContainerState::Exited, Some(0)));
    let ended = engine.exec_attach(&name, &["/bin/busybox", "true"], "0", &CancellationToken::new()).await;
    assert!(matches!(ended, Err(EngineError::NotRunning { .. })));
    engine.remove_container(&name).await.unwrap();
    engine.remove_container(&name).await.expect("removing twice is no error");
    assert!(matches!(engine.inspect_container(&name).await, Err(EngineError::NotFound { .. })));
    assert_eq!(ground.left().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_can_not_be_made_is_told_apart() {
    let ground = Playground::new().await;
    let engine = &ground.engine;
    let mut spec = ground.spec("twice", &["/bin/busybox", "true"]);
    engine.create_container(&spec).await.unwrap();
    assert!(matches!(engine.create_container(&spec).await, Err(EngineError::Conflict { .. })));
    spec.name = ground.name("image");
    spec.image = "wharf-test:no-such".into();
    let missing = engine.create_container(&spec).await;
    assert_eq!(missing, Err(EngineError::ImageMissing { image: "wharf-test:no-such".into() }));
    spec.image = "UPPER//case".into();
    assert!(matches!(engine.create_container(&spec).await, Err(EngineError::Invalid { .. })));
    spec.image.clone_from(&ground.image);
    spec.mounts =
        vec![Mount { target: "/mnt".into(), kind: MountKind::Bind("/nowhere/at/all".into()), read_only: false }];
    assert!(matches!(engine.create_container(&spec).await, Err(EngineError::Invalid { .. })));
    spec.mounts.clear();
    spec.entrypoint = vec!["/no/such/program".into()];
    engine.create_container(&spec).await.unwrap();
    let failed = engine.start_container(&spec.name).await.unwrap_err();
    assert!(failed.to_string().contains("/no/such/program"), "{failed}");
    assert!(!engine.image_exists("wharf-test:no-such").await.unwrap());
    assert!(engine.image_exists(&ground.image).await.unwrap());
}

#[tokio::test]
async fn an_exec_carries_bytes_both_ways_and_keeps_stderr() {
    let ground = Playground::new().await;
    let name = ground.waiting("exec").await;
    let lost = CancellationToken::new();
    let script = "echo warning >&2; exec /bin/busybox cat";
    let argv = ["/bin/busybox", "sh", "-c", script];
    let mut stream = soon("exec", ground.engine.exec_attach(&name, &argv, "0", &lost)).await.unwrap();
    let probe = stream.probe();
    // More than one frame of the engine, and bytes that look like its frames and its errors.
    let sent: Vec<u8> = (0..300_000_u32).flat_map(|n| [(n % 251) as u8, b'\r', b'\n']).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let expected = sent.clone();
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let reading = async { read.read_to_end(&mut received).await.unwrap() };
    soon("the echo", async { tokio::join!(writing, reading) }).await;
    assert!(received == expected, "{} bytes came back", received.len());
    assert_eq!(probe.end().await.unwrap(), ExecEnd::Exited(0));
    assert_eq!(probe.stderr(), "warning\n");
}

#[tokio::test]
async fn output_that_looks_like_the_engines_is_delivered() {
    let ground = Playground::new().await;
    let name = ground.waiting("crlf").await;
    let lost = CancellationToken::new();
    // Still running when its first output is doubted: nothing more comes until it is answered.
    let argv = ["/bin/busybox", "sh", "-c", r"printf 'OCI?\r\n'; read x; printf 'got %s' $x; exit 127"];
    let mut stream = ground.engine.exec_attach(&name, &argv, "0", &lost).await.unwrap();
    let mut first = [0; 6];
    soon("the first line", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"OCI?\r\n");
    stream.write_all(b"it\n").await.unwrap();
    let mut rest = String::new();
    soon("the end", stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "got it");
    assert_eq!(stream.probe().end().await.unwrap(), ExecEnd::Exited(127));
}

#[tokio::test]
async fn a_missing_command_is_an_error_and_not_output() {
    let ground = Playground::new().await;
    let name = ground.waiting("missing").await;
    let lost = CancellationToken::new();
    let mut stream = ground.engine.exec_attach(&name, &["/no/such/command"], "0", &lost).await.unwrap();
    let error = soon("the error", stream.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/command"), "{error}");
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<EngineError>());
    assert!(matches!(inner, Some(EngineError::NotFound { .. })), "{error:?}");
}

#[tokio::test]
async fn a_container_that_dies_ends_its_exec() {
    let ground = Playground::new().await;
    let name = ground.waiting("dies").await;
    let lost = CancellationToken::new();
    let argv = ["/bin/busybox", "sh", "-c", "printf up; exec /bin/busybox sleep 1000"];
    let mut stream = ground.engine.exec_attach(&name, &argv, "0", &lost).await.unwrap();
    let probe = stream.probe();
    // The engine answers before the process runs.
    let mut up = [0; 2];
    soon("the process", stream.read_exact(&mut up)).await.unwrap();
    ground.engine.kill_container(&name, "KILL").await.unwrap();
    let read = soon("the end", stream.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(read, 0);
    assert!(matches!(probe.end().await.unwrap(), ExecEnd::Exited(137) | ExecEnd::Lost));
    ground.engine.remove_container(&name).await.unwrap();
    assert_eq!(probe.end().await.unwrap(), ExecEnd::Lost);
}

#[tokio::test]
async fn streams_end_when_the_container_is_said_to_be_dead() {
    let ground = Playground::new().await;
    let name = ground.waiting("silent").await;
    let lost = CancellationToken::new();
    let argv = ["/bin/busybox", "sleep", "1000"];
    let mut stream = ground.engine.exec_attach(&name, &argv, "0", &lost).await.unwrap();
    let mut byte = [0];
    let (read, ()) = soon("the error", async {
        tokio::join!(stream.read(&mut byte), async {
            tokio::task::yield_now().await;
            lost.cancel();
        })
    })
    .await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
    assert_eq!(stream.write(b"x").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn events_tell_what_happened_to_ones_own_containers_only() {
    let ground = Playground::new().await;
    let other = Playground::new().await;
    let mut events = ground.engine.events(&ground.instance);
    assert_eq!(soon("the beginning", events.next()).await, EngineEvent::Resync);
    other.waiting("other").await;
    let name = ground.waiting("mine").await;
    ground.engine.pause_container(&name).await.unwrap();
    ground.engine.unpause_container(&name).await.unwrap();
    ground.engine.kill_container(&name, "KILL").await.unwrap();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(EventKind::Died { .. })) {
        match soon("an event", events.next()).await {
            EngineEvent::Container { name: of, workspace, kind, .. } => {
                assert_eq!((of.as_str(), workspace.as_str()), (name.as_str(), "mine"));
                seen.push(kind);
            }
            unexpected => panic!("{unexpected:?}"),
        }
    }
    ground.engine.remove_container(&name).await.unwrap();
    let EngineEvent::Container { kind, .. } = soon("an event", events.next()).await else { panic!("a container's") };
    seen.push(kind);
    // The engine tells of a pause and of its end again when it hears of them from containerd only after the end.
    let pause = [EventKind::Paused, EventKind::Unpaused];
    while let Some(echo) = seen.windows(4).position(|four| four == [pause, pause].concat()) {
        seen.drain(echo..echo + 2);
    }
    let died = EventKind::Died { exit_code: Some(137) };
    let expected =
        [EventKind::Created, EventKind::Started, EventKind::Paused, EventKind::Unpaused, died, EventKind::Destroyed];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_archive_goes_in_and_comes_out() {
    let ground = Playground::new().await;
    let volume = ground.name("data");
    let mut spec = ground.spec("archive", &["/bin/busybox", "true"]);
    let labels = [(LABEL_INSTANCE.to_owned(), ground.instance.to_string())].into();
    spec.mounts = vec![Mount {
        target: "/data".into(),
        kind: MountKind::Volume { name: volume.clone(), labels, copy: false, size: None },
        read_only: false,
    }];
    let engine = &ground.engine;
    engine.create_container(&spec).await.unwrap();
    assert!(engine.volume_exists(&volume).await.unwrap(), "made by the container, with its labels");
    engine.put_archive(&spec.name, "/data", busybox_archive()).await.unwrap();
    let out = engine.get_archive(&spec.name, "/data/bin/busybox", 16 << 20).await.unwrap();
    let mut archive = tar::Archive::new(out.as_slice());
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert!(entry.size() > 100_000);
    let bounded = engine.get_archive(&spec.name, "/data/bin/busybox", 1000).await;
    assert!(matches!(bounded, Err(EngineError::Invalid { .. })));
    let absent = engine.get_archive(&spec.name, "/data/none", 1000).await;
    assert!(matches!(absent, Err(EngineError::NotFound { .. })));
    assert!(matches!(engine.remove_volume(&volume).await, Err(EngineError::Conflict { .. })), "it is in use");
}

#[tokio::test]
async fn an_engine_that_appears_later_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let late = Engine::new(socket.to_str().unwrap()).unwrap();
    let absent = late.ping().await.unwrap_err();
    assert!(absent.to_string().contains("start the engine"), "{absent}");
    let instance = wharf::domain::InstanceId::new();
    let mut events = late.events(&instance);
    assert!(matches!(
        soon("the failure", events.next()).await,
        EngineEvent::Unreachable(EngineError::Unreachable { .. })
    ));
    let wharf::engine::Endpoint::Unix(real) = engine().endpoint().clone() else { return };
    std::os::unix::fs::symlink(real, &socket).unwrap();
    while soon("the engine", events.next()).await != EngineEvent::Resync {}
    late.ping().await.unwrap();
    assert!(late.version().await.unwrap().api.starts_with("1."));
}
