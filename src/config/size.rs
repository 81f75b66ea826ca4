//! Sizes as people write them.

/// Bytes from `1024`, `512M`, `2GiB` or `2g`: units count in 1024s, as container engines have it. `None`: it is no size.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("1024", 1024), ("512M", 512 << 20), ("2GiB", 2 << 30), ("1 g", 1 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "1.5G", "1X", "99999999999999999999", "18446744073709551615T"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
