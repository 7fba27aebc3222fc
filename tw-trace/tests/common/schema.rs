//! Holds JSON output against the schemas in docs/.

use jsonschema::{Registry, Validator};
use serde_json::Value;

const EVENTS: &str = include_str!("../../../docs/events.schema.json");

/// The validator of one line of `trace --json`.
pub(crate) fn validator() -> Validator {
    validator_of(EVENTS)
}

/// The validator of this schema, which may point into docs/events.schema.json.
pub(crate) fn validator_of(schema: &str) -> Validator {
    let [schema, events]: [Value; 2] =
        [schema, EVENTS].map(|text| serde_json::from_str(text).expect("the schema is JSON"));
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a JSON Schema");
    let registry = Registry::new()
        .add("json-schema:///events.schema.json", events)
        .and_then(jsonschema::RegistryBuilder::prepare)
        .expect("the schema of events can be used");
    let options = jsonschema::draft202012::options().with_registry(&registry);
    options.build(&schema).expect("the schema can be used")
}

/// The line as JSON.
///
/// # Panics
/// When it is not what the schema asks for.
pub(crate) fn check(validator: &Validator, line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let errors: Vec<_> =
        validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}\n{line}", errors.join("\n"));
    value
}
