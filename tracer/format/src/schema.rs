//! The JSON Schema of a line: what this version writes. `UPDATE_SCHEMA=1 cargo test -p tracer-format` writes its file.

use std::{any, borrow::Cow, env, fs, path::Path};

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    json_schema,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

use crate::{Name, Named, Record, Time};

const FILE: &str = "../../docs/trace.schema.json";
const TITLE: &str = "A line of a vault-tracer trace";
const DESCRIPTION: &str = "What this version writes. Later versions may add fields, types of records, and names (of \
    causes, ...): readers skip what they do not know.";

#[test]
fn the_schema_in_the_documentation_is_current() {
    let current = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &current).expect("written");
    }
    let documented = fs::read_to_string(&path).expect("docs/trace.schema.json");
    assert!(
        documented == current,
        "docs/trace.schema.json is not current: UPDATE_SCHEMA=1 cargo test -p tracer-format"
    );
}

fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Record>();
    RecursiveTransform(remove_null).transform(&mut schema);
    for (name, text) in [("title", TITLE), ("description", DESCRIPTION)] {
        schema.insert(name.to_owned(), text.into());
    }
    schema
}

/// What may be absent is never null.
fn remove_null(schema: &mut Schema) {
    let is_null = |value: &Value| *value == "null" || value["type"] == "null";
    for keyword in ["type", "anyOf"] {
        let Some(Value::Array(alternatives)) = schema.get_mut(keyword) else {
            continue;
        };
        alternatives.retain(|alternative| !is_null(alternative));
        let [one] = &alternatives[..] else { continue };
        let one = one.clone();
        schema.remove(keyword);
        match one {
            Value::Object(keywords) => schema.ensure_object().extend(keywords),
            one => drop(schema.insert(keyword.to_owned(), one)),
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "RFC 3339 in UTC with nine digits of a second.",
            "type": "string",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z$",
        })
    }
}

impl<T: Named> JsonSchema for Name<T> {
    fn schema_name() -> Cow<'static, str> {
        let path = any::type_name::<T>();
        path.rsplit("::").next().unwrap_or(path).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}
