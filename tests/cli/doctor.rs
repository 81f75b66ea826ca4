//! `wharf doctor`: all is well, or what is not and what to do.

use serde_json::Value;

use super::program::{Said, Wharf};
use super::support::{Daemon, docker_ok};

fn check<'a>(said: &'a Value, name: &str) -> &'a Value {
    let found = said["checks"].as_array().expect("a list").iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {said:#}"))
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let said = wharf.run(&["doctor"]).await;
    assert!(said.err.contains("all is well"), "{said:?}");
    for part in ["daemon", "store", "engine", "image wharf/demo:latest", "left over"] {
        let says = |line: &str| line.strip_prefix(&format!("ok   {part}: ")).is_some_and(|rest| !rest.is_empty());
        assert!(said.out.lines().any(says), "{part}: {}", said.out);
    }
    said.expect(0);
    assert_eq!(wharf.run(&["doctor", "--json"]).await.json()["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_and_an_image_that_is_missing() {
    let daemon = Daemon::start_with(&[], Some("engine = \"unix:///nonexistent/absent.sock\"\n")).await;
    let said = Wharf::of(&daemon).run(&["doctor"]).await;
    assert!(
        said.out.contains("FAIL engine: nothing answers at unix:///nonexistent/absent.sock: start the engine"),
        "{said:?}"
    );
    assert!(said.out.contains("ok   store") && said.err.contains("not all is well"), "{said:?}");
    said.expect(9);
    let said = Wharf::of(&daemon).run(&["new", "echo x"]).await;
    assert!(said.err.contains("start the engine"), "{said:?}");
    said.expect(9);

    let absent = "[agents.absent]\nprotocol = \"acp\"\nimage = \"wharf/absent:latest\"\nargv = [\"/bin/x\"]\n";
    let daemon = Daemon::start_with(&[], Some(absent)).await;
    let said = Wharf::of(&daemon).run(&["doctor", "--json"]).await;
    let checks = json(&said);
    let image = check(&checks, "image wharf/absent:latest");
    assert_eq!((&image["ok"], &checks["ok"]), (&Value::Bool(false), &Value::Bool(false)));
    assert!(image["fix"].as_str().expect("a fix").contains("make images"), "{image}");
    said.expect(9);
    let agents = Wharf::of(&daemon).run(&["agents"]).await.expect(0);
    assert!(agents.lines().any(|line| line.contains("absent") && line.contains("missing")), "{agents}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_over_is_named_and_removed_when_asked() {
    let daemon = Daemon::start().await;
    let wharf = Wharf::of(&daemon);
    let (instance, name) =
        (format!("wharf.instance={}", daemon.instance()), format!("wharf-lost-{}", daemon.instance()));
    docker_ok(&["volume", "create", "--label", &instance, &name]);
    let said = wharf.run(&["doctor"]).await;
    assert!(said.out.contains(&format!("FAIL left over: {name}")) && said.out.contains("doctor --fix"), "{said:?}");
    said.expect(9);
    let fixed = wharf.run(&["doctor", "--fix"]).await.expect(0);
    assert!(fixed.contains(&format!("ok   left over: removed {name}")), "{fixed}");
    assert_eq!(daemon.volumes(), Vec::<String>::new());
    let checks = wharf.run(&["doctor", "--json"]).await.json();
    assert_eq!(check(&checks, "left over")["message"], "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_a_finding_not_an_end() {
    let daemon = Daemon::start().await;
    let said = Wharf::at(&daemon.tcp(), Some("wharf_wrong")).run(&["doctor"]).await;
    assert!(said.out.contains("FAIL access") && said.out.contains("WHARF_TOKEN"), "{said:?}");
    assert!(said.out.contains("ok   engine"), "{said:?}");
    said.expect(9);
}
