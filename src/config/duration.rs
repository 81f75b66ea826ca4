//! Lengths of time as people write them.

use std::time::Duration;

/// A century, in milliseconds: that is enough, and no sum of two times overflows.
const LONGEST: u64 = 100 * 366 * 86_400_000;

/// A time as people write it: a whole number with `ms`, `s`, `m`, `h`, `d` or `w`. `None`: it is no time.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return None,
    };
    let total = count.parse::<u64>().ok()?.checked_mul(milliseconds)?;
    (total <= LONGEST).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let good = [("250ms", 250), ("0s", 0), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000)];
        for (text, ms) in good.into_iter().chain([("30d", 2_592_000_000), ("1 w", 604_800_000)]) {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "d", "30", "-1d", "1.5h", "1y", "99999999999999999999d", "18446744073709551615w", "400000d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
