//! An image of busybox alone, and a guard that removes all that a test made, also when the test panics.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

#[path = "../support/engine.rs"]
mod cleared;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use cleared::TetherVolumes;
use wharf::{
    domain::InstanceId,
    engine::{ContainerSpec, DEFAULT_ENDPOINT, Engine, LABEL_INSTANCE, LABEL_WORKSPACE},
};

/// The engine that the tests use.
pub(crate) fn engine() -> Engine {
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned());
    Engine::new(&address).expect("DOCKER_HOST can be read")
}

/// An image and everything that carries one instance's label; removed when dropped.
pub(crate) struct Playground {
    pub(crate) engine: Engine,
    pub(crate) instance: InstanceId,
    pub(crate) image: String,
    _tether: TetherVolumes,
}

impl Playground {
    /// Imports an image of a name that no other test has.
    pub(crate) async fn new() -> Self {
        let (engine, instance, tether) = (engine(), InstanceId::new(), TetherVolumes::hold());
        let playground = Self { engine, image: format!("wharf-test:{instance}"), instance, _tether: tether };
        playground
            .engine
            .import_image("wharf-test", playground.instance.as_str(), busybox_archive())
            .await
            .expect("the engine imports an image");
        playground
    }

    /// The same image, for what carries another instance's label.
    pub(crate) fn of(&self, instance: InstanceId) -> Self {
        Self { engine: self.engine.clone(), image: self.image.clone(), instance, _tether: TetherVolumes::hold() }
    }

    /// A container of this playground that runs `argv`.
    pub(crate) fn spec(&self, name: &str, argv: &[&str]) -> ContainerSpec {
        let labels = [(LABEL_INSTANCE, self.instance.as_str()), (LABEL_WORKSPACE, name)];
        ContainerSpec {
            name: self.name(name),
            image: self.image.clone(),
            entrypoint: argv.iter().map(|&arg| arg.to_owned()).collect(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            cap_add: vec!["KILL".into()],
            stop_timeout: 1,
            ..ContainerSpec::default()
        }
    }

    /// The full name of a container or volume.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("wharf-test-{}-{name}", self.instance)
    }

    /// Makes and starts a container that waits, and ends at once when told to.
    pub(crate) async fn waiting(&self, name: &str) -> String {
        let script = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 1000 & wait $!; done";
        let spec = self.spec(name, &["/bin/busybox", "sh", "-c", script]);
        self.engine.create_container(&spec).await.expect("made");
        self.engine.start_container(&spec.name).await.expect("started");
        spec.name
    }

    /// What is left of this playground's containers and volumes.
    pub(crate) async fn left(&self) -> Vec<String> {
        let label = [(LABEL_INSTANCE, self.instance.as_str())];
        let containers = self.engine.list_containers(&label).await.expect("listed");
        let volumes = self.engine.list_volumes(&label, false).await.expect("listed");
        containers.into_iter().map(|c| c.name).chain(volumes.into_iter().map(|v| v.name)).collect()
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let (engine, instance, image) = (engine(), self.instance.clone(), self.image.clone());
        // A thread of its own: the test's runtime may be the one that is unwinding.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let label = [(LABEL_INSTANCE, instance.as_str())];
                for container in engine.list_containers(&label).await.unwrap_or_default() {
                    engine.remove_container(&container.id).await.ok();
                }
                for volume in engine.list_volumes(&label, false).await.unwrap_or_default() {
                    engine.remove_volume(&volume.name).await.ok();
                }
                engine.remove_image(&image).await.ok();
            });
        });
        cleaned.join().ok();
    }
}

/// A tar archive with a static busybox and the directories that a container needs.
pub(crate) fn busybox_archive() -> Bytes {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let program =
        std::fs::read(busybox.expect("the package busybox-static is installed")).expect("busybox is readable");
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, path, data).expect("memory takes it");
    };
    add("bin/", tar::EntryType::Directory, &[]);
    add("bin/busybox", tar::EntryType::Regular, &program);
    archive.into_inner().expect("memory takes it").into()
}

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("not within 30 s: {what}"),
    }
}
