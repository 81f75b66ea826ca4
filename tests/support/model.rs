//! The model API of the tests, as a container on an internal network of its own: a real agent needs no internet.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, docker, docker_ok};

/// The image; `scripts/images.sh model-server` builds it.
const IMAGE: &str = "wharf/model-server:latest";

/// A running model API; dropped, it takes its network with it. What joined the network has to go before.
pub struct Model {
    name: String,
}

impl Model {
    /// A new one; `delay`: between two chunks of `slow`.
    pub fn start(delay: Duration) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let model = Self { name: format!("wharf-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)) };
        let (name, delay) = (model.name.as_str(), delay.as_millis().to_string());
        docker_ok(&["network", "create", "--internal", "--label", "wharf.test=model", name]);
        let run = ["run", "-d", "--label", "wharf.test=model", "--network", name, "--name", name, IMAGE];
        docker(&[&run[..], &["--delay", &delay]].concat())
            .unwrap_or_else(|e| panic!("{e}\n{IMAGE} is built by scripts/images.sh model-server"));
        let deadline = Instant::now() + PATIENCE;
        while !docker_ok(&["logs", name]).contains("listening") {
            assert!(Instant::now() < deadline, "the model server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        model
    }

    /// The network that its clients join.
    pub fn network(&self) -> &str {
        &self.name
    }

    /// Where it answers, for who is on its network.
    pub fn url(&self) -> String {
        format!("http://{}:8080", self.name)
    }

    /// Its log so far, oldest first.
    pub fn log(&self) -> Vec<Value> {
        let log = docker_ok(&["logs", &self.name]);
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it was asked so far, oldest first.
    pub fn asked(&self) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["api"].is_string()).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the model server's log\n{}", docker(&["logs", &self.name]).unwrap_or_default());
        }
        let _ = docker(&["rm", "-f", &self.name]);
        let _ = docker(&["network", "rm", &self.name]);
    }
}
