//! What a schema change means for existing records: fields added, dropped, renamed or retyped, and how one record's
//! data is converted. It never accesses storage.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{
    fault::{Faults, did_you_mean},
    json::Json,
    number,
    schema::{Field, Kind, Schema, UnknownFields},
    validate,
};

/// The steps from one schema to the next.
pub(super) struct Plan<'a> {
    old: &'a Schema,
    new: &'a Schema,
    /// For each new field, the old field whose values it takes over.
    sources: Vec<Option<&'a Field>>,
}

impl<'a> Plan<'a> {
    /// Matches the fields of two schemas by name and by `renamed_from`.
    pub(super) fn new(old: &'a Schema, new: &'a Schema) -> Result<Plan<'a>, Faults> {
        let mut faults = Faults::default();
        let mut sources: Vec<Option<&Field>> = Vec::with_capacity(new.fields().len());
        for (at, field) in new.fields().iter().enumerate() {
            let path = format!("schema.fields[{at}].renamed_from");
            let source = match &field.renamed_from {
                None => old.field(&field.name),
                Some(from) if *from == field.name => old.field(from),
                Some(from) => {
                    let source = old.field(from);
                    if source.is_none() {
                        let hint = did_you_mean(from, old.fields().iter().map(|field| field.name.as_str()));
                        faults.push(&path, format!("there is no field {from}{hint}"));
                    } else if new
                        .fields()
                        .iter()
                        .any(|other| other.name == *from && other.renamed_from.is_none())
                    {
                        faults.push(&path, format!("{from} is still a field of the new schema"));
                    }
                    source
                }
            };
            let taken = |source: &Field| sources.iter().flatten().any(|other| other.name == source.name);
            if source.is_some_and(taken) {
                faults.push(&path, "two fields cannot take over the same one");
            }
            sources.push(source);
        }
        faults.into_result().map(|()| Plan { old, new, sources })
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a Field, Option<&'a Field>)> {
        self.new.fields().iter().zip(self.sources.iter().copied())
    }

    /// Describes the changes for people.
    pub(super) fn describe(&self) -> Value {
        let added: Vec<&str> =
            self.pairs().filter(|(_, old)| old.is_none()).map(|(new, _)| new.name.as_str()).collect();
        let kept = |old: &Field| self.sources.iter().flatten().any(|source| source.name == old.name);
        let dropped: Vec<&str> =
            self.old.fields().iter().filter(|old| !kept(old)).map(|old| old.name.as_str()).collect();
        let both = || self.pairs().filter_map(|(new, old)| Some((new, old?)));
        let renamed: Vec<Value> = both()
            .filter(|(new, old)| new.name != old.name)
            .map(|(new, old)| json!({"from": old.name, "to": new.name}))
            .collect();
        let retyped: Vec<Value> = both()
            .filter(|(new, old)| new.kind != old.kind)
            .map(|(new, old)| json!({"field": new.name, "from": old.kind.name(), "to": new.kind.name()}))
            .collect();
        json!({"added": added, "dropped": dropped, "renamed": renamed, "retyped": retyped})
    }

    /// Returns whether records must be checked: their data may change or become invalid.
    pub(super) fn touches_records(&self) -> bool {
        let carried = self.sources.iter().flatten().count();
        carried != self.old.fields().len()
            || self.pairs().any(|(new, old)| match old {
                None => new.required || new.default.is_some(),
                Some(old) => new.name != old.name || demands_more(new, old),
            })
    }

    /// Converts the data of one record to the new schema.
    pub(super) fn follow(&self, stored: &Json<'_>) -> Result<String, Faults> {
        let members = stored.as_object().expect("stored data is an object");
        let mut moved: Vec<(Cow<'_, str>, Json<'_>)> = Vec::with_capacity(self.new.fields().len());
        for (name, value) in members {
            if let Some((new, old)) = self.pairs().find(|(_, old)| old.is_some_and(|old| old.name == **name))
            {
                let retyped = old.is_some_and(|old| old.kind != new.kind);
                let value = if retyped { convert(value, new.kind) } else { value.clone() };
                moved.push((Cow::Borrowed(&new.name), value));
            }
        }
        for (new, old) in self.pairs() {
            let Some(default) = &new.default else { continue };
            let wanted = old.is_none() || new.required;
            if wanted && !moved.iter().any(|(name, _)| *name == new.name) {
                let value = Json::parse(default).expect("a default was written as JSON");
                moved.push((Cow::Borrowed(&new.name), value));
            }
        }
        let nothing = Json::Object(Vec::new());
        validate::merged(self.new, UnknownFields::Reject, &Json::Object(moved), &nothing)
    }
}

/// Returns whether a valid value of the old field may be invalid for the new one.
fn demands_more(new: &Field, old: &Field) -> bool {
    let pattern = |field: &Field| field.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
    new.kind != old.kind
        || (new.required && !old.required)
        || new.min != old.min
        || new.max != old.max
        || new.min_length != old.min_length
        || new.max_length != old.max_length
        || pattern(new) != pattern(old)
}

/// Converts the value to another type if that is lossless. Otherwise returns it unchanged, for validation to refuse.
pub(crate) fn convert<'a>(value: &Json<'a>, kind: Kind) -> Json<'a> {
    let converted = match (kind, value) {
        (Kind::Text, Json::Bool(_) | Json::Int(_) | Json::Uint(_) | Json::Float(_)) => {
            Some(Json::Text(Cow::Owned(value.to_text())))
        }
        (Kind::Integer, Json::Float(number)) => whole(*number).map(Json::Int),
        (Kind::Integer, Json::Text(text)) => text.parse().ok().map(Json::Int),
        (Kind::Integer, Json::Bool(flag)) => Some(Json::Int((*flag).into())),
        (Kind::Number, Json::Text(text)) => number::exact(text),
        (Kind::Boolean, Json::Int(0 | 1)) => Some(Json::Bool(*value == Json::Int(1))),
        (Kind::Boolean, Json::Text(text)) => text.parse().ok().map(Json::Bool),
        (Kind::Array(_) | Kind::Object, Json::Text(text)) => owned_container(text),
        _ => None,
    };
    converted.unwrap_or_else(|| value.clone())
}

/// Parses an array or object given as text, as in CSV.
fn owned_container(text: &str) -> Option<Json<'static>> {
    fn owned(value: Json<'_>) -> Json<'static> {
        match value {
            Json::Null => Json::Null,
            Json::Bool(flag) => Json::Bool(flag),
            Json::Int(number) => Json::Int(number),
            Json::Uint(number) => Json::Uint(number),
            Json::Float(number) => Json::Float(number),
            Json::Text(text) => Json::Text(Cow::Owned(text.into_owned())),
            Json::Array(entries) => Json::Array(entries.into_iter().map(owned).collect()),
            Json::Object(members) => Json::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name.into_owned()), owned(value)))
                    .collect(),
            ),
        }
    }
    match Json::parse(text).ok()? {
        value @ (Json::Array(_) | Json::Object(_)) => Some(owned(value)),
        _ => None,
    }
}

fn whole(number: f64) -> Option<i64> {
    // Up to this value a float represents every integer exactly.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)]
    let integer = number as i64;
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> Schema {
        Schema::parse(&Json::parse(&format!("{{\"fields\":[{fields}]}}")).unwrap()).unwrap()
    }

    const OLD: &str =
        r#"{"name":"a","type":"string"},{"name":"b","type":"integer"},{"name":"c","type":"boolean"}"#;

    #[test]
    fn records_follow_their_schema() {
        let old = schema(OLD);
        let data = r#"{"b":5,"a":"7","c":true}"#;
        for (new, touches, expected) in [
            (OLD, false, Ok(data)),
            (
                r#"{"name":"c","type":"boolean"},{"name":"a","type":"string","index":true},{"name":"b","type":"integer","description":"d"}"#,
                false,
                Ok(data),
            ),
            (r#"{"name":"a","type":"string"},{"name":"b","type":"integer"}"#, true, Ok(r#"{"b":5,"a":"7"}"#)),
            (
                r#"{"name":"a","type":"integer"},{"name":"b","type":"string"},{"name":"c","type":"int"}"#,
                true,
                Ok(r#"{"b":"5","a":7,"c":1}"#),
            ),
            (
                r#"{"name":"x","type":"number","renamed_from":"a"},{"name":"b","type":"integer"},{"name":"c","type":"boolean"}"#,
                true,
                Ok(r#"{"b":5,"x":7,"c":true}"#),
            ),
            (
                r#"{"name":"a","type":"string","renamed_from":"b"},{"name":"b","type":"string","renamed_from":"a"},{"name":"c","type":"boolean"}"#,
                true,
                Ok(r#"{"a":"5","b":"7","c":true}"#),
            ),
            (
                &format!(
                    r#"{OLD},{{"name":"d","type":"integer","default":3}},{{"name":"e","type":"string"}}"#
                ),
                true,
                Ok(r#"{"b":5,"a":"7","c":true,"d":3}"#),
            ),
            (&format!(r#"{OLD},{{"name":"d","type":"integer"}}"#), false, Ok(data)),
            (
                &format!(r#"{OLD},{{"name":"d","type":"integer","required":true}}"#),
                true,
                Err("d: is required"),
            ),
            (
                r#"{"name":"a","type":"string","min_length":2},{"name":"b","type":"integer","max":4},{"name":"c","type":"date"}"#,
                true,
                Err(
                    "b: must be at most 4; a: must have at least 2 characters, has 1; c: must be a date as a string, is a boolean",
                ),
            ),
        ] {
            let new_schema = schema(new);
            let plan = Plan::new(&old, &new_schema).unwrap_or_else(|faults| panic!("{new}: {faults}"));
            assert_eq!(plan.touches_records(), touches, "{new}");
            let followed = plan.follow(&Json::parse(data).unwrap());
            let followed = followed.as_deref().map_err(ToString::to_string);
            assert_eq!(followed, expected.map_err(str::to_owned), "{new}");
        }
    }

    #[test]
    fn renames_that_make_no_sense_are_named() {
        let old = schema(OLD);
        for (new, message) in [
            (
                r#"{"name":"x","type":"string","renamed_from":"aa"}"#,
                "schema.fields[0].renamed_from: there is no field aa (did you mean a",
            ),
            (
                &format!(r#"{OLD},{{"name":"x","type":"string","renamed_from":"a"}}"#),
                "a is still a field of the new schema",
            ),
            (
                r#"{"name":"x","type":"string","renamed_from":"a"},{"name":"y","type":"string","renamed_from":"a"}"#,
                "two fields cannot take over",
            ),
        ] {
            let new_schema = schema(new);
            let faults = Plan::new(&old, &new_schema).err().expect(new).to_string();
            assert!(faults.contains(message), "{faults}");
        }
    }

    #[test]
    fn a_change_is_described() {
        let old = schema(OLD);
        let new = schema(
            r#"{"name":"x","type":"string","renamed_from":"a"},{"name":"b","type":"number"},{"name":"n","type":"date"}"#,
        );
        let plan = Plan::new(&old, &new).ok().unwrap();
        let expected = json!({"added": ["n"], "dropped": ["c"], "renamed": [{"from": "a", "to": "x"}],
            "retyped": [{"field": "b", "from": "integer", "to": "number"}]});
        assert_eq!(plan.describe(), expected);
    }
}
