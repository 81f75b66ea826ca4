//! ACP's MCP servers, for agents that want them otherwise.

use serde_json::{Map, Value};

/// The servers by name, each as `words` puts it; one without a name is left out.
pub(super) fn by_name(servers: &[Value], words: impl Fn(&Value) -> Value) -> Map<String, Value> {
    servers.iter().filter_map(|server| Some((server["name"].as_str()?.to_owned(), words(server)))).collect()
}

/// ACP's list of names and values (variables, headers) as an object.
pub(super) fn pairs(list: &Value) -> Map<String, Value> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| Some((item["name"].as_str()?.to_owned(), item["value"].clone()))).collect()
}
