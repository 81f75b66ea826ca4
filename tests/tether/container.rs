//! tether as the first process: of a real container made from nothing, with the few capabilities that it is given.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tempfile::TempDir;
use wharf::tether::client::ProcessEvent;

use crate::support::*;

struct Container {
    name: String,
    dir: TempDir,
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the tests need Docker");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Container {
    fn start(test: &str, state: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("wharf-test-tether-{test}-{}", std::process::id());
        let root = dir.path().join("root");
        for path in ["bin", "opt", "run/wharf", "state", "workspace", "tmp"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("the tests need busybox-static");
        write_program(&root.join("opt/tether"));
        let tar = dir.path().join("root.tar");
        let status = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(status.success());
        docker(&["import", tar.to_str().unwrap(), &name]);
        let host = dir.path().join("host");
        fs::create_dir(&host).unwrap();
        let container = Self { name, dir };
        let mount = format!("{}:/run/wharf/host", host.display());
        let hardening = "--network none --read-only --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add KILL \
                         --cap-add CHOWN --security-opt no-new-privileges --pids-limit 200 --memory 256m \
                         --tmpfs /run/wharf --tmpfs /workspace --tmpfs /tmp";
        let mut args = vec!["run", "-d", "--name", &container.name, "-v", &mount];
        args.extend(hardening.split_whitespace());
        args.extend(["--tmpfs", state]);
        let serve = "/opt/tether serve --state /state/tether --socket /run/wharf/tether.sock --host-socket \
                     /run/wharf/host/tether.sock --own 1000:1000:/workspace --own 1000:1000:/workspace/home";
        args.push(&container.name);
        args.extend(serve.split_whitespace());
        docker(&args);
        container
    }

    fn host_socket(&self) -> UnixConnector {
        UnixConnector(self.dir.path().join("host/tether.sock"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for args in [["rm", "-fv", &self.name], ["rmi", "-f", &self.name]] {
            let _ = Command::new("docker").args(args).output();
        }
    }
}

fn busybox(id: &str, script: &str) -> wharf::tether::client::StartProcess {
    program(id, &["/bin/busybox", "sh", "-c", script])
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_over_exec_and_over_the_hosts_socket() {
    let container = Container::start("serve", "/state");
    let argv =
        ["docker", "exec", "-i", &container.name, "/opt/tether", "connect", "--socket", "/run/wharf/tether.sock"];
    let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
    let exec = Client::new(ExecConnector { argv, pid: Arc::new(AtomicU64::new(0)) }).await;
    let script = "busybox id -u; busybox touch /workspace/a /workspace/home/b && echo mine; \
                  busybox ls /run/wharf /state/tether 2>&1 | busybox grep -c denied; busybox grep NoNewPrivs /proc/self/status";
    let start = wharf::tether::client::StartProcess {
        files: Vec::new(),
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/workspace".into(),
        ..busybox("p", script)
    };
    let done = exec.run(start).await;
    assert_eq!(done.text().lines().collect::<Vec<_>>(), ["1000", "mine", "2", "NoNewPrivs:\t1"], "{done:?}");
    exec.start(busybox("long", "echo begun; /bin/busybox sleep 1000")).await.unwrap();
    exec.stop().await;

    let host = Client::new(container.host_socket()).await;
    let mut attachment = host.attach("long", 0, 0).await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["begun"]);
    let status = docker(&["exec", &container.name, "/bin/busybox", "grep", "VmRSS", "/proc/1/status"]);
    println!("tether as a container's first process: {status}");
    let began = std::time::Instant::now();
    docker(&["stop", "-t", "30", &container.name]);
    assert!(began.elapsed() < Duration::from_secs(25), "it does not stop by itself");
    assert_eq!(docker(&["inspect", "-f", "{{.State.ExitCode}}", &container.name]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_is_ended() {
    let container = Container::start("bomb", "/state");
    let client = Client::new(container.host_socket()).await;
    client.start(busybox("calm", "/bin/busybox cat; exit 0")).await.unwrap();
    client
        .start(busybox(
            "bomb",
            // Who can't fork stays there: it would end otherwise, and the bomb with it.
            "echo go; exec 9<&0; b() { trap 'read x <&9' EXIT; b | b & /bin/busybox usleep 100000; b; }; b 2>/dev/null",
        ))
        .await
        .unwrap();
    let mut attachment = client.attach("bomb", 0, 0).await.unwrap();
    assert_eq!(lines(&mut attachment, 1).await, ["go"]);
    let current = cgroup_pids(&container.name);
    until("the bomb has gone off", || current() > 100).await;
    let ended = within(client.end("bomb", false, Duration::ZERO)).await.unwrap();
    assert!(ended.killed > 20, "{ended:?}");
    // tether, the calm one, its keeper and its cat.
    until("only the calm one is left", || current() == 4).await;
    client.close_stdin("calm").await.unwrap();
    assert_eq!(finish(client.attach("calm", 0, 0).await.unwrap()).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_makes_the_process_wait_and_loses_nothing() {
    let container = Container::start("full", "/state:size=3m");
    let client = Client::new(container.host_socket()).await;
    client.start(busybox("seq", "/bin/busybox seq 1 1500000; exit 4")).await.unwrap();
    let logs = || {
        let output = Command::new("docker").args(["logs", &container.name]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("the volume refuses it")
    };
    until("the volume is full", logs).await;
    let expected: Vec<u8> = (1..=1_500_000).flat_map(|i| format!("{i}\n").into_bytes()).collect();
    let mut attachment = client.attach("seq", 0, 0).await.unwrap();
    let mut all = Finished::default();
    while all.stdout.len() < expected.len() {
        match within(attachment.events.recv()).await.unwrap() {
            ProcessEvent::Output { stream, offset, bytes, .. } => all.add(stream, offset, &bytes),
            // What is acknowledged makes room, which is soon full again.
            ProcessEvent::Waits { reason } => assert!(reason.contains("disk is full"), "{reason}"),
            other => panic!("{other:?}"),
        }
        client.ack("seq", all.stdout.len() as u64, 0);
    }
    let done = finish_from(attachment, all).await;
    assert!(done.stdout == expected && done.code == Some(4));
}

/// How many tasks the container has, by its cgroup's own count.
fn cgroup_pids(name: &str) -> impl Fn() -> usize {
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", name]);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = groups
        .lines()
        .find(|line| line.contains(":pids:"))
        .or_else(|| groups.lines().find(|line| line.starts_with("0::")));
    let path = line.unwrap().rsplit(':').next().unwrap().trim_start_matches('/').to_owned();
    let file = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(|root| Path::new(root).join(&path).join("pids.current"));
    let file = file.into_iter().find(|file| file.exists()).expect("the container's cgroup");
    move || fs::read_to_string(&file).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_the_first_process_of_a_pid_namespace_it_buries_what_others_leave() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/tether.sock");
    let mut unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(binary())
        .args(["serve", "--state"])
        .arg(dir.path().join("state"))
        .arg("--socket")
        .arg(&socket)
        .spawn()
        .unwrap();
    let client = Client::new(UnixConnector(socket)).await;
    let done = client.run(sh("p", "for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; echo $$; cat /proc/1/comm")).await;
    assert_eq!(done.text().lines().nth(1), Some("wharf-tether-un"), "{done:?}");
    // Nothing but tether and this look: no zombie, no keeper.
    let left = client.run(sh("q", "ps -e -o stat=,args= | grep -v -e ' keep q' -e 'ps -e' -e grep -e '/bin/sh'")).await;
    assert_eq!(left.text().lines().count(), 1, "{}", left.text());
    client.stop().await;
    unshare.kill().unwrap();
    unshare.wait().unwrap();
}
