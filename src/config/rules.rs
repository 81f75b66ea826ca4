//! What the operator wants of all sessions: when they rest, and what they may use up.

use std::time::Duration;

use super::file::File;
use super::{ConfigError, Env, parse_duration, value};

/// How long a session may be idle unless told otherwise.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// What the operator wants of all sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionRules {
    /// After how long an idle session is suspended; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// After how long without output a turn is ended; `None`: never.
    pub turn_inactivity: Option<Duration>,
    /// How many turns a session may have that says nothing of it.
    pub max_turns: Option<u64>,
    /// What it may cost.
    pub max_cost: Option<f64>,
}

pub(super) fn read(idle: Option<String>, env: Env<'_>, file: &File) -> Result<SessionRules, ConfigError> {
    let caps = &file.value.caps;
    if caps.max_cost.is_some_and(|cost| !(cost.is_finite() && cost >= 0.0)) {
        return Err(value(file.place("caps.max_cost"), "has to be a number, 0 or more"));
    }
    let idle = idle.map(|text| ("--idle-timeout".to_owned(), text));
    Ok(SessionRules {
        idle_timeout: time(idle, "idle_timeout", env, file, file.value.idle_timeout.as_deref())?.unwrap_or(Some(IDLE)),
        turn_inactivity: time(None, "turn_inactivity", env, file, file.value.turn_inactivity.as_deref())?.flatten(),
        max_turns: caps.max_turns,
        max_cost: caps.max_cost,
    })
}

/// A length of time or `off`, by flag, variable or file; `None` where none of them says anything.
fn time(
    flag: Option<(String, String)>,
    key: &str,
    env: Env<'_>,
    file: &File,
    in_file: Option<&str>,
) -> Result<Option<Option<Duration>>, ConfigError> {
    let variable = format!("WHARF_{}", key.to_uppercase());
    let said = flag.or_else(|| env(&variable).map(|text| (variable, text)));
    let Some((place, text)) = said.or_else(|| in_file.map(|text| (file.place(key), text.to_owned()))) else {
        return Ok(None);
    };
    if text == "off" {
        return Ok(Some(None));
    }
    match parse_duration(&text) {
        Some(time) if !time.is_zero() => Ok(Some(Some(time))),
        _ => Err(value(place, format!("`{text}` is not a time like `30m`, `90s`, `2h`, or `off`"))),
    }
}
