//! The memory of processes while something goes on.

use std::time::Duration;

use tokio::sync::watch;

/// Processes under watch.
pub struct Watched {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Vec<u64>>,
}

impl Watched {
    /// Watches from now on; what they have now counts as rest.
    pub fn start(processes: Vec<(&'static str, u32)>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let rest: Vec<u64> = processes.iter().map(|(_, pid)| resident(*pid)).collect();
        let task = tokio::spawn(async move {
            let mut most = rest.clone();
            while !*stopped.borrow() {
                for ((_, pid), most) in processes.iter().zip(&mut most) {
                    *most = resident(*pid).max(*most);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            most.iter().zip(rest).map(|(most, rest)| most - rest).collect()
        });
        Self { stop, task }
    }

    /// How many bytes more than at the start each took at the most.
    pub async fn stop(self) -> Vec<u64> {
        let _ = self.stop.send(true);
        self.task.await.unwrap_or_default()
    }
}

/// What a process has in memory of its own, in bytes: pages of files that others could drop are not counted.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    field.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
