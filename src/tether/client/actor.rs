//! The task that keeps the connection: it alone talks to tether, and starts over where the last connection ended.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Connect, ConnectError, ProcessEvent, TetherError,
    attachments::Attachments,
    commands::{Command, Reply},
    handle::Shared,
    inputs::Inputs,
    link::{Link, LinkError},
    requests::Requests,
};
use crate::tether::{
    frames::{Frame, Output, encode_json, kind},
    messages::{Ack, Attached, Ended, Error, ErrorCode, Exited, InputTaken, Ping, Processes, Req, Resolved, Welcome},
};

/// Before the first attempt to connect again; doubled up to `LAST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Between pings.
const PING: Duration = Duration::from_secs(15);
/// A connection that was silent for so long is dead, whatever the network says.
const SILENCE: Duration = Duration::from_secs(45);

/// Why a connection is no more.
enum Over {
    /// Another may come.
    Link(LinkError),
    /// None will.
    Final(String),
}

impl<E: Into<LinkError>> From<E> for Over {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

pub(super) struct Actor {
    connector: Arc<dyn Connect>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    ready: Option<oneshot::Sender<Result<(), TetherError>>>,
    requests: Requests,
    inputs: Inputs,
    attachments: Attachments,
    heard: Instant,
    /// The connection was of use.
    progress: bool,
}

impl Actor {
    pub(super) fn new(
        connector: Arc<dyn Connect>,
        commands: mpsc::Receiver<Command>,
        shared: Arc<Shared>,
        tracker: TaskTracker,
        stop: CancellationToken,
        ready: oneshot::Sender<Result<(), TetherError>>,
    ) -> Self {
        let attachments = Attachments::new(tracker, stop.clone());
        let (requests, inputs) = (Requests::default(), Inputs::default());
        let (ready, heard) = (Some(ready), Instant::now());
        Self { connector, commands, shared, stop, ready, requests, inputs, attachments, heard, progress: false }
    }

    pub(super) async fn run(mut self) {
        let reason = self.keep_connected().await;
        let error = TetherError::Gone(reason.clone());
        self.shared.close(&reason);
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        self.requests.fail_all(&error);
        self.attachments.fail_all(&error);
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(error));
        }
    }

    /// Returns why there will be no connection any more.
    async fn keep_connected(&mut self) -> String {
        let mut pause = FIRST_PAUSE;
        loop {
            let connector = Arc::clone(&self.connector);
            let open = async move { Link::open(connector.connect().await?).await };
            match self.obeying(open).await {
                Ok(Ok((mut link, welcome))) => {
                    self.resume(&welcome);
                    let over = self.converse(&mut link).await;
                    self.disconnected();
                    match over {
                        Over::Final(reason) => return reason,
                        Over::Link(e) => tracing::debug!("the connection to tether ended: {e}"),
                    }
                    if std::mem::take(&mut self.progress) {
                        pause = FIRST_PAUSE;
                    }
                }
                Ok(Err(ConnectError::Retry(why))) => tracing::debug!("no connection to tether yet: {why}"),
                Ok(Err(ConnectError::Gone(reason))) | Err(reason) => return reason,
            }
            if let Err(reason) = self.obeying(sleep(pause)).await {
                return reason;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Waits for `future` and takes commands meanwhile; fails when there is nothing to wait for any more.
    async fn obeying<T>(&mut self, future: impl Future<Output = T>) -> Result<T, String> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err("the client was stopped".to_owned()),
                value = &mut future => return Ok(value),
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return Err("nobody holds it any more".to_owned()),
                },
            }
        }
    }

    /// Notes what is wanted; `tell` sends it when there is a connection.
    fn obey(&mut self, command: Command) {
        match command {
            Command::Request { req, frame, repeat, reply } => self.requests.add(req, frame, repeat, reply),
            Command::Attach { process, offsets, reply } => {
                self.attachments.add(self.shared.next_req(), process, offsets, reply);
            }
            Command::Input { process, n, mark, bytes, reply } => {
                let _ = reply.send(self.inputs.add(process, n, mark, bytes));
            }
        }
    }

    /// A new connection: what tether says it has taken was taken.
    fn resume(&mut self, welcome: &Welcome) {
        self.heard = Instant::now();
        self.shared.set_welcome(welcome);
        self.shared.connected.store(true, Ordering::Release);
        for process in self.inputs.processes() {
            if let Some(info) = welcome.processes.iter().find(|info| info.id == process) {
                self.taken(&process, info.last_input);
            }
        }
        for (process, offsets) in self.attachments.all_durable() {
            self.shared.acks.set(&process, offsets);
        }
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
    }

    fn disconnected(&mut self) {
        self.shared.connected.store(false, Ordering::Release);
        self.requests.disconnected();
        self.inputs.disconnected();
        self.attachments.disconnected();
    }

    async fn converse(&mut self, link: &mut Link) -> Over {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(over) = self.advance(link, &mut ping).await {
                return over;
            }
        }
    }

    /// One round: hears what came, tells what is to be told, waits for anything.
    async fn advance(&mut self, link: &mut Link, ping: &mut tokio::time::Interval) -> Result<(), Over> {
        while let Some(frame) = link.next_frame()? {
            self.hear(&frame)?;
        }
        self.tell(link)?;
        tokio::select! {
            () = self.stop.cancelled() => return Err(Over::Final("the client was stopped".to_owned())),
            read = link.turn() => {
                if read? {
                    self.heard = Instant::now();
                }
            }
            command = self.commands.recv() => match command {
                Some(command) => self.obey(command),
                None => return Err(Over::Final("nobody holds it any more".to_owned())),
            },
            () = self.shared.acks.changed.notified() => {}
            () = self.attachments.wake.notified() => {}
            _ = ping.tick() => {
                if self.heard.elapsed() >= SILENCE {
                    return Err(LinkError::Silent.into());
                }
                encode_json(link.out(), kind::PING, &Ping { n: 0 })?;
            }
        }
        Ok(())
    }

    /// Appends all that tether was not told yet, as far as there is room.
    fn tell(&mut self, link: &mut Link) -> Result<(), LinkError> {
        while link.has_room()
            && let Some(frame) = self.requests.next_unsent()
        {
            link.out().extend_from_slice(frame);
        }
        if link.has_room() {
            self.attachments.encode(link.out())?;
            for (process, offsets) in self.shared.acks.take() {
                self.attachments.durable(&process, offsets);
                let [stdout, stderr] = offsets;
                encode_json(link.out(), kind::ACK, &Ack { process, stdout, stderr })?;
            }
        }
        while link.has_room() && self.inputs.encode_next(link.out())? {}
        Ok(())
    }

    fn hear(&mut self, frame: &Frame) -> Result<(), LinkError> {
        match frame.kind {
            kind::OUTPUT => {
                let output = Output::decode(frame)?;
                let bytes = Bytes::copy_from_slice(output.bytes);
                self.attachments.output(&output, bytes)?;
            }
            kind::INPUT_TAKEN => {
                let taken: InputTaken = frame.json()?;
                self.taken(&taken.process, taken.n);
            }
            kind::EXITED => {
                let exited: Exited = frame.json()?;
                self.attachments.exited(&exited.process, exited.exit);
            }
            kind::ATTACHED => {
                let attached: Attached = frame.json()?;
                self.taken(&attached.info.id, attached.info.last_input);
                self.attachments.attached(&attached);
            }
            kind::DONE => self.requests.answer(frame.json::<Req>()?.req, Ok(Reply::Done)),
            kind::ENDED => {
                let ended: Ended = frame.json()?;
                self.requests.answer(ended.req, Ok(Reply::Ended(ended.killed)));
            }
            kind::PROCESSES => {
                let list: Processes = frame.json()?;
                self.requests.answer(list.req, Ok(Reply::Processes(list.processes)));
            }
            kind::RESOLVED => {
                let resolved: Resolved = frame.json()?;
                self.requests.answer(resolved.req, Ok(Reply::Resolved(resolved.path)));
            }
            kind::ERROR => return self.hear_error(frame.json()?),
            // A pong, or what a newer tether has to say: that it came is enough.
            _ => return Ok(()),
        }
        self.progress = true;
        Ok(())
    }

    fn hear_error(&mut self, error: Error) -> Result<(), LinkError> {
        match (error.req, &error.process, error.n) {
            (Some(req), _, _) => {
                let (code, error) = (error.code, TetherError::from(error));
                if !self.attachments.refused(req, code, error.clone()) {
                    self.requests.answer(req, Err(error));
                }
            }
            (None, Some(process), Some(n)) => {
                for n in self.inputs.rejected(process, n) {
                    self.attachments.give(process, ProcessEvent::InputRejected { n, reason: error.message.clone() });
                }
            }
            _ if error.code == ErrorCode::Superseded => return Err(LinkError::Refused(error.message)),
            _ => return Err(LinkError::Protocol(error.message)),
        }
        Ok(())
    }

    fn taken(&mut self, process: &str, n: u64) {
        for n in self.inputs.taken(process, n) {
            self.attachments.give(process, ProcessEvent::InputTaken { n });
        }
    }
}
