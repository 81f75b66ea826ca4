//! One session at work: from a prompt to its first event, and events a second, each beside what a pipe, a file and a
//! loopback connection do.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    bare::Program,
    report::{Report, Row, Stat, Unit},
    target::{Target, Turn},
    wire::{self, Checker},
};

/// How much goes to a plain file between two syncs, and to a bare connection at once.
pub(crate) const PIECE: usize = 64 * 1024;

/// `n` prompts, each once the one before is answered.
pub(crate) async fn latency(report: &mut Report, target: &Target<'_>, program: &Program, n: usize) {
    let client = target.daemon.client();
    let mut events = client.events(&target.session, target.last().await).await;
    let mut agent = program.start().expect("the agent starts");
    let (mut first, mut chunk, mut ended, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        let begun = Instant::now();
        agent.prompt("echo hello").and_then(|()| agent.first()).expect("the agent answers");
        bare.push(begun.elapsed());
        agent.rest().expect("the agent answers");

        let begun = Instant::now();
        let (asking, session) = (client.clone(), target.session.clone());
        let asked = tokio::spawn(async move { asking.prompt(&session, "echo hello").await });
        events.next().await.expect("the stream goes on");
        first.push(begun.elapsed());
        events.until(|event| event.chunk().is_some()).await;
        chunk.push(begun.elapsed());
        events.until_kind("turn.ended").await;
        ended.push(begun.elapsed());
        // The status that follows belongs to this round.
        events.until_kind("session.status").await;
        asked.await.expect("it was accepted");
    }
    let bare = Stat::millis(&bare);
    let limit = "the agent on a bare pipe, prompt → first chunk";
    report.add(Row::new("prompt: POST → first event at the client", Unit::Ms, Stat::millis(&first)));
    report.add(
        Row::new("prompt: POST → agent's first chunk", Unit::Ms, Stat::millis(&chunk))
            .beside(limit, bare)
            .at_most_more(2.0),
    );
    report.add(Row::new("prompt: POST → end of the turn", Unit::Ms, Stat::millis(&ended)).beside(limit, bare));
}

/// `rounds` turns of `count` small events each, through everything to one subscriber.
pub(crate) async fn throughput(
    report: &mut Report,
    target: &Target<'_>,
    program: &Program,
    dir: &Path,
    count: u64,
    rounds: usize,
) {
    let turn = target.rehearse(&format!("burst {count}")).await;
    let mut agent = program.start().expect("the agent starts");
    let mut file = File::create(dir.join("events.raw")).expect("a file");
    let mut loopback = Loopback::new().await.expect("a loopback connection");
    let (mut wharf, mut pipe, mut plain, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        wharf.push(round(target, &turn).await.expect("a round"));
        let begun = Instant::now();
        agent.prompt(&turn.prompt).expect("the agent takes it");
        assert_eq!(agent.rest().expect("the agent answers"), count);
        pipe.push(begun.elapsed());
        plain.push(append(&mut file, &turn.bytes).expect("the file is written"));
        bare.push(loopback.time(&turn.bytes).await.expect("the bytes come"));
    }
    let per_second = |times: &[Duration]| rate(times, turn.events);
    let unit = Unit::PerSecond("events/s");
    let wharf = per_second(&wharf);
    let what = format!("events of one session, agent → SSE ({count} a turn)");
    report.add(Row::new(what, unit, wharf).beside("the agent on a bare pipe", per_second(&pipe)));
    let same = format!("the same {:.1} MB", mega(turn.bytes.len()));
    report.add(
        Row::new("… the same", unit, wharf)
            .beside(format!("plain file + fdatasync every 64 KiB, {same}"), per_second(&plain)),
    );
    report.add(Row::new("… the same", unit, wharf).beside(format!("bare loopback, {same}"), per_second(&bare)));
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// A rate for each time that `count` things took.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn rate(times: &[Duration], count: u64) -> Stat {
    Stat::of(times.iter().map(|time| count as f64 / time.as_secs_f64()))
}

/// From the prompt until a subscriber has all events of its turn.
async fn round(target: &Target<'_>, turn: &Turn) -> io::Result<Duration> {
    let before = target.last().await;
    let mut stream = wire::subscribe(target.address, &target.token, &target.session, before, None).await?;
    let client = target.daemon.client();
    let begun = Instant::now();
    let (session, prompt) = (target.session.clone(), turn.prompt.clone());
    let asked = tokio::spawn(async move { client.prompt(&session, &prompt).await });
    let mut checker = Checker::new(before);
    wire::read_until(&mut stream, &mut checker, before + turn.events).await?;
    let took = begun.elapsed();
    asked.await.map_err(io::Error::other)?;
    Ok(took)
}

fn append(file: &mut File, payload: &[u8]) -> io::Result<Duration> {
    let begun = Instant::now();
    for piece in payload.chunks(PIECE) {
        file.write_all(piece)?;
        file.sync_data()?;
    }
    Ok(begun.elapsed())
}

/// A connection of this process with itself.
struct Loopback {
    write: TcpStream,
    read: TcpStream,
}

impl Loopback {
    async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let write = TcpStream::connect(listener.local_addr()?).await?;
        let (read, _) = listener.accept().await?;
        write.set_nodelay(true)?;
        Ok(Self { write, read })
    }

    async fn time(&mut self, payload: &[u8]) -> io::Result<Duration> {
        let begun = Instant::now();
        let sent = async {
            for piece in payload.chunks(PIECE) {
                self.write.write_all(piece).await?;
            }
            Ok::<(), io::Error>(())
        };
        let came = async {
            let (mut left, mut buffer) = (payload.len(), vec![0; PIECE]);
            while left > 0 {
                left -= self.read.read(&mut buffer).await?;
            }
            Ok::<(), io::Error>(())
        };
        tokio::try_join!(sent, came)?;
        Ok(begun.elapsed())
    }
}
