//! A value of the configuration that may be a secret: written there, or kept elsewhere and read when it is needed.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A value, or where it is kept.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Setting {
    /// The value itself.
    Text(String),
    /// The name of a credential that the service manager gives (`LoadCredential=`).
    Credential(String),
    /// A file on the daemon's machine, absolute.
    File(PathBuf),
}

impl fmt::Debug for Setting {
    // A value may be a secret; where it is kept is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Credential(name) => f.debug_tuple("Credential").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A file that an agent's processes find in their container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenFile")]
pub struct FileSetting {
    /// Where: absolute, or below `~/`.
    pub path: String,
    /// What it holds.
    pub content: Setting,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, `{ credential = \"NAME\" }` or `{ file = \"/PATH\" }`")]
enum Written {
    Text(String),
    Reference(Reference),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    credential: Option<String>,
    file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: String,
    text: Option<String>,
    credential: Option<String>,
    file: Option<PathBuf>,
}

fn reference(text: Option<String>, credential: Option<String>, file: Option<PathBuf>) -> Result<Setting, String> {
    match (text, credential, file) {
        (Some(text), None, None) => Ok(Setting::Text(text)),
        (None, Some(name), None) if is_credential_name(&name) => Ok(Setting::Credential(name)),
        (None, Some(name), None) => Err(format!("{name:?} can't be the name of a credential")),
        (None, None, Some(path)) if path.is_absolute() => Ok(Setting::File(path)),
        (None, None, Some(path)) => Err(format!("the file {} has to be named by an absolute path", path.display())),
        _ => Err("it has to be kept in one place: name a `credential` or a `file`".to_owned()),
    }
}

/// A credential is a file in one directory: its name leads nowhere else.
fn is_credential_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.:@".contains(c);
    (1..=255).contains(&name.len()) && name.chars().all(known) && name != "." && name != ".."
}

impl TryFrom<Written> for Setting {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Text(text) => Ok(Self::Text(text)),
            Written::Reference(Reference { credential, file }) => reference(None, credential, file),
        }
    }
}

impl TryFrom<WrittenFile> for FileSetting {
    type Error = String;

    fn try_from(written: WrittenFile) -> Result<Self, String> {
        let WrittenFile { path, text, credential, file } = written;
        Ok(Self { path, content: reference(text, credential, file)? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<Setting, String> {
        serde_json::from_value(json).map_err(|e| e.to_string())
    }

    #[test]
    fn a_setting_is_a_text_or_a_place() {
        assert_eq!(read(json!("x")), Ok(Setting::Text("x".into())));
        assert_eq!(read(json!({"credential": "a.b-c"})), Ok(Setting::Credential("a.b-c".into())));
        assert_eq!(read(json!({"file": "/etc/key"})), Ok(Setting::File("/etc/key".into())));
        assert_eq!(format!("{:?}", Setting::Text("hush".into())), "Text(…)");
        for (bad, says) in [
            (json!({"file": "key"}), "absolute"),
            (json!({"credential": "../x"}), "name of a credential"),
            (json!({"credential": "a", "file": "/b"}), "one place"),
            (json!({"credntial": "a"}), "credential"),
            (json!(7), "a text"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_file_holds_one_of_them() {
        let file = |json| serde_json::from_value::<FileSetting>(json).map_err(|e| e.to_string());
        let whole = file(json!({"path": "~/.x", "credential": "c"})).unwrap();
        assert_eq!((whole.path.as_str(), whole.content), ("~/.x", Setting::Credential("c".into())));
        assert!(file(json!({"path": "~/.x"})).unwrap_err().contains("one place"));
        assert!(file(json!({"path": "~/.x", "text": "a", "file": "/b"})).is_err());
    }
}
