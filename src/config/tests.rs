//! Precedence, defaults and errors of the configuration.

use std::time::Duration;

use super::*;

fn read(flags: Flags, env: &[(&str, &str)], file: Option<&str>, root: bool) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wharf.toml");
    let mut flags = flags;
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
        flags.config = Some(path);
    }
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    // `HOME` lies in a directory of the test's own, so that no real file is read.
    let home = dir.path().to_str().unwrap().to_owned();
    let lookup = move |name: &str| env(name).or_else(|| (name == "HOME").then(|| home.clone()));
    Config::read(flags, &lookup, root).map_err(|e| e.to_string())
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "listen = \"127.0.0.1:1\"\nimage = \"file\"\nstate_dir = \"/file\"\n";
    let env = [("WHARF_LISTEN", "127.0.0.1:2"), ("WHARF_STATE_DIR", "/env")];
    let flags = Flags { listen: Some("127.0.0.1:3".into()), ..Flags::default() };
    let config = read(flags, &env, Some(file), false).unwrap();
    assert_eq!(config.listen.unwrap().port(), 3);
    assert_eq!(config.state_dir, Path::new("/env"));
    assert_eq!(config.image.as_deref(), Some("file"));
    assert_eq!(config.log, Log { level: "wharf=info,warn".into(), format: LogFormat::Auto });
}

#[test]
fn defaults_are_the_users_or_the_systems() {
    let user = read(Flags::default(), &[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r")], None, false).unwrap();
    assert_eq!(user.state_dir, Path::new("/s/wharf"));
    assert_eq!(user.socket.unwrap(), Path::new("/r/wharf/wharf.sock"));
    assert_eq!(user.listen.unwrap().to_string(), DEFAULT_LISTEN);
    let bare = read(Flags::default(), &[("XDG_STATE_HOME", "relative")], None, false).unwrap();
    assert!(bare.state_dir.ends_with(".local/state/wharf"));
    assert_eq!(bare.socket.unwrap(), bare.state_dir.join("wharf.sock"));
    let root = read(Flags::default(), &[], Some(""), true).unwrap();
    assert_eq!((root.state_dir.to_str(), root.socket.unwrap().to_str()), (Some(SYSTEM_STATE_DIR), Some(SYSTEM_SOCKET)));
    let service = [("STATE_DIRECTORY", "/var/lib/w:/x"), ("RUNTIME_DIRECTORY", "/run/w")];
    let service = read(Flags::default(), &service, Some(""), false).unwrap();
    assert_eq!(service.state_dir, Path::new("/var/lib/w"));
    assert_eq!(service.socket.unwrap(), Path::new("/run/w/wharf.sock"));
}

#[test]
fn a_daemon_of_ones_own_has_a_socket_of_its_own() {
    for root in [true, false] {
        let flags = Flags { state_dir: Some("/mine".into()), ..Flags::default() };
        let config = read(flags, &[("XDG_RUNTIME_DIR", "/r")], Some(""), root).unwrap();
        assert_eq!(config.socket.unwrap(), Path::new("/mine/wharf.sock"), "root: {root}");
    }
}

#[test]
fn errors_name_the_place_and_the_line() {
    for (file, parts) in [
        ("a = 1", vec!["wharf.toml: line 1, column 1: unknown field `a`", "allowed_hosts"]),
        ("\n[limits]\nmemry = 1", vec!["line 3, column 1", "`memry`", "memory"]),
        ("[agents.x]\nprotocol = 7", vec!["line 2, column 12", "string"]),
        ("[agents.X]", vec!["agents.X", "a-z"]),
        ("[agents.x]\nargv = []", vec!["agents.x.argv", "program"]),
        ("[limits]\nmemory = \"lots\"", vec!["limits.memory", "2GiB"]),
        ("[limits]\ncpus = -1.0", vec!["limits.cpus"]),
        ("listen = \"0.0.0.0:7717\"", vec!["`listen`", "TLS"]),
        ("listen = \"off\"\nsocket = \"off\"", vec!["both are off"]),
        ("x = ", vec!["line 1"]),
    ] {
        let error = read(Flags::default(), &[], Some(file), false).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    let error = read(Flags::default(), &[("WHARF_TRANSPORT", "pigeon")], None, false).unwrap_err();
    assert_eq!(error, "WHARF_TRANSPORT: `pigeon` is not auto, exec or socket");
    let missing = Flags { config: Some("/nowhere/wharf.toml".into()), ..Flags::default() };
    assert!(read(missing, &[], None, false).unwrap_err().contains("/nowhere/wharf.toml"));
}

#[test]
fn secrets_are_not_shown() {
    let file = "[agents.a]\nprotocol = \"acp\"\nargv = [\"a\"]\nenv = { KEY = \"hush\" }\n[limits]\nmemory = \"1G\"";
    let config = read(Flags::default(), &[], Some(file), false).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    assert_eq!(config.limits.memory, Some(1 << 30));
    // Not even where the line they stand on is wrong.
    let error = read(Flags::default(), &[], Some("[agents.a]\nenv = { KEY = \"hush\" ]"), false).unwrap_err();
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn lists_come_with_commas() {
    let config = read(Flags::default(), &[("WHARF_ALLOWED_HOSTS", "a, b:1,")], None, false).unwrap();
    assert_eq!(config.allowed_hosts, ["a", "b:1"]);
}

#[test]
fn sessions_rest_after_half_an_hour_unless_told_otherwise() {
    let rules = |flags: Flags, env: &[(&str, &str)], file| read(flags, env, Some(file), false).map(|c| c.rules);
    let minutes = |n: u64| Some(Duration::from_secs(n * 60));
    let plain = rules(Flags::default(), &[], "").unwrap();
    assert_eq!((plain.idle_timeout, plain.turn_inactivity), (minutes(30), None));
    let file = "idle_timeout = \"5m\"\nturn_inactivity = \"10m\"\n[caps]\nmax_turns = 3\nmax_cost = 2.5";
    let filed = rules(Flags::default(), &[], file).unwrap();
    assert_eq!((filed.idle_timeout, filed.turn_inactivity), (minutes(5), minutes(10)));
    assert_eq!((filed.max_turns, filed.max_cost), (Some(3), Some(2.5)));
    let env = [("WHARF_IDLE_TIMEOUT", "off"), ("WHARF_TURN_INACTIVITY", "1h")];
    let told = rules(Flags::default(), &env, file).unwrap();
    assert_eq!((told.idle_timeout, told.turn_inactivity), (None, minutes(60)));
    let flags = Flags { idle_timeout: Some("2m".into()), ..Flags::default() };
    assert_eq!(rules(flags, &env, file).unwrap().idle_timeout, minutes(2));
    for (file, part) in [("idle_timeout = \"soon\"", "`idle_timeout`"), ("[caps]\nmax_cost = -1.0", "caps.max_cost")] {
        let error = rules(Flags::default(), &[], file).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let error = rules(Flags::default(), &[("WHARF_TURN_INACTIVITY", "0s")], "").unwrap_err();
    assert!(error.starts_with("WHARF_TURN_INACTIVITY: `0s`"), "{error}");
}

#[test]
fn beyond_loopback_needs_tls_and_a_rate_has_bounds() {
    let of = |file: &str| read(Flags::default(), &[], Some(file), false);
    assert!(of("listen = \"0.0.0.0:1\"\n").unwrap_err().contains("[tls]"));
    let tls = "listen = \"0.0.0.0:1\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\n";
    assert_eq!(of(tls).unwrap().tls, Some(TlsFiles { cert: "/c".into(), key: "/k".into() }));
    assert!(of("[tls]\nkey = \"/k\"\n").unwrap_err().contains("both"));
    assert_eq!(of("").unwrap().rate, Rate { requests: 100, burst: 500, socket: false, connections: 16_384 });
    assert_eq!(of("[rate]\nrequests = 0\n").unwrap().rate.requests, 0);
    assert!(of("[rate]\nburst = 0\n").unwrap_err().contains("rate.burst"));
    assert!(of("[rate]\nconnections = 0\n").unwrap_err().contains("rate.connections"));
    assert!(of("[rate]\nper_second = 1\n").unwrap_err().contains("per_second"));
}

#[test]
fn the_host_is_off_and_a_service_needs_a_tether_of_its_own() {
    let none = read(Flags::default(), &[], None, false).unwrap();
    assert_eq!(none.host, HostMode::default());
    assert!(!none.host.enabled);
    let own = "[host]\nenabled = true\ndirectory = \"/srv/work\"\n";
    assert!(read(Flags::default(), &[], Some(own), false).unwrap().host.enabled);
    let service = "[host]\nenabled = true\nsocket = \"/run/wharf-host/tether.sock\"\n";
    let notify = [("NOTIFY_SOCKET", "/run/systemd/notify")];
    assert!(read(Flags::default(), &notify, Some(service), false).unwrap().host.socket.is_some());
    for (env, file, says) in [
        (&notify[..], own, "systemctl enable --now wharf-host"),
        (&[], "[host]\nsocket = \"s\"\n", "absolute"),
        (&[], "[host]\ndirectory = \"d\"\n", "absolute"),
        (&[], "[host]\nsocket = \"/s\"\ndirectory = \"/d\"\n", "wharf host --directory"),
        (&[], "[host]\nenable = true\n", "line 2"),
    ] {
        let error = read(Flags::default(), env, Some(file), false).unwrap_err();
        assert!(error.contains(says), "{file}: {error}");
    }
}
