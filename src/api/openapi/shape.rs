//! What the derived description says wrongly of Rust's types, put right.

use serde_json::{Map, Value};

/// Mends a whole document.
pub(super) fn mend(document: &mut Value) {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object).cloned().unwrap_or_default();
    each_object(document, &mut |object| {
        unsigned(object);
        flattened(object, &schemas);
    });
}

fn each_object(value: &mut Value, see: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values_mut().for_each(|value| each_object(value, see));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, see)),
        _ => {}
    }
}

/// `u64` is told as `int64` from 0 on, which ends at half of what it takes.
fn unsigned(object: &mut Map<String, Value>) {
    let (Some(format), Some(0..)) =
        (object.get("format").and_then(Value::as_str), object.get("minimum").and_then(Value::as_i64))
    else {
        return;
    };
    let (format, most) = match format {
        "int64" => ("uint64", u64::MAX),
        "int32" => ("uint32", u64::from(u32::MAX)),
        _ => return,
    };
    object.insert("format".to_owned(), format.into());
    object.entry("maximum").or_insert_with(|| most.into());
}

/// A flattened part that takes no other fields would refuse those beside it: all of them are one object.
fn flattened(object: &mut Map<String, Value>, schemas: &Map<String, Value>) {
    let Some(parts) = object.get("allOf").and_then(Value::as_array) else { return };
    let whole = |part: &Value| {
        let name = part.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
        name.map_or_else(|| Some(part.clone()), |name| schemas.get(name).cloned())
    };
    let Some(parts) = parts.iter().map(whole).collect::<Option<Vec<Value>>>() else { return };
    if !parts.iter().any(|part| part.get("additionalProperties") == Some(&Value::Bool(false))) {
        return;
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in &parts {
        properties.extend(part.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        required.extend(part.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    object.remove("allOf");
    object.insert("type".to_owned(), "object".into());
    object.insert("properties".to_owned(), properties.into());
    object.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        object.insert("required".to_owned(), required.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_told_wrongly_is_mended() {
        let mut document = json!({ "components": { "schemas": {
            "Closed": { "type": "object", "required": ["a"], "additionalProperties": false,
                        "properties": { "a": { "type": "integer", "format": "int64", "minimum": 0 } } },
            "Open": { "type": "object", "properties": { "b": { "type": "integer", "format": "int32" } } },
            "Both": { "allOf": [{ "$ref": "#/components/schemas/Closed" },
                                { "type": "object", "properties": { "name": { "type": "string" } } }] },
            "Loose": { "allOf": [{ "$ref": "#/components/schemas/Open" }, { "type": "object" }] },
        } } });
        let loose = document["components"]["schemas"]["Loose"].clone();
        mend(&mut document);
        let schemas = &document["components"]["schemas"];
        let number = json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX });
        assert_eq!(schemas["Closed"]["properties"]["a"], number);
        assert_eq!(schemas["Open"]["properties"]["b"], json!({ "type": "integer", "format": "int32" }));
        assert_eq!(schemas["Loose"], loose);
        assert_eq!(
            schemas["Both"],
            json!({ "type": "object", "required": ["a"], "additionalProperties": false,
                    "properties": { "a": number, "name": { "type": "string" } } })
        );
    }
}
