//! Power cuts: a process writes to a store on a file system on a disk whose power is cut, and what is left on the disk is
//! mounted and looked at.
//!
//! A round: the writer commits and says what was acknowledged. It is stopped and then the power is cut, or the power is
//! cut before some write or flush of the disk, in the middle of whatever the writer does. The writer is killed while the
//! disk stands still, so nothing of it gets beyond the cut. What is left on the disk (see `disk`) is copied to an image; the
//! image is mounted, which replays the file system's journal as the machine would that comes up again, and the store in it
//! is opened and compared with all that was ever acknowledged. The next round goes on from the same remains: another
//! writer recovers the store, and its disk may be cut while it is at it.
//!
//! Shown is: what the store acknowledges it has flushed, on this kernel's file systems as they are mounted by default, in
//! every order in which a disk may keep unflushed writes. Not shown: disks that lie about a flush or tear sectors, and
//! file systems and mount options that are not used here (with `nobarrier` nothing can be promised). That a store which
//! does not sync is found out is shown by rounds in which the registry, and then the log, is not synced.

use std::{path::PathBuf, process::Command, time::Duration};

use rustix::process::Signal;
use wharf::store::{Options, Store};

use super::{
    disk::{Disk, Kept, Platter},
    ledger::{Checked, Ledger},
    mounts::{self, Mount, mount_image, run as program},
    plan::Plan,
    store_common::writing::{Acks, RECORDS, Writer, check},
};

/// Bytes of a payload; and how many commits make a store old, in the short run and in the long one.
const PAYLOADS: [(usize, u64, u64); 3] = [(300, 500, 4000), (32 * 1024, 140, 600), (1024 * 1024, 12, 60)];
/// A disk; only what is written takes memory.
const DISK: u64 = 640 * 1024 * 1024;
/// Power cuts on one disk.
const CUTS: u64 = 4;
/// How long the disk may take to come to the request before which it is cut.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the writer goes on beside a disk that stands still.
const LAST_WORDS: Duration = Duration::from_millis(10);
/// Cuts of a store that does not sync; one must be found out.
const PROOFS: u64 = 3;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    mounts::possible()?;
    // In a thread whose mounts are its own: the system takes them back with this process, whatever becomes of it.
    let run = || {
        mounts::private()?;
        Rig::new()?.rounds(plan, ledger)
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// A store that lives through several power cuts.
struct Life {
    platter: Platter,
    system: &'static str,
    payload: usize,
    acks: Acks,
    /// Cuts that it lived through.
    cuts: u64,
    /// Commits before the next cut.
    fill: u64,
}

/// What was found after a cut.
#[derive(Debug, Default)]
struct Found {
    /// Why the store did not open.
    closed: Option<String>,
    lost: Vec<String>,
    events: u64,
    unflushed: u64,
}

/// Figures over all rounds.
#[derive(Debug, Default)]
struct Sum {
    rounds: u64,
    aged: u64,
    commits: u64,
    events: u64,
    compactions: u64,
    unflushed: u64,
    lost: u64,
    closed: u64,
}

struct Rig {
    dir: tempfile::TempDir,
    /// The file systems, each as it is made.
    systems: Vec<(&'static str, Platter)>,
}

impl Rig {
    fn new() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("wharf-test-").tempdir_in(memory()).map_err(|e| e.to_string())?;
        for name in ["live", "copied"] {
            std::fs::create_dir(dir.path().join(name)).map_err(|e| e.to_string())?;
        }
        std::fs::write(dir.path().join("disk"), b"").map_err(|e| e.to_string())?;
        let mut rig = Self { dir, systems: Vec::new() };
        rig.make("ext4", &["-q", "-F", "-E", "nodiscard"])?;
        if program("mkfs.xfs", &["-V"]).is_ok() {
            rig.make("xfs", &["-q", "-f", "-K"])?;
        }
        Ok(rig)
    }

    fn make(&mut self, system: &'static str, args: &[&str]) -> Result<(), String> {
        let file = self.path("disk");
        let disk = Disk::start(Platter::blank(DISK), &file)?;
        program(&format!("mkfs.{system}"), &[args, &[&*file.to_string_lossy()]].concat())?;
        self.systems.push((system, disk.platter(Kept::All, &mut fastrand::Rng::new())));
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rounds(&self, plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let (mut sum, mut lives, mut made) = (Sum::default(), [None, None, None], 0);
        for round in 0..plan.rounds {
            let at = usize::try_from(round).unwrap_or(0) % PAYLOADS.len();
            let (payload, short, long) = PAYLOADS[at];
            let fill = if plan.rounds < 20 { short } else { long };
            let mut life = match lives[at].take() {
                Some(life) => life,
                None => {
                    made += 1;
                    self.new_life(made, payload)
                }
            };
            // Its first cut finds it young, the second after many commits, the others when they come.
            life.fill = if life.cuts == 1 { fill } else { 0 };
            let found = self.cut(&mut life, &mut rng, None, ledger)?;
            sum.add(&life, &found);
            ledger.checked(&[1, 10], Checked { faults: 1, prompts: 0, events: found.events });
            let told = format!("{payload} bytes on {}, cut {}, round {round}", life.system, life.cuts);
            if let Some(why) = &found.closed {
                ledger.violated(10, format!("the store does not open after a power cut ({told}): {why}"));
            }
            for lost in &found.lost {
                ledger.violated(1, format!("after a power cut ({told}): {lost}"));
            }
            if life.cuts < CUTS && found.closed.is_none() && found.lost.is_empty() {
                lives[at] = Some(life);
            }
        }
        let systems: Vec<_> = self.systems.iter().map(|(name, _)| *name).collect();
        ledger.remark(sum.told(&systems));
        self.prove(&mut rng, ledger)
    }

    fn new_life(&self, number: usize, payload: usize) -> Life {
        let (system, platter) = &self.systems[number % self.systems.len()];
        Life { platter: platter.clone(), system, payload, acks: Acks::default(), cuts: 0, fill: 0 }
    }

    /// Lets a writer go on with a life's store, cuts the power, and looks at what is left.
    fn cut(
        &self,
        life: &mut Life,
        rng: &mut fastrand::Rng,
        unsynced: Option<&str>,
        ledger: &mut Ledger,
    ) -> Result<Found, String> {
        let mut found = Found::default();
        let disk = Disk::start(std::mem::take(&mut life.platter), &self.path("disk"))?;
        let live = mount_image(&self.path("disk"), &self.path("live"))?;
        let mut writer = Writer::start(writer(unsynced), &self.path("live/store"), life.payload);
        let goes_on = (0..life.fill).all(|_| writer.next(&mut life.acks));
        let kind = if !goes_on {
            found.closed = Some("the writer gave up".to_owned());
            "nothing"
        } else if unsynced.is_none() && rng.bool() {
            // An early one, where the writer may still be opening or recovering the store, or a late one.
            let within = if rng.bool() { 60 } else { 600 };
            disk.cut_at(rng.u64(1..=within), PATIENCE);
            // What it can do without the disk, it still does: what it knows to be durable it says.
            std::thread::sleep(LAST_WORDS);
            "power cut before a request of the disk"
        } else {
            let more = rng.u64(1..=if life.payload > 100_000 { 10 } else { 120 });
            if !(0..more).all(|_| writer.next(&mut life.acks)) {
                found.closed = Some("the writer gave up".to_owned());
            }
            writer.stop(&mut life.acks);
            "power cut with the writer stopped"
        };
        disk.cut();
        let kept = if unsynced.is_some() { Kept::Nothing } else { Kept::any(rng) };
        life.platter = disk.platter(kept, rng);
        found.unflushed = disk.unflushed() as u64;
        // Its signal is there before the disk goes on: no thread of it that waits for the disk does anything more.
        writer.signal(Signal::KILL);
        disk.let_go();
        writer.rest(&mut life.acks);
        drop((writer, live, disk));
        life.cuts += 1;
        if unsynced.is_none() {
            ledger.fault(kind);
        }
        self.look(life, &mut found)?;
        Ok(found)
    }

    /// Copies what is left to an image, mounts it, and compares the store in it with what was acknowledged.
    fn look(&self, life: &Life, found: &mut Found) -> Result<(), String> {
        let (image, at) = (self.path("image"), self.path("copied"));
        life.platter.copy_to(&image)?;
        let copied: Mount = mount_image(&image, &at)?;
        match Store::open(&at.join("store"), Options::default()) {
            Err(e) => found.closed = Some(e.to_string()),
            Ok(store) => match check(&store, &life.acks) {
                Ok((lost, events)) => (found.lost, found.events) = (lost, events),
                Err(e) => found.closed = Some(e.to_string()),
            },
        }
        drop(copied);
        std::fs::remove_file(&image).map_err(|e| e.to_string())
    }

    /// A store that does not sync is found out.
    fn prove(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), String> {
        for part in ["registry", "log"] {
            let mut told = None;
            for _ in 0..PROOFS {
                let mut life = self.new_life(0, PAYLOADS[0].0);
                let mut found = self.cut(&mut life, rng, Some(part), ledger)?;
                told = found.closed.or_else(|| found.lost.pop());
                if told.is_some() {
                    break;
                }
            }
            let told =
                told.ok_or(format!("{PROOFS} power cuts of a store whose {part} is not synced were not noticed"))?;
            ledger.remark(format!("a power cut of a store whose {part} is not synced is noticed: {told}"));
        }
        Ok(())
    }
}

/// Where images lie in memory: what is real of the disk is in `disk`, and only that is to be waited for.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// This program as the writer.
fn writer(unsynced: Option<&str>) -> Command {
    // Not by its path, where another build of it may be by now.
    let mut command = Command::new("/proc/self/exe");
    if let Some(part) = unsynced {
        command.env(wharf::crash::UNSYNCED, part);
        // A sync of the log flushes the disk, and so the registry's part of it too.
        if part == "registry" {
            command.env(RECORDS, "1");
        }
    }
    command
}

impl Sum {
    fn add(&mut self, life: &Life, found: &Found) {
        self.rounds += 1;
        self.aged += u64::from(life.acks.compactions > 0);
        self.commits += life.acks.commits;
        self.events += found.events;
        self.compactions = self.compactions.max(life.acks.compactions);
        self.unflushed += found.unflushed;
        self.lost += found.lost.len() as u64;
        self.closed += u64::from(found.closed.is_some());
    }

    fn told(&self, systems: &[&str]) -> String {
        format!(
            "{} power cuts on {} ({} of aged stores, up to {} compactions): {} acknowledged commits and {} events \
             checked, {} lost, {} stores did not open; {} unflushed writes were in the disk's cache",
            self.rounds,
            systems.join(" and "),
            self.aged,
            self.compactions,
            self.commits,
            self.events,
            self.lost,
            self.closed,
            self.unflushed
        )
    }
}
