//! Lengths of time as people write them.

use std::time::Duration;

/// A time from `90s`, `15m`, `12h`, `30d` or `2w`. `None`: it is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("30d", 2_592_000), ("1 w", 604_800)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "d", "30", "-1d", "1.5h", "1y", "99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
