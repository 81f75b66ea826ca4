//! How much memory and disk the store may use.

const MIB: u64 = 1024 * 1024;

/// Sizes, all in bytes. The defaults keep a daemon at rest small.
#[derive(Clone, Debug)]
pub struct Options {
    /// sled's page cache.
    pub registry_cache: u64,
    /// fjall's block cache.
    pub log_cache: u64,
    /// How much of the events is held in memory before it goes from the journal to a table.
    pub events_memtable: u64,
    /// The same for each of the other parts of the log.
    pub memtable: u64,
    /// When old journals are forced out; at least 64 MiB.
    pub journals: u64,
    /// The most that may wait for the writer.
    pub queue: usize,
    /// How much of the disk is kept free: below it nothing new is begun, below half of it nothing is written.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registry_cache: 2 * MIB,
            log_cache: MIB,
            events_memtable: MIB,
            memtable: MIB / 4,
            journals: 128 * MIB,
            queue: 64 * 1024 * 1024,
            reserve: 64 * MIB,
        }
    }
}
