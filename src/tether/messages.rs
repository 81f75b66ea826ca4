//! The JSON payloads of the frames. What a side does not know, it ignores; what is missing, has a default where one exists.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `HELLO`: the first frame of a connection. The newest connection that says it takes over from an older one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version that the daemon speaks.
    pub version: u32,
    /// Who it is, for the log.
    #[serde(default)]
    pub client: String,
}

/// `WELCOME`: the answer to `HELLO`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both now speak.
    pub version: u32,
    /// tether's own version.
    pub tether: String,
    /// Made anew each time tether starts: another value means that every process of before is gone.
    pub generation: String,
    /// The machine's boot.
    pub boot_id: String,
    /// What tether holds.
    pub processes: Vec<ProcessInfo>,
    /// Where it works and as whom, where that is no container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostUser>,
}

/// Where a tether on a host works, and as whom: all its processes are this user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUser {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The user's name.
    pub user: String,
    /// The user's home.
    pub home: String,
    /// Where programs are looked up.
    pub path: String,
    /// The directory that every process has to work in, without links.
    pub directory: String,
}

/// A process that tether holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub id: String,
    /// Whether it, or something that it started, still runs.
    pub running: bool,
    /// How it ended, once nothing of it runs.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// The last input that was taken; 0 before the first.
    pub last_input: u64,
    /// What of its standard output is in the journal.
    pub stdout: Span,
    /// What of its standard error is in the journal.
    pub stderr: Span,
}

/// A range of a stream, in byte offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

/// How a process ended. Neither a code nor a signal: nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// It went down with its tether or its keeper, and output that it had not yet written out with it.
    #[serde(default)]
    pub lost: bool,
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// `START`, and `START_WITH_FILES`, which is another kind so that a tether that knows no files says so: answered with `DONE`, or with `ERROR` if the program could not be run. A known id is not started again.
#[derive(Clone, Serialize, Deserialize)]
pub struct Start {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub id: String,
    /// Program and arguments; without a slash, the program is looked up in PATH.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// The user; in a container never root, on a host tether's own.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// With a terminal of this size; else pipes.
    #[serde(default)]
    pub pty: Option<Size>,
    /// Files that it finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<StartFile>,
}

/// A file that a process finds, for as long as it runs.
#[derive(Clone, Serialize, Deserialize)]
pub struct StartFile {
    /// Where the process looks for it, absolute; a link is put there.
    pub path: String,
    /// What it holds.
    #[serde(default)]
    pub text: String,
    /// Where it really is: tether's own word to its launcher.
    #[serde(default)]
    pub at: String,
    /// Tether's own word, too: what lies there is left alone unless it is a link into this directory. Empty: anything may
    /// be replaced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replaces: String,
}

impl fmt::Debug for StartFile {
    // Its content is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Start {
    // The environment holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("id", &self.id)
            .field("argv", &self.argv)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// `ATTACH`: answered with `ATTACHED`, then output from these offsets on, then `EXITED` when all of it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attach {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub process: String,
    /// The offset of its standard output to go on from.
    pub stdout: u64,
    /// The offset of its standard error to go on from.
    pub stderr: u64,
    /// How much may be sent, in units of the window.
    pub credit: u64,
}

/// `ATTACHED`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attached {
    /// The request's number.
    pub req: u64,
    /// The process.
    #[serde(flatten)]
    pub info: ProcessInfo,
}

/// `ACK`: everything below these offsets is durable in the daemon and may be dropped. Not answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// The process's id.
    pub process: String,
    /// Offset of its standard output.
    pub stdout: u64,
    /// Offset of its standard error.
    pub stderr: u64,
}

/// `CREDIT`: so much more may be sent. Not answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credit {
    /// The process's id.
    pub process: String,
    /// Units of the window.
    pub add: u64,
}

/// `END`: answered with `ENDED` when /proc shows that nothing of it is left, with `ERROR` if that could not be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub process: String,
    /// Only what was born since the last marked input, and never the process itself.
    pub since_mark: bool,
    /// Milliseconds between SIGTERM and SIGKILL; 0: SIGKILL at once.
    pub grace_ms: u64,
}

/// `ENDED`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The request's number.
    pub req: u64,
    /// How many processes were ended.
    pub killed: usize,
}

/// `CLOSE_STDIN`, `FORGET`, `DETACH`: answered with `DONE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfProcess {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub process: String,
}

/// `SIGNAL`: to the process itself; answered with `DONE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendSignal {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub process: String,
    /// The signal's number.
    pub signal: i32,
}

/// `RESIZE`: of its terminal; answered with `DONE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resize {
    /// The request's number.
    pub req: u64,
    /// The process's id.
    pub process: String,
    /// The new size.
    #[serde(flatten)]
    pub size: Size,
}

/// `RESOLVE`: asks a tether on a host for a directory without links; answered with `RESOLVED`, or with `ERROR` where
/// processes may not work in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolve {
    /// The request's number.
    pub req: u64,
    /// An absolute path.
    pub path: String,
}

/// `RESOLVED`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// The request's number.
    pub req: u64,
    /// The same directory, without links.
    pub path: String,
}

/// `LIST` (answered with `PROCESSES`), `STOP` (it ends all and goes) and `DONE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Req {
    /// The request's number.
    pub req: u64,
}

/// `PROCESSES`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Processes {
    /// The request's number.
    pub req: u64,
    /// What tether holds.
    pub processes: Vec<ProcessInfo>,
}

/// `PING` and `PONG`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// Any number; it comes back.
    pub n: u64,
}

/// `INPUT_TAKEN`: the input is in tether's journal and will be written to the process, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputTaken {
    /// The process's id.
    pub process: String,
    /// The input's number.
    pub n: u64,
}

/// `WAITS`: the process's output can't be written to tether's journal; it is tried again until it can.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Waits {
    /// The process's id.
    pub process: String,
    /// Why, in the system's words.
    pub reason: String,
}

/// `EXITED`: all its output was sent before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exited {
    /// The process's id.
    pub process: String,
    /// How.
    #[serde(flatten)]
    pub exit: Exit,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No process has this id.
    NotFound,
    /// The process has ended.
    NotRunning,
    /// The process has not ended.
    Running,
    /// The program could not be run.
    StartFailed,
    /// A value that can't be.
    Invalid,
    /// Too many processes, or too much input waiting.
    Full,
    /// Bytes from before this offset are gone, or bytes up to it never were.
    Offset,
    /// The input's number leaves a gap.
    InputGap,
    /// Something could not be ended in time.
    StillRunning,
    /// The journal could not be written.
    Journal,
    /// A version or a frame that this tether does not speak.
    Unsupported,
    /// Another connection took over.
    Superseded,
    /// A code of another version.
    #[serde(other)]
    Other,
}

/// `ERROR`: the answer to a request, to an input, or (with neither) to the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    /// The request's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub req: Option<u64>,
    /// The process's id, with `n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The input's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// What went wrong.
    pub code: ErrorCode,
    /// In words.
    pub message: String,
}
