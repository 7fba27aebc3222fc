//! Holds JSON output against docs/events.schema.json.

use jsonschema::Validator;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/events.schema.json");

/// The validator of one line of `--json` output.
pub(crate) fn validator() -> Validator {
    validator_of(SCHEMA)
}

/// The same for another schema.
pub(crate) fn validator_of(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a JSON Schema");
    jsonschema::draft202012::new(&schema).expect("the schema can be used")
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
