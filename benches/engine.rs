//! What bringing up a workspace costs beside the engine's own create and start of an equal container, in one run.

use std::time::{Duration, Instant};

use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig, MountType},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wharf::{
    engine::{DEFAULT_ENDPOINT, Engine, LABEL_INSTANCE},
    seal::Sealer,
    store::{Options, Store},
    workspace::{EngineState, NewWorkspace, WorkspaceConfig, Workspaces},
};

/// Times of both ways, in the order in which they were taken, one after the other.
pub struct ColdStart {
    /// The engine's create and start alone, over bollard.
    pub engine: Vec<Duration>,
    /// From nothing to a connected tether.
    pub wharf: Vec<Duration>,
}

/// The middle one.
#[must_use]
pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Measures `n` cold starts with an image that the engine has. Leaves nothing behind but tether's volume.
pub fn cold_start(image: &str, n: usize) -> anyhow::Result<ColdStart> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(image, n))
}

async fn measure(image: &str, n: usize) -> anyhow::Result<ColdStart> {
    let dir = std::env::temp_dir().join(format!("wharf-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_ENDPOINT.to_owned());
    let store = Store::open(&dir.join("store"), Options::default())?;
    let mut config = WorkspaceConfig::new(dir.join("run"), Sealer::open_or_create(&dir)?);
    image.clone_into(&mut config.default_image);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let engine = Engine::new(&address)?;
    let workspaces = Workspaces::new(store.clone(), engine.clone(), config, tracker.clone(), stop.clone());
    workspaces.engine_state().wait_for(|state| *state == EngineState::Up).await?;

    let measured = rounds(&workspaces, n).await;

    let label = store.instance().to_string();
    for container in engine.list_containers(&[(LABEL_INSTANCE, &label)]).await? {
        engine.remove_container(&container.id).await?;
    }
    for volume in engine.list_volumes(&[(LABEL_INSTANCE, &label)], false).await? {
        engine.remove_volume(&volume.name).await?;
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    drop(workspaces);
    store.close().await?;
    std::fs::remove_dir_all(&dir)?;
    measured
}

async fn rounds(workspaces: &Workspaces, n: usize) -> anyhow::Result<ColdStart> {
    let docker = Docker::connect_with_defaults()?;
    let mut times = ColdStart { engine: Vec::new(), wharf: Vec::new() };
    for round in 0..=n {
        let (made, _) = workspaces.create(NewWorkspace::default()).await?;
        let begun = Instant::now();
        workspaces.attach(&made.id).await?;
        let wharf = begun.elapsed();
        let tail = &made.id.as_str()[made.id.as_str().len() - 12..];
        let engine = equal(&docker, &format!("wharf-{tail}")).await?;
        workspaces.delete(&made.id).await?;
        // The first round fills tether's volume and warms the engine.
        if round > 0 {
            times.wharf.push(wharf);
            times.engine.push(engine);
        }
    }
    Ok(times)
}

/// Makes and starts a container that differs from the one named in nothing but its names.
async fn equal(docker: &Docker, like: &str) -> anyhow::Result<Duration> {
    let shown = docker.inspect_container(like, None::<InspectContainerOptions>).await?;
    let config = shown.config.unwrap_or_default();
    let mut host: HostConfig = shown.host_config.unwrap_or_default();
    let name = format!("{like}-equal");
    let mut volumes = Vec::new();
    let mut directory = None;
    for mount in host.mounts.iter_mut().flatten() {
        let source = mount.source.clone().unwrap_or_default();
        let renamed = match mount.typ {
            Some(MountType::VOLUME) if mount.read_only != Some(true) => {
                let renamed = format!("{source}-equal");
                volumes.push(renamed.clone());
                renamed
            }
            Some(MountType::BIND) => {
                let renamed = format!("{source}-equal");
                std::fs::create_dir_all(&renamed)?;
                directory = Some(renamed.clone());
                renamed
            }
            _ => source,
        };
        mount.source = Some(renamed);
    }
    let body = ContainerCreateBody {
        image: config.image,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        user: config.user,
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck,
        host_config: Some(host),
        ..Default::default()
    };
    let begun = Instant::now();
    docker.create_container(Some(CreateContainerOptionsBuilder::new().name(&name).build()), body).await?;
    docker.start_container(&name, None).await?;
    let taken = begun.elapsed();
    docker.remove_container(&name, Some(RemoveContainerOptionsBuilder::new().force(true).build())).await?;
    for volume in volumes {
        docker.remove_volume(&volume, None::<RemoveVolumeOptions>).await?;
    }
    directory.map(std::fs::remove_dir_all).transpose()?;
    Ok(taken)
}
