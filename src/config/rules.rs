//! What the operator wants of all sessions: when they rest, and what they may use up.

use std::time::Duration;

use super::file::File;
use super::{ConfigError, Env, value};

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
    match parse_time(&text) {
        Some(time) if !time.is_zero() => Ok(Some(Some(time))),
        _ => Err(value(place, format!("`{text}` is not a time like `30m`, `90s`, `2h`, or `off`"))),
    }
}

/// A time as people write it: a whole number with `ms`, `s`, `m`, `h` or `d`. `None`: it is no time.
#[must_use]
pub fn parse_time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A century is enough, and no sum of two times overflows.
    let total = count.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (total <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [("250ms", 250), ("90s", 90_000), ("30m", 1_800_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
            assert_eq!(parse_time(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "30", "m", "-1m", "1.5h", "1 h", "1w", "99999999999999999999s", "400000d"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
