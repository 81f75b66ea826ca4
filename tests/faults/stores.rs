//! Faults of the state directory: full, read-only, damaged, of a newer version, asked for by two daemons.
//!
//! Full and read-only come while sessions work: the state is on a small file system of its own, which another file fills, or
//! which the kernel makes read-only as after an error of the disk. Damage is tried on copies of the state of a daemon whose
//! sessions rest, each with a daemon of its own: it refuses in words and leaves all as it was, or tells exactly the records
//! that were there before.

use std::{fs::File, io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use super::{
    api::until,
    books::Cost,
    damage::{self, Attempt},
    driven::Load,
    ledger::Ledger,
    mounts::{self, Mount, mount, run as program},
    plan::Plan,
    support::Daemon,
    world::{Storm, World},
};

/// How long the load works before the fault.
const CALM: Duration = Duration::from_millis(800);
/// The size of the file system with the state: what is kept free and a journal, and what is written in each storm.
const DISK: u64 = 96 * 1024 * 1024;
const DISK_FOR_A_STORM: u64 = 16 * 1024 * 1024;
/// Damages for one fault under load.
const DAMAGES: u64 = 20;
const CONFIG: &str = "idle_timeout = \"off\"\ntransport = \"exec\"\n";

/// A small file system for a state directory.
struct Place {
    /// Before the directory, which can't go while something is mounted in it.
    mount: Option<Mount>,
    dir: tempfile::TempDir,
}

impl Place {
    fn new(storms: u64) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("wharf-test-").tempdir().map_err(|e| e.to_string())?;
        let image = dir.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(DISK + storms * DISK_FOR_A_STORM))
            .map_err(|e| e.to_string())?;
        program("mkfs.ext4", &["-q", "-F", "-m", "0", &image.to_string_lossy()])?;
        std::fs::create_dir(dir.path().join("state")).map_err(|e| e.to_string())?;
        let mut place = Self { mount: None, dir };
        place.mount()?;
        let _ = std::fs::remove_dir(place.state().join("lost+found"));
        Ok(place)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn mount(&mut self) -> Result<(), String> {
        let image = self.dir.path().join("image");
        let args = ["-o", "loop,errors=remount-ro", &*image.to_string_lossy()];
        self.mount = Some(mount(&args, &self.state(), Stdio::null())?);
        Ok(())
    }

    /// Takes all room that is left, to the last byte.
    fn fill(&self) -> Result<(), String> {
        let mut file = File::create(self.filler()).map_err(|e| e.to_string())?;
        for size in [1024 * 1024, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.state().join("filler")
    }

    /// What the kernel does when it finds the file system damaged: from now on it is read-only.
    fn make_read_only(&self) -> Result<(), String> {
        let source = program("findmnt", &["-n", "-o", "SOURCE", &self.state().to_string_lossy()])?;
        let device = source.trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(&trigger, "a test").map_err(|e| format!("{trigger}: {e}"))
    }

    /// What is done about it: unmounted, checked, mounted again.
    async fn mend(&mut self) -> Result<(), String> {
        if let Some(mount) = self.mount.take() {
            mount.take_down().await?;
        }
        let image = self.dir.path().join("image");
        // The loop device goes with the last mount, and that of another process's mounts is as good: a check of an image
        // that is still in use, or a mount that shares it, would show another file system than the one that was mended.
        let path = image.to_string_lossy();
        let free = until("the end of the loop device", async || match program("losetup", &["-j", &path])? {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
        free.await?;
        // Its exit code 1 says that something was corrected.
        let _ = program("fsck.ext4", &["-p", &path]);
        self.mount()
    }
}

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    mounts::possible()?;
    let storms = plan.rounds.div_ceil(DAMAGES);
    let mut place = Place::new(storms)?;
    let mut daemon = Daemon::prepared_in(place.dir.path(), Some(CONFIG));
    daemon.start_again().await;
    let load = Load { burst: plan.burst, cancels: false };
    let mut world = World::around(plan.seed, daemon, None, load).await?;
    let mut broken = Ok(());
    for _ in 0..storms {
        world
            .storm(ledger, async |storm| {
                storm.blow(CALM).await;
                broken = faults(storm, &mut place).await;
            })
            .await;
        broken.clone()?;
        world.check(Cost::Nothing, ledger).await;
    }
    world.rests(ledger).await;
    world.daemon.stop();
    damage::rounds(plan, world.daemon.state(), &mut world.rng, ledger).await?;
    read_only_at_start(&place, ledger).await?;
    world.daemon.start_again().await;
    world.check(Cost::Nothing, ledger).await;
    world.end(ledger).await;
    Ok(())
}

/// Each of the faults that come under load.
async fn faults(storm: &mut Storm<'_>, place: &mut Place) -> Result<(), String> {
    second_daemon(storm, place).await?;
    storm.blow(CALM).await;
    storm.fault("state directory full");
    place.fill()?;
    says_so(storm, &[FAILED, ["MiB left", "make room"]]).await;
    storm.daemon.kill();
    started_while(storm, place, "full").await?;
    std::fs::remove_file(place.filler()).map_err(|e| e.to_string())?;
    storm.daemon.start_again().await;
    storm.blow(CALM).await;
    storm.fault("state directory read-only");
    place.make_read_only()?;
    says_so(storm, &[FAILED]).await;
    storm.daemon.kill();
    started_while(storm, place, "read-only").await?;
    place.mend().await?;
    storm.daemon.start_again().await;
    Ok(())
}

/// What is said of a store of which a write has failed, and what to do.
const FAILED: [&str; 2] = ["takes no more writes", "start the daemon again"];

/// The daemon says that its store takes no more, why, and what to do, in one of these ways.
async fn says_so(storm: &mut Storm<'_>, ways: &[[&str; 2]]) {
    let api = storm.api.clone();
    let said = until("what /readyz says of a store that takes no more", async || {
        let answer = api.try_call("GET", "/readyz", None, None).await;
        let Some((503, ready)) = answer else { return Err(format!("{answer:?}")) };
        let text = ready.to_string();
        let said = ways.iter().any(|words| words.iter().all(|words| text.contains(words)));
        if said { Ok(()) } else { Err(text) }
    });
    if let Err(why) = said.await {
        storm.ledger.violated(1, why);
    }
}

/// A daemon that is started while the fault lasts refuses in words, or works as far as it goes.
async fn started_while(storm: &mut Storm<'_>, place: &Place, what: &str) -> Result<(), String> {
    let before = damage::files(&place.state())?;
    let attempt = Attempt::start(&place.state(), place.dir.path()).await?;
    if let Some(refused) = attempt.refused() {
        for wrong in damage::bad_refusal(refused, &place.state()) {
            storm.ledger.violated(10, format!("started while its state directory is {what}: {wrong}: {refused}"));
        }
        let changed = damage::changed(&before, &damage::files(&place.state())?);
        if !changed.is_empty() {
            storm.ledger.violated(10, format!("started while its state directory is {what}, it changed {changed:?}"));
        }
        storm.fault(&format!("daemon refused to start, state directory {what}"));
    }
    Ok(())
}

async fn second_daemon(storm: &mut Storm<'_>, place: &Place) -> Result<(), String> {
    storm.fault("second daemon on a state directory");
    let attempt = Attempt::start(&place.state(), place.dir.path()).await?;
    let first = storm.daemon.pid().to_string();
    match attempt.refused() {
        Some(said) if said.contains("in use by another wharf daemon") && said.contains(&first) => {}
        other => storm.ledger.violated(10, format!("a second daemon on a state directory: {other:?}")),
    }
    Ok(())
}

/// The state is mounted read-only while no daemon runs.
async fn read_only_at_start(place: &Place, ledger: &mut Ledger) -> Result<(), String> {
    let state = place.state();
    let at = state.to_string_lossy().into_owned();
    program("mount", &["-o", "remount,ro", &at])?;
    ledger.fault("state directory read-only at the start");
    let attempt = Attempt::start(&state, place.dir.path()).await;
    program("mount", &["-o", "remount,rw", &at])?;
    match attempt?.refused() {
        Some(refused) => {
            for wrong in damage::bad_refusal(refused, &state) {
                ledger.violated(10, format!("started on a read-only state directory: {wrong}: {refused}"));
            }
        }
        None => ledger.violated(10, "a daemon started on a state directory that it can't write to"),
    }
    Ok(())
}
