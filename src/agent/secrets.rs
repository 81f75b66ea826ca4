//! Which texts are secrets: what is kept in a place for secrets, and what is called one.

use std::collections::BTreeSet;

use serde_json::Value;

/// What is shorter would be found where it only looks alike.
const SHORTEST: usize = 8;
/// A line of a secret file that is shorter is no secret by itself.
const SHORTEST_LINE: usize = 16;
/// The longest that is looked for; of what is longer, the beginning.
const LONGEST: usize = 8 * 1024;
/// How many are looked for.
const MOST: usize = 1024;

/// Words in the name of a variable, a header or a field that make its value a secret.
const WORDS: [&str; 18] = [
    "KEY",
    "KEYS",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "AUTH",
    "AUTHORIZATION",
    "CREDENTIAL",
    "CREDENTIALS",
    "COOKIE",
    "BEARER",
    "JWT",
    "PAT",
];
/// What a word ends with that has one of the above in it: `PGPASSWORD`, `APIKEY`.
const ENDINGS: [&str; 4] = ["KEY", "TOKEN", "SECRET", "PASSWORD"];

/// Texts that nobody is to see.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeSet<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// A variable, a header or a field: its value where the name says so, and what else of it is one for certain.
    pub fn named(&mut self, name: &str, value: &str) {
        if sounds_secret(name) {
            self.add(value);
            // `Authorization: Bearer TOKEN`: the token alone is one too.
            if let Some((_, last)) = value.trim().rsplit_once(char::is_whitespace)
                && last.len() >= SHORTEST_LINE
            {
                self.add(last);
            }
        }
        self.parts(value);
    }

    /// What is kept in a place for secrets: all of it, each of its lines, and what in it is called a secret.
    pub fn content(&mut self, text: &str) {
        let text = text.trim();
        if !text.contains('\n') {
            self.add(text);
        }
        for line in text.lines().map(str::trim) {
            if line.len() >= SHORTEST_LINE && !line.starts_with("-----") {
                self.add(line);
            }
            if let Some((name, value)) = line.split_once(['=', ':'])
                && sounds_secret(name)
            {
                self.add(value.trim().trim_end_matches(',').trim_matches(['"', '\'']));
            }
        }
        self.parts(text);
    }

    /// An ACP `McpServer`: its variables and headers.
    pub fn mcp_server(&mut self, server: &Value) {
        for list in ["env", "headers"] {
            for item in server[list].as_array().into_iter().flatten() {
                if let (Some(name), Some(value)) = (item["name"].as_str(), item["value"].as_str()) {
                    self.named(name, value);
                }
            }
        }
        self.parts(server["url"].as_str().unwrap_or_default());
    }

    /// Adds all of another's.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|text| self.add(text));
    }

    /// All of them, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is room for no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The password of a URL, and the secret fields of a JSON document.
    fn parts(&mut self, value: &str) {
        if let Some((_, rest)) = value.split_once("://")
            && let Some((user, _)) = rest.split(['/', '?', '#']).next().and_then(|place| place.rsplit_once('@'))
        {
            self.add(user.split_once(':').map_or(user, |(_, password)| password));
        }
        if value.trim_start().starts_with(['{', '['])
            && let Ok(json) = serde_json::from_str::<Value>(value)
        {
            self.fields("", &json);
        }
    }

    fn fields(&mut self, name: &str, json: &Value) {
        match json {
            Value::String(text) if sounds_secret(name) => self.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.fields(name, item)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.fields(name, value)),
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.len() < SHORTEST || self.is_full() {
            return;
        }
        self.0.insert(super::outputs::clip(text, LONGEST).to_owned());
    }
}

/// Whether a name says that its value is a secret: `GITHUB_TOKEN`, `apiKey`, `X-Api-Key`; not `TOKENIZERS`, `PATH`.
fn sounds_secret(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars().take(256) {
        if !c.is_ascii_alphanumeric() || (lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_ascii_lowercase();
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_uppercase());
        }
    }
    words.iter().any(|word| WORDS.contains(&word.as_str()) || ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(add: impl FnOnce(&mut Secrets)) -> Vec<String> {
        let mut secrets = Secrets::default();
        add(&mut secrets);
        secrets.iter().map(str::to_owned).collect()
    }

    #[test]
    fn names_tell() {
        for name in ["GITHUB_TOKEN", "apiKey", "X-Api-Key", "PGPASSWORD", "access_token", "Authorization", "SECRET"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["PATH", "TOKENIZERS_PARALLELISM", "NODE_ENV", "PWD", "AUTHOR_NAME", "ANTHROPIC_BASE_URL", ""] {
            assert!(!sounds_secret(name), "{name}");
        }
    }

    #[test]
    fn values_and_what_is_in_them() {
        assert_eq!(of(|s| s.named("API_KEY", "12345678")), ["12345678"]);
        assert_eq!(of(|s| s.named("API_KEY", "1234567")), [""; 0], "too short to be told from other text");
        assert_eq!(of(|s| s.named("NODE_ENV", "production")), [""; 0]);
        assert_eq!(of(|s| s.named("PROXY", "http://me:hunter2-long@proxy:1/x")), ["hunter2-long"]);
        assert_eq!(
            of(|s| s.named("Authorization", "Bearer 0123456789abcdef")),
            ["0123456789abcdef", "Bearer 0123456789abcdef"]
        );
        let config = r#"{"model":"a-model-name","provider":{"x":{"options":{"apiKey":"sk-hidden-1"}}}}"#;
        assert_eq!(of(|s| s.named("OPENCODE_CONFIG_CONTENT", config)), ["sk-hidden-1"]);
    }

    #[test]
    fn all_of_a_secret_file() {
        let json = "{\n  \"mode\": \"chatgpt\",\n  \"OPENAI_API_KEY\": \"sk-1234567890\"\n}\n";
        let found = of(|s| s.content(json));
        assert!(
            found.contains(&"sk-1234567890".to_owned()) && !found.iter().any(|text| text == "chatgpt"),
            "{found:?}"
        );
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nshort\n-----END PRIVATE KEY-----\n";
        assert_eq!(of(|s| s.content(pem)), ["MIIEvQIBADANBgkqhkiG9w0BAQ"]);
        assert_eq!(of(|s| s.content("the-key-alone\n")), ["the-key-alone"]);
    }

    #[test]
    fn there_is_a_limit() {
        let many = of(|s| (0..2000).for_each(|n| s.named("KEY", &format!("secret-{n}"))));
        assert_eq!(many.len(), MOST);
        assert_eq!(of(|s| s.content(&"x".repeat(1 << 20)))[0].len(), LONGEST);
    }
}
