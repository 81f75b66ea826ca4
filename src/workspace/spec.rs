//! What a workspace may be made from: checked before anything is stored or asked of the engine.

use super::{WorkspaceError, setup};
use crate::domain::{Network, Repo, WorkspaceId, WorkspaceSpec};

/// Stands for the machine itself in place of a workspace's name.
pub(super) const HOST: &str = "host";
/// The least memory that an engine accepts.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
/// tether, an agent's threads and a shell's children.
const LEAST_PIDS: u32 = 16;
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 256;
const MOST_ENV: usize = 256;
const LONGEST_URL: usize = 2048;
const LONGEST_SETUP: usize = 4096;
/// The least that a limited volume has to hold.
const LEAST_DISK: u64 = 1024 * 1024;

fn invalid(field: &'static str, message: impl Into<String>) -> WorkspaceError {
    WorkspaceError::Invalid { field, message: message.into() }
}

/// Checks everything that can be checked without the engine.
pub(super) fn check(name: Option<&str>, spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    if let Some(name) = name {
        WorkspaceId::check_name(name).map_err(|e| invalid("name", e.to_string()))?;
        if name == HOST {
            return Err(invalid("name", "`host` is reserved for the machine itself: choose another name"));
        }
    }
    if let Some(image) = &spec.image {
        check_image(image)?;
    }
    check_limits(spec)?;
    check_env(spec)?;
    if let Network::Named(network) = &spec.network {
        check_network(network)?;
    }
    check_labels(spec)?;
    if let Some(repo) = &spec.repo {
        check_repo(repo)?;
    }
    match &spec.setup {
        Some(setup) if setup.trim().is_empty() => Err(invalid("setup", "a shell command")),
        Some(setup) if setup.len() > LONGEST_SETUP || setup.contains('\0') => {
            Err(invalid("setup", format!("at most {LONGEST_SETUP} bytes without a zero byte: put more into a script")))
        }
        _ => Ok(()),
    }
}

fn check_repo(repo: &Repo) -> Result<(), WorkspaceError> {
    let known = ["https://", "http://", "git://", "ssh://", "file:///"];
    let plain = |text: &str| text.len() <= LONGEST_URL && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if !known.iter().any(|scheme| repo.url.starts_with(scheme)) || !plain(&repo.url) {
        let rule = format!("a URL that begins with {}, of at most {LONGEST_URL} bytes", known.join(", "));
        return Err(invalid("repo.url", rule));
    }
    let rest = repo.url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| user.contains(':') || repo.url.starts_with("http")) {
        return Err(invalid("repo.url", "a user or a password in it would stay in the clone: use `credentials`"));
    }
    if repo.reference.as_ref().is_some_and(|reference| {
        reference.is_empty() || reference.starts_with('-') || !plain(reference) || reference.contains([':', '+', '*'])
    }) {
        return Err(invalid("repo.ref", "the name of a branch or tag, or a commit"));
    }
    let Some(credentials) = &repo.credentials else { return Ok(()) };
    if setup::host_of(&repo.url).is_none() {
        return Err(invalid("repo.credentials", "only http and https addresses take credentials"));
    }
    let one_line = |text: &str| !text.is_empty() && text.len() <= LONGEST_URL && !text.contains(['\n', '\r', '\0']);
    if one_line(&credentials.username) && one_line(&credentials.password) {
        Ok(())
    } else {
        Err(invalid("repo.credentials", "name and password have one line each, and are not empty"))
    }
}

fn check_limits(spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    if spec.cpus.is_some_and(|cpus| !cpus.is_finite() || !(0.01..=4096.0).contains(&cpus)) {
        return Err(invalid("cpus", "a number of cores from 0.01 to 4096, such as 1.5"));
    }
    if spec.memory.is_some_and(|bytes| !(LEAST_MEMORY..=i64::MAX as u64).contains(&bytes)) {
        return Err(invalid("memory", "a number of bytes, at least 6291456 (6 MiB)"));
    }
    if spec.disk.is_some_and(|bytes| !(LEAST_DISK..=i64::MAX as u64).contains(&bytes)) {
        return Err(invalid("disk", "a number of bytes, at least 1048576 (1 MiB)"));
    }
    if spec.pids.is_some_and(|pids| !(LEAST_PIDS..=4_194_304).contains(&pids)) {
        return Err(invalid("pids", format!("a number from {LEAST_PIDS} to 4194304")));
    }
    Ok(())
}

fn check_env(spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    if spec.env.len() > MOST_ENV {
        return Err(invalid("env", format!("at most {MOST_ENV} variables")));
    }
    for (name, value) in &spec.env {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !begins || !plain || name.len() > 256 {
            let shown: String = name.chars().take(80).collect();
            return Err(invalid("env", format!("`{shown}` is no variable's name: letters, digits, `_`, `.`, `-`")));
        }
        if value.contains('\0') {
            return Err(invalid("env", format!("the value of `{name}` contains a zero byte")));
        }
    }
    Ok(())
}

fn check_network(name: &str) -> Result<(), WorkspaceError> {
    let plain = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !plain {
        return Err(invalid("network", "`default`, `none`, or the name of an existing network"));
    }
    if name == "host" {
        return Err(invalid("network", "the host's own network would be no isolation: use `default` or a named one"));
    }
    Ok(())
}

fn check_labels(spec: &WorkspaceSpec) -> Result<(), WorkspaceError> {
    let fits = |text: &String| text.len() <= LONGEST_LABEL && !text.chars().any(char::is_control);
    if spec.labels.len() > MOST_LABELS {
        return Err(invalid("labels", format!("at most {MOST_LABELS}")));
    }
    if spec.labels.iter().any(|(key, value)| key.is_empty() || !fits(key) || !fits(value)) {
        let rule = "keys and values of at most 256 bytes without control characters, and no empty key";
        return Err(invalid("labels", rule));
    }
    Ok(())
}

/// `[host[:port]/]path[:tag][@digest]`, as the engine reads it.
fn check_image(image: &str) -> Result<(), WorkspaceError> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].find(':') {
        Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
        None => (name, None),
    };
    let tag_fits = tag.is_none_or(|tag| {
        (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    });
    let digest_fits = digest.is_none_or(|digest| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let is_host = path.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let first_fits = if is_host {
        first.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b)) && !first.starts_with([':', '.', '-'])
    } else {
        is_component(first)
    };
    if path.len() <= 255 && tag_fits && digest_fits && first_fits && parts.all(is_component) {
        return Ok(());
    }
    let shown: String = image.chars().take(80).collect();
    Err(invalid("image", format!("`{shown}` is no image name: `[HOST[:PORT]/]name[:tag]`, the name in lower case")))
}

/// Lower case letters and digits, with single separators between them.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    part.bytes().next().is_some_and(word)
        && part.bytes().last().is_some_and(word)
        && part.bytes().all(|b| word(b) || b"_.-".contains(&b))
        && !part.contains("..")
        && !part.contains("___")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Credentials;

    fn field(spec: &WorkspaceSpec) -> Option<&'static str> {
        match check(None, spec) {
            Err(WorkspaceError::Invalid { field, .. }) => Some(field),
            _ => None,
        }
    }

    #[test]
    fn images_are_named_as_the_engine_names_them() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for good in ["busybox", "wharf/demo:latest", "localhost:5000/a/b:1.0", "ghcr.io/A_b:x", "a__b", &digest] {
            let spec = WorkspaceSpec { image: Some(good.replace("A_b", "a_b")), ..Default::default() };
            assert!(check(None, &spec).is_ok(), "{good}");
        }
        let long = "x".repeat(300);
        for bad in
            ["", "Upper", "a b", "a:", "a:-x", "a/", "/a", "a//b", "a@sha256:1", "-a", "a..b", "../x", "a?b", &long]
        {
            let spec = WorkspaceSpec { image: Some(bad.to_owned()), ..Default::default() };
            assert_eq!(field(&spec), Some("image"), "{bad}");
        }
    }

    #[test]
    fn limits_are_checked() {
        let of = |cpus, memory, pids| WorkspaceSpec { cpus, memory, pids, ..Default::default() };
        assert!(check(Some("ok"), &of(Some(0.5), Some(LEAST_MEMORY), Some(16))).is_ok());
        for cpus in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(field(&of(Some(cpus), None, None)), Some("cpus"), "{cpus}");
        }
        for memory in [0, LEAST_MEMORY - 1, u64::MAX] {
            assert_eq!(field(&of(None, Some(memory), None)), Some("memory"), "{memory}");
        }
        assert_eq!(field(&of(None, None, Some(1))), Some("pids"));
        assert!(matches!(check(Some(HOST), &of(None, None, None)), Err(WorkspaceError::Invalid { field: "name", .. })));
        assert!(matches!(
            check(Some("a/b"), &of(None, None, None)),
            Err(WorkspaceError::Invalid { field: "name", .. })
        ));
    }

    #[test]
    fn names_of_variables_labels_and_networks_are_checked() {
        for name in ["", "A=B", "A B", "1A", "A\0"] {
            let spec = WorkspaceSpec { env: [(name.to_owned(), String::new())].into(), ..Default::default() };
            assert_eq!(field(&spec), Some("env"), "{name:?}");
        }
        let zero = WorkspaceSpec { env: [("A".to_owned(), "\0".to_owned())].into(), ..Default::default() };
        assert_eq!(field(&zero), Some("env"));
        for network in ["host", "container:x", "", "a b", "-x"] {
            let spec = WorkspaceSpec { network: Network::Named(network.to_owned()), ..Default::default() };
            assert_eq!(field(&spec), Some("network"), "{network:?}");
        }
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(field(&WorkspaceSpec { labels: many, ..Default::default() }), Some("labels"));
        let long = [("k".to_owned(), "v".repeat(257))].into();
        assert_eq!(field(&WorkspaceSpec { labels: long, ..Default::default() }), Some("labels"));
    }

    #[test]
    fn a_repository_s_address_carries_no_secret_and_no_command() {
        let of = |url: &str, reference: Option<&str>, credentials| {
            let repo = Repo { url: url.into(), reference: reference.map(str::to_owned), credentials };
            field(&WorkspaceSpec { repo: Some(repo), ..Default::default() })
        };
        for good in ["https://example.com/r.git", "git://h/r", "ssh://git@h/r", "file:///mnt/r"] {
            assert_eq!(of(good, Some("v1.0/x"), None), None, "{good}");
        }
        for bad in
            ["", "ext::sh -c x", "--upload-pack=x", "/etc", "https://u:p@h/r", "https://token@h/r", "https://h/a b"]
        {
            assert_eq!(of(bad, None, None), Some("repo.url"), "{bad}");
        }
        for bad in ["", "-x", "a b", "+a:b", "a:b", "*"] {
            assert_eq!(of("https://h/r", Some(bad), None), Some("repo.ref"), "{bad}");
        }
        let with = |password: &str| Some(Credentials { username: "u".into(), password: password.into() });
        assert_eq!(of("https://h/r", None, with("p")), None);
        assert_eq!(of("https://h/r", None, with("p\nhost=other")), Some("repo.credentials"));
        assert_eq!(of("git://h/r", None, with("p")), Some("repo.credentials"));
    }

    #[test]
    fn a_setup_command_is_bounded() {
        let of = |setup: String| field(&WorkspaceSpec { setup: Some(setup), ..Default::default() });
        assert_eq!(of("make".into()), None);
        assert_eq!(of(" ".into()), Some("setup"));
        assert_eq!(of("x".repeat(5000)), Some("setup"));
    }
}
