//! Spec and safe defaults.

use serde_json::{Value, json};

use super::space::{DEMO, container, daemon, inspect, make, shell, started};
use super::support::{Daemon, docker_ok};

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_safe() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = started(&client, json!({})).await;
    let host = &inspect(&id)["HostConfig"];
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    let kept: Vec<&str> = host["CapAdd"].as_array().unwrap().iter().map(|cap| cap.as_str().unwrap()).collect();
    assert!(kept.iter().all(|cap| ["SETUID", "SETGID", "KILL", "CHOWN"].contains(&cap.trim_start_matches("CAP_"))));
    // No profile named is the engine's default one.
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!((&host["Privileged"], &host["ReadonlyRootfs"]), (&json!(false), &json!(true)));
    assert_eq!(host["PidsLimit"], 2048);
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(4_u64 << 30), &json!(4_u64 << 30)));
    assert_ne!(host["NetworkMode"], "host");
    for mode in ["PidMode", "UTSMode"] {
        assert_eq!(host[mode], "", "{mode}");
    }
    let status = shell(&id, "cat /proc/self/status");
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let agent = super::space::session(&client, &id, "it:safe").await;
    let (said, _) = client.turn(&agent, "run id -u; cat /proc/self/status").await;
    assert!(said.starts_with("1000\n"), "{said}");
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let sockets = docker_ok(&["exec", &container(&id), "/bin/busybox", "find", "/", "-xdev", "-name", "docker*.sock"]);
    assert_eq!(sockets, "", "no engine socket inside");
    let mounts = inspect(&id)["Mounts"].to_string();
    assert!(!mounts.contains("docker.sock"), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_limits_network_and_labels_are_as_asked() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let spec = json!({ "cpus": 0.5, "memory": 134_217_728, "pids": 99, "network": "none", "labels": { "team": "x" } });
    let id = started(&client, spec).await;
    let host = &inspect(&id)["HostConfig"];
    assert_eq!(
        (&host["NanoCpus"], &host["Memory"], &host["PidsLimit"]),
        (&json!(500_000_000), &json!(134_217_728), &json!(99))
    );
    assert_eq!(host["NetworkMode"], "none");
    let view = client.get(&format!("/v1/workspaces/{id}")).await.expect(200);
    assert_eq!((&view["spec"]["labels"]["team"], &view["spec"]["image"]), (&json!("x"), &json!(DEMO)));
    let absent = client.post("/v1/workspaces", json!({ "image": DEMO, "network": "wharf-no-such" })).await;
    assert_eq!(absent.problem(422), "invalid_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_is_limited_where_the_engine_can_and_refused_where_it_can_not() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let answer = client.post("/v1/workspaces", json!({ "image": DEMO, "disk": 1_073_741_824 })).await;
    let probe =
        ["volume", "create", "-o", "size=1073741824", "--label", &format!("wharf.instance={}", daemon.instance())];
    if let Ok(name) = super::support::docker(&probe) {
        docker_ok(&["volume", "rm", &name]);
        let id = answer.expect(201)["id"].as_str().unwrap().to_owned();
        client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await.expect(200);
        let volume = docker_ok(&["volume", "inspect", &format!("{}-work", container(&id))]);
        assert!(volume.contains("1073741824"), "{volume}");
    } else {
        let why = answer.json["detail"].as_str().unwrap().to_owned();
        assert!(why.contains("quota") && why.contains("pquota"), "{why}");
        assert_eq!(answer.json["field"], "disk");
        assert_eq!(answer.problem(422), "invalid_field");
        assert_eq!(client.get("/v1/workspaces").await.expect(200)["items"], json!([]), "nothing was made");
    }
    assert!(daemon.volumes().iter().all(|name| !name.contains("probe")));
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_mounts_are_from_the_operators_list() {
    let dir = tempfile::tempdir().unwrap();
    let (shown, open) = (dir.path().join("shown"), dir.path().join("open"));
    for path in [&shown, &open] {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("file"), "from the host").unwrap();
    }
    std::os::unix::fs::chown(&open, Some(1000), Some(1000)).unwrap();
    let rule = |path: &std::path::Path, read_only| format!("[[mounts]]\nhost = {path:?}\nread_only = {read_only}\n");
    let daemon = daemon(&format!("{}{}", rule(&shown, true), rule(&open, false))).await;
    let client = daemon.client();
    let mount = |host: &std::path::Path, path: &str, read_only: bool| -> Value {
        json!({ "host": host, "path": path, "read_only": read_only })
    };
    let mounts = json!([mount(&shown, "/mnt/shown", true), mount(&open, "/mnt/open", false)]);
    let id = started(&client, json!({ "mounts": mounts })).await;
    assert_eq!(shell(&id, "cat /mnt/shown/file"), "from the host");
    assert_eq!(shell(&id, "touch /mnt/shown/x 2>/dev/null || echo refused"), "refused");
    shell(&id, "echo back > /mnt/open/out");
    assert_eq!(std::fs::read_to_string(open.join("out")).unwrap(), "back\n");
    for bad in [
        mount(dir.path(), "/mnt/x", true),
        mount(&shown.join("file"), "/mnt/x", true),
        mount(&shown, "/mnt/x", false),
        mount(&shown, "/opt/wharf", true),
        mount(std::path::Path::new("/var/run/docker.sock"), "/mnt/x", true),
    ] {
        let answer = client.post("/v1/workspaces", json!({ "image": DEMO, "mounts": [bad] })).await;
        assert_eq!(answer.json["field"], "mounts", "{bad}");
        assert_eq!(answer.problem(422), "invalid_field");
    }
    let plain = make(&client, json!({})).await;
    let field = client.post(&format!("/v1/workspaces/{plain}/recreate"), json!({ "disk": 1 })).await;
    assert_eq!(field.problem(422), "unknown_field");
}
