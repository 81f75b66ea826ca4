//! Who may connect: in a container root and the host, never an agent; on a host root, tether's own user and who is named.

use std::{io, os::fd::AsFd as _, time::Duration, time::Instant};

use rustix::process::getuid;

use super::{conn::Conn, server::Server};
use crate::tether::{inside::Peer, messages::ErrorCode};

impl Server {
    /// Whoever may not is gone before a byte of it is read.
    pub(super) fn accept(&mut self, listener: usize, now: Instant) {
        let stream = match self.listeners[listener].accept() {
            Ok((stream, _)) => stream,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            Err(e) => {
                eprintln!("wharf-tether: can't accept a connection: {e}");
                // Out of descriptors, most likely; it is still there to be accepted, and must not keep us spinning.
                return std::thread::sleep(Duration::from_millis(20));
            }
        };
        let peer = (self.system.peer)(stream.as_fd());
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut conn = Conn::new(stream, now);
        match peer {
            Ok(peer) if self.may_connect(peer) => self.guests.push(conn),
            Ok(peer) => {
                eprintln!("wharf-tether: refused a connection of process {} of user {}", peer.pid, peer.uid);
                if self.options.host.is_some() {
                    // An agent could not learn anything from it, and an operator has to.
                    let why =
                        format!("user {} may not connect to this tether: it has to be told with `--for`", peer.uid);
                    conn.send_error(None, ErrorCode::Unsupported, why);
                    conn.flush();
                }
            }
            Err(e) => eprintln!("wharf-tether: refused a connection: {e}"),
        }
    }

    fn may_connect(&self, peer: Peer) -> bool {
        match &self.options.host {
            // A pid of 0 is a process from outside this pid namespace, which is the host's.
            None => peer.uid == 0 || peer.pid == 0,
            Some(host) => peer.uid == 0 || peer.uid == getuid().as_raw() || host.allow.contains(&peer.uid),
        }
    }
}
