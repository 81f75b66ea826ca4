//! Values of options, checked while the command line is read.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};

use super::failure::Failure;

/// `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("has to be KEY=VALUE".to_owned()),
    }
}

/// `NAME=VALUE`, or `NAME` for that variable's value here.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return pair(text);
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err("is not set here; give NAME=VALUE".to_owned()),
    }
}

/// `2GiB` and the like, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    crate::config::parse_size(text).ok_or_else(|| "has to be like 512M or 2GiB".to_owned())
}

/// JSON.
pub(super) fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))
}

/// Options given several times, by key.
pub(super) fn map(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().collect()
}

/// A prompt from the command line's words; `-` alone is standard input.
pub(super) fn prompt(words: &[String]) -> Result<String, Failure> {
    let text = match words {
        [dash] if dash == "-" => {
            if std::io::stdin().is_terminal() {
                eprintln!("reading the prompt; end it with Ctrl-D");
            }
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text)?;
            text
        }
        words => words.join(" "),
    };
    if text.trim().is_empty() { Err(Failure::usage("the prompt is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        assert!(variable("WHARF_NO_SUCH_VARIABLE").is_err());
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!(prompt(&["a".into(), "b".into()]).unwrap(), "a b");
        assert!(prompt(&[" ".into()]).is_err());
    }
}
