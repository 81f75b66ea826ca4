//! Many subscribers of one busy session: deliveries a second beside bare connections that are written the same bytes,
//! and what a subscriber that does not read costs.

use std::{io, time::Instant};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    memory,
    report::{Report, Row, Stat, Unit},
    target::{Target, Turn},
    turns::{PIECE, rate},
    wire::{self, Checker},
};

/// What the kernel holds for a stalled reader.
const STALLED_BUFFER: u32 = 4 * 1024;

/// `rounds` turns of `count` events, each to `clients` subscribers.
pub async fn measure(report: &mut Report, target: &Target<'_>, clients: usize, count: u64, rounds: usize) {
    let turn = target.rehearse(&format!("burst {count}")).await;
    let last = target.last().await;
    let mut subscribers = Vec::with_capacity(clients);
    for _ in 0..clients {
        let stream = wire::subscribe(target.address, &target.token, &target.session, last, None).await;
        subscribers.push((stream.expect("a subscriber"), Checker::new(last)));
    }
    let mut bare = Bare::new(clients).await.expect("loopback connections");
    let client = target.daemon.client();
    let (mut wharf, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let until = target.last().await + turn.events;
        let begun = Instant::now();
        client.prompt(&target.session, &turn.prompt).await;
        subscribers = all_read(subscribers, until).await.expect("every event once, in order");
        wharf.push(begun.elapsed());
        let begun = Instant::now();
        bare = bare.round(&turn).await.expect("the bytes come");
        raw.push(begun.elapsed());
    }
    let deliveries = turn.events * clients as u64;
    let what = format!("fan-out to {clients} SSE clients, all once and in order");
    report.add(
        Row::new(what, Unit::PerSecond("deliveries/s"), rate(&wharf, deliveries))
            .beside(format!("bare loopback, same bytes to {clients} sockets"), rate(&raw, deliveries)),
    );
}

type Subscriber = (TcpStream, Checker);

async fn all_read(subscribers: Vec<Subscriber>, until: u64) -> io::Result<Vec<Subscriber>> {
    let mut reading = JoinSet::new();
    for (mut stream, mut checker) in subscribers {
        reading.spawn(async move {
            wire::read_until(&mut stream, &mut checker, until).await?;
            Ok::<_, io::Error>((stream, checker))
        });
    }
    reading.join_all().await.into_iter().collect()
}

/// Connections of this process with itself. Which end belongs to which does not matter: all carry the same.
struct Bare {
    writers: Vec<TcpStream>,
    readers: Vec<TcpStream>,
}

impl Bare {
    async fn new(count: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut writers, mut readers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            let write = TcpStream::connect(listener.local_addr()?).await?;
            write.set_nodelay(true)?;
            writers.push(write);
            readers.push(listener.accept().await?.0);
        }
        Ok(Self { writers, readers })
    }

    async fn round(self, turn: &Turn) -> io::Result<Self> {
        let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
        for mut stream in self.writers {
            let bytes: Bytes = turn.bytes.clone();
            writing.spawn(async move {
                for piece in bytes.chunks(PIECE) {
                    stream.write_all(piece).await?;
                }
                Ok::<_, io::Error>(stream)
            });
        }
        for mut stream in self.readers {
            // Checked as the subscribers check, so that reading costs both the same.
            let (mut left, mut checker) = (turn.bytes.len(), Checker::behind_head(turn.after));
            reading.spawn(async move {
                let mut buffer = vec![0; PIECE];
                while left > 0 {
                    let n = stream.read(&mut buffer).await?;
                    if n == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    checker.feed(&buffer[..n])?;
                    left -= n;
                }
                Ok(stream)
            });
        }
        let writers = writing.join_all().await.into_iter().collect::<io::Result<_>>()?;
        let readers = reading.join_all().await.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { writers, readers })
    }
}

/// What `clients` subscribers cost that read nothing of a turn of `count` events.
pub async fn stalled(report: &mut Report, target: &Target<'_>, clients: usize, count: u64) {
    let prompt = format!("burst {count}");
    let pid = target.daemon.pid().to_string();
    // Once without them, so that what such a turn takes anyway is not counted.
    let turn = target.rehearse(&prompt).await;
    let before = memory::resident(&pid);
    let last = target.last().await;
    let mut subscribers = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (address, token, session) = (target.address, &target.token, &target.session);
        let stream = wire::subscribe(address, token, session, last, Some(STALLED_BUFFER)).await;
        subscribers.push((stream.expect("a subscriber"), Checker::new(last)));
    }
    target.rehearse(&prompt).await;
    let after = memory::resident(&pid);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let each = (after.median - before.median) * 1024.0 / clients as f64;
    let what = format!("a stalled reader: the daemon's memory, of {clients}");
    report.add(Row::new(what, Unit::KiB, Stat::of([each])));
    // They lost nothing: all that they did not read is there when they do.
    all_read(subscribers, last + turn.events).await.expect("every event once, in order");
}
