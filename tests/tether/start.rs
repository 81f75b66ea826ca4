//! Starting: what a process gets, what it does not get, and what is said when it can't be run.

use std::{fs, process::Command};

use wharf::tether::client::{StartProcess, TetherError};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_exits_are_told_apart() {
    let tether = Tether::start();
    let client = tether.client().await;
    let done = client.run(sh("code", "echo out; echo err >&2; exit 7")).await;
    let all = (done.text(), &done.stderr[..], done.code, done.signal, done.lost);
    assert_eq!(all, ("out\n", &b"err\n"[..], Some(7), None, false));
    let done = client.run(sh("signal", "kill -9 $$")).await;
    assert_eq!((done.code, done.signal, done.lost), (None, Some(9), false));
    let list = client.list().await.unwrap();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|info| !info.running && info.exit.is_some()));
    client.forget("code").await.unwrap();
    client.forget("code").await.unwrap();
    assert_eq!(client.list().await.unwrap().len(), 1);
    assert!(matches!(client.attach("code", 0, 0).await, Err(TetherError::NotFound(_))));
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_gets_its_environment_and_nobody_else_does() {
    let tether = Tether::start();
    let client = tether.client().await;
    let secret = format!("hunter2-{}", std::process::id());
    let start = StartProcess {
        files: Vec::new(),
        env: vec![
            ("TOKEN".into(), secret.clone()),
            ("B".into(), "x=y z".into()),
            ("PATH".into(), "/usr/bin:/bin".into()),
        ],
        cwd: "/tmp".into(),
        ..program("env", &["sh", "-c", "env; pwd; cat; exit 0"])
    };
    client.start(start).await.unwrap();
    let mut attachment = client.attach("env", 0, 0).await.unwrap();
    let seen = lines(&mut attachment, 5).await;
    for expected in [format!("TOKEN={secret}"), "B=x=y z".into(), "PATH=/usr/bin:/bin".into(), "/tmp".into()] {
        assert!(seen.contains(&expected), "{expected} in {seen:?}");
    }
    assert!(!seen.iter().any(|line| line.starts_with("HOME=") || line.starts_with("CARGO")), "{seen:?}");
    // In no file, in no argv, and in no environment but the agent's own.
    let found = Command::new("grep").args(["-rl", &secret]).arg(tether.state()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&found.stdout).trim(),
        tether.state().join("processes/env/stdout.00000000000000000000").to_str().unwrap()
    );
    let mut keepers = 0;
    for dir in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap_or_default();
        let argv = String::from_utf8_lossy(&read("cmdline")).into_owned();
        assert!(!argv.contains(&secret), "{argv}");
        if argv.starts_with("wharf-tether\0keep\0env\0") {
            keepers += 1;
            assert!(read("environ").is_empty());
        }
    }
    assert!(keepers >= 1);
    client.close_stdin("env").await.unwrap();
    assert_eq!(
        finish_from(attachment, Finished { stdout: seen.join("\n").into_bytes(), ..Finished::default() }).await.code,
        Some(0)
    );
}

/// The signals that a process ignores, by its status.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn: ")).expect("it is there");
    u64::from_str_radix(line, 16).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_no_privileges_and_no_descriptors_but_its_own() {
    let tether = Tether::start();
    let client = tether.client().await;
    let script = "id -u; id -G; grep -E '^(NoNewPrivs|CapInh|CapPrm|CapEff|CapAmb|SigIgn|SigBlk|Umask)' /proc/self/status; ls /proc/$$/fd | tr '\\n' ' '; echo; cat /proc/$$/oom_score_adj; echo named > /dev/stdout; ps -o sid= -p $$ | grep -qw $$ && echo leader";
    let done = client.run(sh("bare", script)).await;
    let text = done.text().replace('\t', " ");
    let zero = "0".repeat(16);
    for line in ["1000", "NoNewPrivs: 1", "Umask: 0022", "0 1 2 ", "300", "named", "leader"] {
        assert!(text.lines().any(|l| l == line), "{line:?} in {text}");
    }
    // Above 32 bits, and in the top two of these, are signals that C libraries use among themselves. What whoever runs
    // these tests has ignored (a shell does, for a job in the background) this tether has from here.
    let own = fs::read_to_string("/proc/self/status").unwrap().replace('\t', " ");
    assert_eq!(ignored(&text) & 0x7fff_ffff & !ignored(&own), 0, "{text}");
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk"] {
        assert!(text.contains(&format!("{name}: {zero}")), "{name} in {text}");
    }
    assert_eq!(done.code, Some(0), "{text} {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_said_and_leaves_nothing() {
    let tether = Tether::start();
    let client = tether.client().await;
    let refused = async |start: StartProcess| match client.start(start).await {
        Err(TetherError::StartFailed(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(program("p", &["no-such-program"])).await;
    assert!(why.contains("`no-such-program`") && why.contains("No such file"), "{why}");
    let why = refused(StartProcess { cwd: "/no/such/dir".into(), ..sh("p", "true") }).await;
    assert!(why.contains("directory `/no/such/dir`"), "{why}");
    let why = refused(program("p", &["/etc/passwd"])).await;
    assert!(why.contains("Permission denied"), "{why}");
    for bad in [
        StartProcess { uid: 0, ..sh("p", "true") },
        StartProcess { gid: 0, ..sh("p", "true") },
        StartProcess { cwd: "tmp".into(), ..sh("p", "true") },
        StartProcess { env: vec![("A=B".into(), String::new())], ..sh("p", "true") },
        StartProcess { env: vec![("A".into(), "x\0y".into())], ..sh("p", "true") },
        program("p", &[]),
        sh("../p", "true"),
        sh("P", "true"),
        sh(&"p".repeat(97), "true"),
    ] {
        let result = client.start(bad).await;
        assert!(matches!(result, Err(TetherError::Invalid(_))), "{result:?}");
    }
    let huge = StartProcess { env: vec![("A".into(), "x".repeat(2 << 20))], ..sh("p", "true") };
    assert!(matches!(client.start(huge).await, Err(TetherError::Invalid(_))));
    assert!(client.list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(tether.state().join("processes")).unwrap().count(), 0);
    assert_eq!(client.run(sh("p", "exit 4")).await.code, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_started_once() {
    let tether = Tether::start();
    let client = tether.client().await;
    let marker = tether.dir.path().join("count");
    fs::write(&marker, "").unwrap();
    Command::new("chmod").arg("-R").arg("a+rwX").arg(tether.dir.path()).status().unwrap();
    let script = format!("echo x >> {}; cat", marker.display());
    let starts = (0..5).map(|_| client.start(sh("once", &script)));
    for result in futures_util::future::join_all(starts).await {
        result.unwrap();
    }
    client.close_stdin("once").await.unwrap();
    assert_eq!(finish(client.attach("once", 0, 0).await.unwrap()).await.code, Some(0));
    client.start(sh("once", &script)).await.unwrap();
    assert_eq!(fs::read_to_string(&marker).unwrap(), "x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_one() {
    let tether = Tether::start();
    let client = tether.client().await;
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty size; read x; stty size; cat >/dev/null; echo over > /dev/tty";
    client.start(StartProcess { pty: Some((33, 99)), ..sh("tty", script) }).await.unwrap();
    let mut attachment = client.attach("tty", 0, 0).await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["33 99"]);
    client.resize("tty", 44, 111).await.unwrap();
    client.input("tty", 1, false, "go\n").await.unwrap();
    let seen = lines(&mut attachment, 2).await;
    assert_eq!(seen, ["go", "44 111"]);
    client.close_stdin("tty").await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["over"]);
    let pipes = client.start(sh("pipes", "cat")).await;
    pipes.unwrap();
    assert!(matches!(client.resize("pipes", 1, 1).await, Err(TetherError::Invalid(_))));
    client.signal("pipes", 15).await.unwrap();
    assert_eq!(finish(client.attach("pipes", 0, 0).await.unwrap()).await.signal, Some(15));
    assert!(matches!(client.signal("pipes", 15).await, Err(TetherError::NotRunning(_))));
}
