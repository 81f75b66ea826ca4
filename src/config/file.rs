//! The configuration file: TOML, where a key that is not known is an error with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    AgentTable, ConfigError, Env, HostMode, Limits, LogFormat, MountRule, Rate, Retention, TetherTransport, TlsFiles,
    duration, size, value,
};

/// A file that was read; empty where there is none.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) path: Option<PathBuf>,
    pub(super) value: Root,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Root {
    pub(super) state_dir: Option<PathBuf>,
    pub(super) listen: Option<String>,
    pub(super) socket: Option<PathBuf>,
    pub(super) engine: Option<String>,
    pub(super) transport: Option<TetherTransport>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) image: Option<String>,
    pub(super) idle_timeout: Option<String>,
    pub(super) turn_inactivity: Option<String>,
    pub(super) ping_interval: Option<String>,
    pub(super) caps: CapsTable,
    tls: TlsTable,
    rate: Rate,
    limits: LimitsTable,
    retention: RetentionTable,
    host: HostMode,
    mounts: Vec<MountRule>,
    files: FilesTable,
    agents: BTreeMap<String, AgentTable>,
    pub(super) log: LogTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    cpus: Option<f64>,
    memory: Option<Size>,
    pids: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CapsTable {
    pub(super) max_turns: Option<u64>,
    pub(super) max_cost: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionTable {
    closed_sessions: Option<String>,
    log_size: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsTable {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Bytes, or a text like `2GiB`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilesTable {
    limit: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    pub(super) level: Option<String>,
    pub(super) format: Option<LogFormat>,
}

impl File {
    /// Reads the file that was named, which has to exist, else the default one, which may not.
    pub(super) fn read(named: Option<PathBuf>, default: Option<PathBuf>) -> Result<Self, ConfigError> {
        let must_exist = named.is_some();
        let Some(path) = named.or(default) else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        match toml::from_str(text) {
            Ok(value) => Ok(Self { path: Some(path), value }),
            // Line and column are in its text; the line itself is not shown, as it may hold a secret.
            Err(e) => {
                let at = e.span().map(|span| {
                    let before = &text[..text.floor_char_boundary(span.start)];
                    let line = before.matches('\n').count() + 1;
                    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                    format!("line {line}, column {column}: ")
                });
                let message = format!("{}{}", at.unwrap_or_default(), e.message().trim_end());
                Err(ConfigError::File { path, message })
            }
        }
    }

    /// Where a key stands, for errors.
    pub(super) fn place(&self, key: &str) -> String {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        format!("{}: `{key}`", path.display())
    }

    /// Both files, or neither.
    pub(super) fn tls(&self, env: Env<'_>) -> Result<Option<TlsFiles>, ConfigError> {
        let of = |name: &str, set: &Option<PathBuf>| env(name).map(PathBuf::from).or_else(|| set.clone());
        let table = &self.value.tls;
        match (of("WHARF_TLS_CERT", &table.cert), of("WHARF_TLS_KEY", &table.key)) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
            _ => Err(value(self.place("tls"), "needs both `cert` and `key`")),
        }
    }

    pub(super) fn rate(&self) -> Result<Rate, ConfigError> {
        let rate = self.value.rate;
        if rate.burst == 0 {
            return Err(value(self.place("rate.burst"), "has to be 1 or more; `requests = 0` turns the limit off"));
        }
        if rate.connections == 0 {
            return Err(value(self.place("rate.connections"), "has to be 1 or more"));
        }
        Ok(rate)
    }

    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        let table = &self.value.limits;
        if table.cpus.is_some_and(|cpus| !(cpus.is_finite() && cpus > 0.0)) {
            return Err(value(self.place("limits.cpus"), "has to be a number of cores above 0"));
        }
        let memory = self.size("limits.memory", table.memory.as_ref())?;
        Ok(Limits { cpus: table.cpus, memory, pids: table.pids })
    }

    pub(super) fn retention(&self) -> Result<Retention, ConfigError> {
        let table = &self.value.retention;
        let closed_sessions = table.closed_sessions.as_ref().map(|text| {
            let wrong =
                || value(self.place("retention.closed_sessions"), format!("`{text}` is not like `30d` or `12h`"));
            duration::parse_duration(text).ok_or_else(wrong)
        });
        let log_size = self.size("retention.log_size", table.log_size.as_ref())?;
        Ok(Retention { closed_sessions: closed_sessions.transpose()?, log_size })
    }

    fn size(&self, key: &str, size: Option<&Size>) -> Result<Option<u64>, ConfigError> {
        match size {
            None => Ok(None),
            Some(Size::Bytes(bytes)) => Ok(Some(*bytes)),
            Some(Size::Text(text)) => {
                let bytes = size::parse_size(text);
                bytes.map(Some).ok_or_else(|| value(self.place(key), format!("`{text}` is not like `2GiB`")))
            }
        }
    }

    pub(super) fn files_limit(&self) -> Result<Option<u64>, ConfigError> {
        self.size("files.limit", self.value.files.limit.as_ref())
    }

    pub(super) fn host(&self, env: Env<'_>) -> Result<HostMode, ConfigError> {
        let host = &self.value.host;
        for (key, path) in [("host.directory", &host.directory), ("host.socket", &host.socket)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err(value(self.place(key), "has to be an absolute path"));
            }
        }
        if host.socket.is_some() && host.directory.is_some() {
            let why = "the service behind `socket` has a directory of its own: `wharf host --directory`";
            return Err(value(self.place("host.directory"), why));
        }
        // A service manager ends what a service has started together with it.
        if host.enabled && host.socket.is_none() && env("NOTIFY_SOCKET").is_some() {
            let why = "as a service the daemon needs `socket`: a tether that it started itself would be ended with it.                        `systemctl enable --now wharf-host` starts one, and its socket is `/run/wharf-host/tether.sock`";
            return Err(value(self.place("host.enabled"), why));
        }
        Ok(host.clone())
    }

    pub(super) fn mounts(&self) -> Result<Vec<MountRule>, ConfigError> {
        match self.value.mounts.iter().find(|mount| !mount.host.starts_with('/')) {
            None => Ok(self.value.mounts.clone()),
            Some(mount) => {
                Err(value(self.place("mounts.host"), format!("`{}` has to be an absolute path", mount.host)))
            }
        }
    }

    pub(super) fn agents(&self) -> Result<BTreeMap<String, AgentTable>, ConfigError> {
        for (name, agent) in &self.value.agents {
            if !crate::domain::is_agent_name(name) {
                let rule = "a name has 1 to 32 of `a-z`, `0-9`, `-`, and begins with a letter";
                return Err(value(self.place(&format!("agents.{name}")), rule));
            }
            if agent.argv.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
                return Err(value(self.place(&format!("agents.{name}.argv")), "has to begin with a program"));
            }
        }
        Ok(self.value.agents.clone())
    }
}
