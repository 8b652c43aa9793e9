//! Selects fields of a record's data, dotted paths included, without parsing the rest.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::QueryFault;
use crate::{
    fault::{did_you_mean, shorten},
    filter::RecordColumn,
    json::{Name, write_text},
    limits,
    schema::{Kind, Schema},
};

/// The members to keep; none means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pick {
    members: Vec<(String, Pick)>,
}

impl Pick {
    /// Parses `title,meta.year`. The columns of every record may be named and are always returned.
    pub fn parse(text: &str, schema: &Schema) -> Result<Pick, QueryFault> {
        let mut pick = Pick::default();
        for (at, path) in text.split(',').map(str::trim).enumerate() {
            if at == limits::PICK_FIELDS_MAX {
                return Err(fault(format!("has more than {} names", limits::PICK_FIELDS_MAX)));
            }
            let mut steps = path.split('.');
            let name = steps.next().unwrap_or_default();
            let Some(field) = schema.field(name) else {
                if RecordColumn::ALL.into_iter().any(|column| column.name() == path) {
                    continue;
                }
                let hint = did_you_mean(name, schema.fields().iter().map(|field| field.name.as_str()));
                return Err(fault(format!("there is no field {}{hint}", shorten(name))));
            };
            if path.contains('.') && !matches!(field.kind, Kind::Object | Kind::Array(None)) {
                return Err(fault(format!(
                    "{name} is of type {} and has nothing below it",
                    field.kind.name()
                )));
            }
            if path.split('.').count() > limits::PATH_STEPS_MAX || path.split('.').any(str::is_empty) {
                return Err(fault(format!(
                    "{} is no path of 1 to {} names",
                    shorten(path),
                    limits::PATH_STEPS_MAX
                )));
            }
            pick.add(path.split('.'));
        }
        Ok(pick)
    }

    fn add<'a>(&mut self, mut path: impl Iterator<Item = &'a str>) {
        let Some(name) = path.next() else {
            // The whole member is selected, which includes every part.
            self.members.clear();
            return;
        };
        match self.members.iter_mut().find(|(other, _)| other == name) {
            Some((_, below)) if below.members.is_empty() => {}
            Some((_, below)) => below.add(path),
            None => {
                let mut below = Pick::default();
                below.add(path);
                self.members.push((name.to_owned(), below));
            }
        }
    }

    /// Returns the selected members of an object in JSON text, in the object's order. A member without any selected
    /// part is left out.
    pub fn apply(&self, data: &str) -> Result<String, serde_json::Error> {
        let mut out = String::with_capacity(data.len().min(256));
        self.write(data, &mut out)?;
        Ok(out)
    }

    fn write(&self, object: &str, out: &mut String) -> Result<(), serde_json::Error> {
        let Members(members) = serde_json::from_str(object)?;
        out.push('{');
        let mut first = true;
        for (name, value) in members {
            let Some((_, below)) = self.members.iter().find(|(wanted, _)| *wanted == name) else { continue };
            if !first {
                out.push(',');
            }
            first = false;
            write_text(out, &name);
            out.push(':');
            if below.members.is_empty() || !value.get().starts_with('{') {
                out.push_str(value.get());
            } else {
                below.write(value.get(), out)?;
            }
        }
        out.push('}');
        Ok(())
    }
}

fn fault(message: impl Into<String>) -> QueryFault {
    QueryFault::new("fields", "invalid_fields", message)
}

/// The members of an object with unparsed values.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}
