//! `connect`: what `docker exec` runs; carries its stdin and stdout to and from tether's socket.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

/// How long the serving tether may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &[String]) -> Result<(), String> {
    let [flag, path] = args else { return Err("connect takes `--socket PATH`".to_owned()) };
    if flag != "--socket" {
        return Err(format!("connect does not know `{flag}`; it takes `--socket PATH`"));
    }
    let socket = wait_for(path)?;
    carry(&socket).map_err(|e| format!("the connection to tether broke: {e}"))
}

fn wait_for(path: &str) -> Result<UnixStream, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                if Instant::now() >= until {
                    return Err(format!("no tether serves at {path}: {e}"));
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(format!("can't connect to {path}: {e}")),
        }
    }
}

/// Ends when either side ends: a connection of which half is gone is of no use.
fn carry(socket: &UnixStream) -> io::Result<()> {
    // Files of their own: std's stdout would hold back what does not end with a line feed.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let to_tether = socket.try_clone()?;
    thread::spawn(move || {
        let _ = copy(&input, &to_tether);
        let _ = to_tether.shutdown(Shutdown::Both);
    });
    match copy(socket, &output) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Err(e),
        _ => Ok(()),
    }
}

/// Not `io::copy`: that uses splice(2), which on some kernels (seen on 6.18) sleeps on while its pipe holds bytes.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
