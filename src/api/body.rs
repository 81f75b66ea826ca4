//! The JSON bodies that come in: their limits, and errors that name the field and what it may be.

use axum::http::StatusCode;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::tokens::NewToken;
use crate::domain::{Labels, WorkspaceSpec};
use crate::session::{NewPrompt, NewSession, PermissionAnswer, SessionChanges, WorkspaceChoice};
use crate::terminal::NewTerminal;
use crate::workspace::{NewWorkspace, WorkspaceChanges};

const MIB: usize = 1024 * 1024;
const MAX_LABELS: usize = 32;
const MAX_LABEL_BYTES: usize = 256;

/// A body that a route takes.
pub(super) trait Input: Sized + Send {
    /// Bytes at most.
    const LIMIT: usize = MIB;

    /// Reads and checks it.
    fn parse(bytes: &[u8]) -> Result<Self, Problem>;
}

impl Input for NewPrompt {
    const LIMIT: usize = 16 * MIB;

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let prompt: Self = json(bytes)?;
        check_content("content", &prompt.content)?;
        Ok(prompt)
    }
}

impl Input for NewSession {
    // It may carry a first prompt.
    const LIMIT: usize = 16 * MIB;

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let session: Self = json(bytes).map_err(|problem| inline_workspace(bytes).unwrap_or(problem))?;
        if matches!(session.workspace, Some(WorkspaceChoice::Inline(_)))
            && let Some(problem) = inline_workspace(bytes)
        {
            return Err(problem);
        }
        if let Some(prompt) = &session.prompt {
            check_content("prompt", prompt)?;
        }
        if !session.cwd.as_deref().unwrap_or("/").starts_with('/') {
            return Err(Problem::field("cwd", "`cwd` has to be an absolute path inside the container"));
        }
        check_env("env", session.env.iter())?;
        check_labels("labels", &session.labels)?;
        Ok(session)
    }
}

impl Input for SessionChanges {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let changes: Self = json(bytes)?;
        if let Some(labels) = &changes.labels {
            check_labels("labels", labels)?;
        }
        Ok(changes)
    }
}

impl Input for PermissionAnswer {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let answer: Self = json(bytes)?;
        match (&answer.option_id, &answer.kind) {
            (Some(_), None) | (None, Some(_)) => Ok(answer),
            _ => Err(Problem::field("option_id", "give either `option_id` or `kind`")),
        }
    }
}

impl Input for NewWorkspace {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        // By hand, because serde can't refuse unknown fields in a flattened struct.
        let mut fields: Map<String, Value> = json(bytes)?;
        let name = match fields.remove("name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(Problem::field("name", "`name` has to be a text")),
        };
        let spec = spec(fields, "", &["name"])?;
        Ok(Self { name, spec })
    }
}

impl Input for WorkspaceChanges {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        // Without a body nothing changes: the container is made anew as it was.
        let changes: Self = if bytes.iter().all(u8::is_ascii_whitespace) { Self::default() } else { json(bytes)? };
        check_parts(&json(bytes).unwrap_or_default(), "")?;
        check_env("env", changes.env.iter().flatten())?;
        changes.labels.as_ref().map_or(Ok(()), |labels| check_labels("labels", labels))?;
        Ok(changes)
    }
}

fn spec(fields: Map<String, Value>, prefix: &str, also: &[&str]) -> Result<WorkspaceSpec, Problem> {
    check_parts(&fields, prefix)?;
    let spec: WorkspaceSpec = serde_path_to_error::deserialize(Value::Object(fields))
        .map_err(|e| data_problem(&e.path().to_string(), &e.inner().to_string(), prefix, also))?;
    check_env(&format!("{prefix}env"), spec.env.iter())?;
    check_labels(&format!("{prefix}labels"), &spec.labels)?;
    if spec.cpus.is_some_and(|cpus| !(cpus.is_finite() && cpus > 0.0)) {
        return Err(Problem::field(&format!("{prefix}cpus"), "`cpus` has to be a number of cores above 0"));
    }
    Ok(spec)
}

impl Input for NewTerminal {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        json(bytes)
    }
}

impl Input for NewToken {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        json(bytes)
    }
}

/// What is wrong with the spec inside a session, of which an untagged enum says nothing.
fn inline_workspace(bytes: &[u8]) -> Option<Problem> {
    let body: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    match body.get("workspace")? {
        Value::Object(fields) => spec(fields.clone(), "workspace.", &[]).err(),
        Value::String(_) | Value::Null => None,
        _ => Some(Problem::field("workspace", "`workspace` has to be the id or name of one, or a spec")),
    }
}

/// The objects in a spec, or in changes of one.
fn check_parts(fields: &Map<String, Value>, prefix: &str) -> Result<(), Problem> {
    let repo = fields.get("repo");
    check_object(&format!("{prefix}repo"), repo)?;
    check_object(&format!("{prefix}repo.credentials"), repo.and_then(|repo| repo.get("credentials")))?;
    for (n, mount) in fields.get("mounts").and_then(Value::as_array).into_iter().flatten().enumerate() {
        check_object(&format!("{prefix}mounts[{n}]"), Some(mount))?;
    }
    Ok(())
}

/// Serde takes a list for an object, its values in the order of the fields: nobody could rely on that.
fn check_object(field: &str, value: Option<&Value>) -> Result<(), Problem> {
    match value {
        Some(Value::Array(_)) => Err(Problem::field(field, format!("`{field}` has to be an object, not a list"))),
        _ => Ok(()),
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body is empty: a JSON object is needed",
        ));
    }
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|e| syntax_problem(&e))?;
        return Err(Problem::field("", "the body is a list: a JSON object is needed"));
    }
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|e| {
        if e.inner().classify() == Category::Data {
            data_problem(&e.path().to_string(), &e.inner().to_string(), "", &[])
        } else {
            syntax_problem(e.inner())
        }
    })?;
    from.end().map_err(|e| syntax_problem(&e))?;
    Ok(value)
}

fn syntax_problem(e: &serde_json::Error) -> Problem {
    let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {e}"));
    problem.with("line", e.line()).with("column", e.column())
}

/// Serde tells fields in backticks: first the one that is wrong, then those that would be right.
fn data_problem(path: &str, message: &str, prefix: &str, also: &[&str]) -> Problem {
    let message = message.split(" at line ").next().unwrap_or(message);
    let mut names = message.split('`').skip(1).step_by(2);
    let parent = |name: &str| match path.strip_suffix(name).unwrap_or(path).trim_end_matches('.') {
        "" => format!("{prefix}{name}"),
        parent => format!("{prefix}{parent}.{name}"),
    };
    if message.starts_with("unknown field") {
        let field = parent(names.next().unwrap_or_default());
        let allowed: Vec<&str> = names.chain(also.iter().copied()).collect();
        let detail = format!("there is no field `{field}`; there are {}", allowed.join(", "));
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_field", detail);
        return problem.with("field", field).with("allowed", allowed);
    }
    if message.starts_with("missing field") {
        let field = parent(names.next().unwrap_or_default());
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_field", format!("`{field}` is missing"));
        return problem.with("field", field);
    }
    let field = if path == "." { prefix.trim_end_matches('.').to_owned() } else { format!("{prefix}{path}") };
    Problem::field(&field, format!("`{field}`: {message}"))
}

/// A text, or ACP content blocks: the form only; an agent says what kinds it takes.
fn check_content(field: &str, content: &Value) -> Result<(), Problem> {
    let wrong = |detail: String| Err(Problem::field(field, detail));
    match content {
        Value::String(text) if text.trim().is_empty() => wrong(format!("`{field}` is empty")),
        Value::String(_) => Ok(()),
        Value::Array(blocks) if blocks.is_empty() => wrong(format!("`{field}` has no content block")),
        Value::Array(blocks) => match blocks.iter().position(|b| b.get("type").and_then(Value::as_str).is_none()) {
            None => Ok(()),
            Some(n) => wrong(format!("`{field}[{n}]` is no ACP content block: it has no `type`")),
        },
        _ => wrong(format!("`{field}` has to be a text or a list of ACP content blocks")),
    }
}

fn check_labels(field: &str, labels: &Labels) -> Result<(), Problem> {
    if labels.len() > MAX_LABELS {
        return Err(Problem::field(field, format!("`{field}` has more than {MAX_LABELS} labels")));
    }
    let fits = |text: &String| text.len() <= MAX_LABEL_BYTES;
    if labels.iter().any(|(key, value)| key.is_empty() || !fits(key) || !fits(value)) {
        let detail = format!("`{field}`: a key has 1 to {MAX_LABEL_BYTES} bytes, a value at most {MAX_LABEL_BYTES}");
        return Err(Problem::field(field, detail));
    }
    Ok(())
}

fn check_env<'a>(field: &str, env: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), Problem> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let detail = format!("`{field}`: a name is not empty and has no `=`, and neither name nor value has a NUL");
            return Err(Problem::field(field, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;

    fn problem<T: Input>(body: &str) -> (u16, &'static str, String) {
        match T::parse(body.as_bytes()) {
            Ok(_) => panic!("{body} was taken"),
            Err(p) => (p.clone().into_response().status().as_u16(), p.code(), format!("{p:?}")),
        }
    }

    #[test]
    fn errors_name_the_field_and_what_it_may_be() {
        let cases = [
            (problem::<NewSession>("{\"agent\":"), 400, "invalid_json", "column"),
            (problem::<NewSession>("{\"agent\":\"a\"} x"), 400, "invalid_json", "line"),
            (problem::<NewSession>(""), 400, "invalid_json", "empty"),
            (problem::<NewSession>("{}"), 422, "missing_field", "\"agent\""),
            (problem::<NewSession>(r#"{"agent":"a","modle":"x"}"#), 422, "unknown_field", "mcp_servers"),
            (problem::<NewSession>(r#"{"agent":7}"#), 422, "invalid_field", "\"agent\""),
            (problem::<NewSession>(r#"{"agent":"a","labels":{"x":1}}"#), 422, "invalid_field", "labels.x"),
            (
                problem::<NewSession>(r#"{"agent":"a","workspace":{"imge":"x"}}"#),
                422,
                "unknown_field",
                "workspace.imge",
            ),
            (
                problem::<NewSession>(r#"{"agent":"a","workspace":{"repo":{}}}"#),
                422,
                "missing_field",
                "workspace.repo.url",
            ),
            (problem::<NewSession>(r#"{"agent":"a","workspace":7}"#), 422, "invalid_field", "workspace"),
            (problem::<NewSession>(r#"{"agent":"a","permissions":"maybe"}"#), 422, "invalid_field", "permissions"),
            (problem::<NewSession>(r#"{"agent":"a","cwd":"rel"}"#), 422, "invalid_field", "cwd"),
            (problem::<NewSession>(r#"{"agent":"a","env":{"A=B":"c"}}"#), 422, "invalid_field", "env"),
            (problem::<NewWorkspace>(r#"{"naem":"x"}"#), 422, "unknown_field", "\"name\""),
            (problem::<NewWorkspace>(r#"{"name":7}"#), 422, "invalid_field", "name"),
            (problem::<NewWorkspace>(r#"{"memory":-1}"#), 422, "invalid_field", "memory"),
            (problem::<NewWorkspace>("[]"), 422, "invalid_field", "list"),
            (problem::<NewPrompt>(r#"["hello"]"#), 422, "invalid_field", "list"),
            (problem::<NewWorkspace>(r#"{"repo":["u"]}"#), 422, "invalid_field", "`repo`"),
            (problem::<WorkspaceChanges>(r#"{"mounts":[["/a","/b"]]}"#), 422, "invalid_field", "mounts[0]"),
            (problem::<NewPrompt>(r#"{"content":""}"#), 422, "invalid_field", "content"),
            (problem::<NewPrompt>(r#"{"content":[{"text":"x"}]}"#), 422, "invalid_field", "content[0]"),
            (problem::<NewPrompt>(r#"{"content":"x","when_busy":"later"}"#), 422, "invalid_field", "when_busy"),
            (problem::<PermissionAnswer>("{}"), 422, "invalid_field", "option_id"),
            (problem::<PermissionAnswer>(r#"{"option_id":"a","kind":"allow_once"}"#), 422, "invalid_field", "kind"),
        ];
        for ((status, code, shown), wanted_status, wanted_code, part) in cases {
            assert_eq!((status, code), (wanted_status, wanted_code), "{shown}");
            assert!(shown.contains(part), "{shown} lacks {part}");
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        let new = NewWorkspace::parse(br#"{"name":"w","image":"i","cpus":1.5,"repo":{"url":"u","ref":"r"}}"#).unwrap();
        assert_eq!((new.name.as_deref(), new.spec.cpus), (Some("w"), Some(1.5)));
        assert!(NewSession::parse(br#"{"agent":"demo","workspace":{"image":"i"},"prompt":"hi"}"#).is_ok());
        assert!(NewSession::parse(br#"{"agent":"demo","workspace":"w"}"#).is_ok());
        assert!(NewPrompt::parse(br#"{"content":[{"type":"text","text":"x"}]}"#).is_ok());
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{{\"content\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(problem::<NewPrompt>(&deep).1, "invalid_json");
    }
}
