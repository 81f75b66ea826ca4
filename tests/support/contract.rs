//! Holds every answer that a test gets against `/openapi.json`: its status, its content type and the form of its JSON.

use std::sync::OnceLock;

use serde_json::Value;

use super::Answer;

/// The document of the program under test; all daemons of a test program serve the same.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

const UNDESCRIBED: &str = "which is not described";

/// What the access rules say before the route is known, and what the server says of a request that is no HTTP.
const BEFORE_THE_ROUTE: [u16; 6] = [400, 401, 403, 421, 429, 431];

/// What was asked.
pub(super) struct Asked {
    method: String,
    url: reqwest::Url,
    token: Option<reqwest::header::HeaderValue>,
}

impl Asked {
    /// Of a request that is about to be sent.
    pub(super) fn of(request: &reqwest::Request) -> Self {
        let token = request.headers().get("authorization").cloned();
        Self { method: request.method().to_string(), url: request.url().clone(), token }
    }
}

/// Panics at an answer that the document does not describe.
pub(super) async fn check(http: &reqwest::Client, asked: &Asked, answer: &Answer) {
    let Some(document) = document(http, asked).await else { return };
    let path = asked.url.path();
    let told = format!("{} {path}: {} {}", asked.method, answer.status, answer.kind);
    let Some(item) = find(document, path) else {
        assert!(answer.status == 404 || BEFORE_THE_ROUTE.contains(&answer.status), "no such route, and yet {told}");
        return;
    };
    let Some(operation) = item.get(asked.method.to_ascii_lowercase()) else {
        assert!(answer.status == 405 || BEFORE_THE_ROUTE.contains(&answer.status), "no such method, and yet {told}");
        return;
    };
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "not in /openapi.json: {told}\n{:#}", answer.json);
    let Some(content) = described["content"].as_object() else {
        assert!(answer.json.is_null(), "a body that is not in /openapi.json: {told}\n{:#}", answer.json);
        return;
    };
    let media = content.get(&answer.kind).unwrap_or_else(|| panic!("a type that is not in /openapi.json: {told}"));
    if answer.kind.ends_with("json")
        && let Err(why) = fits(document, &media["schema"], &answer.json, "")
    {
        panic!("not as /openapi.json says: {told}: {why}\n{:#}", answer.json);
    }
}

/// Read once, by the first request that may.
async fn document(http: &reqwest::Client, asked: &Asked) -> Option<&'static Value> {
    if DOCUMENT.get().is_none() {
        let mut request = http.get(asked.url.join("/openapi.json").expect("a path"));
        if let Some(token) = &asked.token {
            request = request.header("authorization", token);
        }
        let response = request.send().await.ok()?;
        if response.status() == 200 {
            let json = serde_json::from_slice(&response.bytes().await.ok()?).expect("JSON");
            DOCUMENT.get_or_init(|| json);
        }
    }
    DOCUMENT.get()
}

fn find<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let matches = |template: &str| {
        let (mut theirs, mut ours) = (template.split('/'), path.split('/'));
        loop {
            match (theirs.next(), ours.next()) {
                (None, None) => return true,
                (Some(t), Some(o)) if t == o || (t.starts_with('{') && !o.is_empty()) => {}
                _ => return false,
            }
        }
    };
    document["paths"].as_object()?.iter().find(|(template, _)| matches(template)).map(|(_, item)| item)
}

/// Whether a value has the form that a schema says; of JSON Schema only what the document uses.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).ok_or_else(|| format!("{name} is missing"))?;
        return fits(document, target, value, at);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        // Each part describes some of the fields only.
        if let Err(why) = fits(document, part, value, at)
            && !why.contains(UNDESCRIBED)
        {
            return Err(why);
        }
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            let tried: Vec<_> = choices.iter().map(|choice| fits(document, choice, value, at)).collect();
            if !tried.iter().any(Result::is_ok) {
                return Err(format!("`{at}` fits none of {key}: {tried:?}"));
            }
        }
    }
    check_type(schema, value, at)?;
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        return Err(format!("`{at}` is {value}, none of {known:?}"));
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (i, value) in values.iter().enumerate() {
            fits(document, items, value, &format!("{at}[{i}]"))?;
        }
    }
    check_fields(document, schema, value, at)
}

fn check_type(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let fits = types.iter().any(|name| match *name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    });
    if fits { Ok(()) } else { Err(format!("`{at}` is {value}, not {types:?}")) }
}

fn check_fields(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            return Err(format!("`{at}` lacks `{name}`"));
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    for (name, value) in fields {
        match properties.get(name) {
            Some(schema) => fits(document, schema, value, &format!("{at}.{name}"))?,
            None if schema.get("additionalProperties").is_some() => {}
            None => return Err(format!("`{at}` has `{name}`, {UNDESCRIBED}")),
        }
    }
    Ok(())
}
