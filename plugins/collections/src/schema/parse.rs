//! Parses a whole schema: its fields, and the constraints between them. It never looks at other collections.

use super::{Field, Fit, Schema, definition};
use crate::{
    fault::{Fault, Faults, Path},
    filter::RecordColumn,
    json::{Json, write_text},
    limits, validate,
};

/// Returns whether a word is a valid field name.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= limits::NAME_BYTES_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks the name of a collection.
pub fn check_collection_name(name: &str) -> Result<(), Fault> {
    let fits = name.len() <= limits::NAME_BYTES_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if fits {
        return Ok(());
    }
    let max = limits::NAME_BYTES_MAX;
    let message = format!(
        "must begin with a lower-case letter, hold lower-case letters, digits and _ alone, and have at most {max}"
    );
    Err(Fault { path: "name".to_owned(), message })
}

/// Checks the label of a collection.
pub fn check_label(label: &str) -> Result<(), Fault> {
    if (1..=limits::LABEL_CHARS_MAX).contains(&label.chars().count()) && !label.contains('\0') {
        return Ok(());
    }
    let message = format!("must have 1 to {} characters", limits::LABEL_CHARS_MAX);
    Err(Fault { path: "label".to_owned(), message })
}

/// Finds new fields with the name of a column of every record: filters and sorts could not use them. `before` is the
/// collection's current schema; fields that it already has are allowed.
pub fn check_field_names(schema: &Schema, before: Option<&Schema>, faults: &mut Faults) {
    let is_own = |name: &str| RecordColumn::ALL.iter().any(|own| own.name().eq_ignore_ascii_case(name));
    for (at, field) in schema.fields().iter().enumerate() {
        let stays = before.is_some_and(|before| before.field(&field.name).is_some());
        if is_own(&field.name) && !stays {
            let names = RecordColumn::ALL.map(RecordColumn::name).join(", ");
            let message =
                format!("{} is reserved: every record has {names}; choose another name", field.name);
            faults.push(format!("schema.fields[{at}].name"), message);
        }
    }
}

/// Parses a schema; returns every fault with its path.
pub(super) fn schema(schema: &Json<'_>) -> Result<Schema, Faults> {
    let mut faults = Faults::default();
    let Some(members) = schema.as_object() else {
        faults.push("schema", format!("must be an object with fields, is {}", schema.kind()));
        return Err(faults);
    };
    for (key, _) in members.iter().filter(|(key, _)| key != "fields") {
        faults.push_unknown("schema", key, "is not known; a schema holds fields alone");
    }
    let Some(Json::Array(definitions)) = schema.get("fields") else {
        faults.push("schema.fields", "is required: an array of fields");
        return Err(faults);
    };
    if definitions.len() > limits::FIELDS_MAX {
        faults.push("schema.fields", format!("must have at most {} entries", limits::FIELDS_MAX));
        return Err(faults);
    }
    let mut fields: Vec<Field> = Vec::with_capacity(definitions.len());
    for (at, definition) in definitions.iter().enumerate() {
        let path = format!("schema.fields[{at}]");
        let Some(mut field) = definition::field(definition, &path, &mut faults) else { continue };
        if let Some(twin) = fields.iter().find(|other| other.name.eq_ignore_ascii_case(&field.name)) {
            let message =
                format!("is the name of two fields ({}); names differ in more than case", twin.name);
            faults.push(format!("{path}.name"), message);
        }
        field.default = default_of(&field, definition, &path, &mut faults);
        fields.push(field);
    }
    if fields.iter().filter(|field| field.has_column()).count() > limits::COLUMN_FIELDS_MAX {
        let max = limits::COLUMN_FIELDS_MAX;
        faults.push("schema.fields", format!("must have at most {max} indexed, unique and reference fields"));
    }
    faults.into_result()?;
    Ok(Schema::new(fields, stored_text(definitions)))
}

fn default_of(field: &Field, definition: &Json<'_>, path: &str, faults: &mut Faults) -> Option<String> {
    let value = definition.get("default").filter(|value| !matches!(value, Json::Null))?;
    let path = format!("{path}.default");
    let mut text = String::new();
    // A default that is too long for its pattern was stored before that limit existed. The schema must still parse.
    let is_unmatched = match (&field.pattern, value) {
        (Some(pattern), Json::Text(text)) => matches!(pattern.check(text), Fit::TooLong(_)),
        _ => false,
    };
    let unmatched = is_unmatched.then(|| Field { pattern: None, ..field.clone() });
    let field = unmatched.as_ref().unwrap_or(field);
    validate::field_value(field, value, &Path::root(&path), &mut text, faults);
    Some(text)
}

/// Returns the schema as it is stored: without `renamed_from`, which only applies to one change.
fn stored_text(definitions: &[Json<'_>]) -> String {
    let mut out = String::from("{\"fields\":[");
    for (at, definition) in definitions.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let members = definition.as_object().expect("a definition without faults is an object");
        out.push('{');
        let kept = members.iter().filter(|(key, _)| key != "renamed_from");
        for (position, (key, value)) in kept.enumerate() {
            if position > 0 {
                out.push(',');
            }
            write_text(&mut out, key);
            out.push(':');
            value.write(&mut out);
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        match schema(&Json::parse(text).unwrap()) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.list().iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_type_and_option_of_the_contract_is_taken() {
        let text = r#"{"fields":[
            {"name":"a","type":"string","required":true,"unique":true,"min_length":1,"max_length":5,"pattern":"^a","default":"ab","description":"d"},
            {"name":"b","type":"int","min":1,"max":9,"default":3,"index":true},
            {"name":"c","type":"float","min":0.5,"required":null},
            {"name":"d","type":"bool"},{"name":"e","type":"list"},{"name":"f","type":"list[string]"},
            {"name":"g","type":"list[int]"},{"name":"h","type":"list[float]"},{"name":"i","type":"list[bool]"},
            {"name":"j","type":"dict","default":{"x":1}},{"name":"k","type":"date","min":"2020-01-01"},
            {"name":"l","type":"reference","collection":"users","on_delete":"cascade"},
            {"name":"m","type":"number"},{"name":"n","type":"integer"},{"name":"o","type":"array"},
            {"name":"p","type":"object"},{"name":"q","type":"boolean","renamed_from":"z"}]}"#;
        assert_eq!(faults_of(text), Vec::<String>::new());
        let parsed = schema(&Json::parse(text).unwrap()).unwrap();
        assert!(parsed.text().contains("list[float]") && !parsed.text().contains("renamed_from"));
        assert_eq!(parsed.field("q").unwrap().renamed_from.as_deref(), Some("z"));
        assert_eq!(parsed.field("b").unwrap().default.as_deref(), Some("3"));
        let again = Json::parse(parsed.text()).unwrap();
        assert_eq!(schema(&again).unwrap().text(), parsed.text());
    }

    #[test]
    fn every_fault_is_listed_with_its_path() {
        let text = r#"{"colour":1,"fields":[
            {"name":"1a","type":"string"},
            {"name":"a","type":"strnig"},
            {"name":"b","type":"integer","min":"x","requierd":true},
            {"name":"c","type":"object","unique":true,"min_length":1},
            {"name":"d","type":"reference"},
            {"name":"e","type":"string","pattern":"(","default":7},
            {"name":"E","type":"date","min":"2020-01-02","max":"2020-01-01"},
            {"name":"f","type":"reference","collection":"users","on_delete":"set_null","required":true},
            {"type":"boolean"}, 5]}"#;
        let faults = faults_of(text);
        for expected in [
            "schema.colour: is not known",
            "schema.fields[0].name: must begin",
            "schema.fields[1].type: must be one of",
            "(did you mean string?)",
            "schema.fields[2].min: must be a number, is a string",
            "schema.fields[2].requierd: is not an option of a field (did you mean required?)",
            "schema.fields[3].unique: cannot apply to a field of type object",
            "schema.fields[3].min_length: applies to string and array",
            "schema.fields[4].collection: is required",
            "schema.fields[5].pattern: is not a regular expression",
            "schema.fields[5].default: must be a string, is a number",
            "schema.fields[6].name: is the name of two fields",
            "schema.fields[6].min: must not be larger than max",
            "schema.fields[7].on_delete: cannot be set_null",
            "schema.fields[8].name: is required",
            "schema.fields[9]: must be an object, is a number",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected} is not in {faults:#?}");
        }
    }

    #[test]
    fn shapes_that_are_no_schema_are_refused() {
        for text in ["5", "{}", r#"{"fields":{}}"#, r#"{"fields":null}"#] {
            assert_eq!(faults_of(text).len(), 1, "{text}");
        }
        let many: Vec<String> = (0..300).map(|n| format!(r#"{{"name":"f{n}","type":"string"}}"#)).collect();
        assert_eq!(faults_of(&format!("{{\"fields\":[{}]}}", many.join(","))).len(), 1);
    }

    #[test]
    fn names_of_collections() {
        for (name, fits) in
            [("movies", true), ("m_2", true), ("Movies", false), ("_m", false), ("", false), ("a-b", false)]
        {
            assert_eq!(check_collection_name(name).is_ok(), fits, "{name}");
        }
        assert!(check_collection_name(&"a".repeat(101)).is_err());
        assert!(
            check_label("").is_err() && check_label("ü").is_ok() && check_label(&"l".repeat(201)).is_err()
        );
    }
}
