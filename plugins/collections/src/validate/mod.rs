//! Strict validation of a record's data against its schema. It never converts a value to another type, and lists every
//! fault at once.
//!
//! The result is the JSON text as it is stored and returned: compact, in the client's order, then the defaults.

mod value;

use crate::{
    fault::{Faults, Path, did_you_mean, shorten},
    json::{Json, write_text},
    limits,
    schema::{Schema, UnknownFields},
};

pub use value::field_value;
pub(crate) use value::is_record_id;

/// Validates the data of a new record, or data that replaces a record's.
///
/// An absent field gets its default; a required field without default must be given. Null is valid for every field that
/// is not required, and is not replaced by the default.
pub fn data(schema: &Schema, unknown: UnknownFields, data: &Json<'_>) -> Result<String, Faults> {
    checked(schema, unknown, data, true)
}

/// Validates the data of an existing record, as in a copy: an absent field stays absent and gets no default.
pub fn exact(schema: &Schema, unknown: UnknownFields, data: &Json<'_>) -> Result<String, Faults> {
    checked(schema, unknown, data, false)
}

fn checked(
    schema: &Schema,
    unknown: UnknownFields,
    data: &Json<'_>,
    defaults: bool,
) -> Result<String, Faults> {
    let mut faults = Faults::default();
    let Some(members) = data.as_object() else {
        faults.push("data", format!("must be an object, is {}", data.kind()));
        return Err(faults);
    };
    check_count(members.len())?;
    let mut writer = Writer::new(schema, unknown, &mut faults);
    for (name, value) in members {
        writer.member(name, value);
    }
    let text = writer.finish(defaults);
    if text.len() > limits::DATA_BYTES_MAX {
        faults.push("data", format!("must have at most {} bytes as JSON", limits::DATA_BYTES_MAX));
    }
    faults.into_result().map(|()| text)
}

/// Validates `changes` merged into stored data: each given field replaces the whole stored one; other fields stay. Null
/// sets a field to null if it is not required.
///
/// The whole record is validated, so that the result is valid under the current schema.
pub fn merged(
    schema: &Schema,
    unknown: UnknownFields,
    stored: &Json<'_>,
    changes: &Json<'_>,
) -> Result<String, Faults> {
    let mut faults = Faults::default();
    let Some(given) = changes.as_object() else {
        faults.push("data", format!("must be an object, is {}", changes.kind()));
        return Err(faults);
    };
    check_count(given.len())?;
    let kept = stored.as_object().expect("stored data is an object");
    let mut writer = Writer::new(schema, unknown, &mut faults);
    for (name, value) in kept {
        let mut replacing = given.iter().filter(|(other, _)| other == name).peekable();
        if replacing.peek().is_none() {
            // Stored fields outside of the schema are left over from a schema change: not this client's fault.
            if schema.position(name).is_some() {
                writer.member(name, value);
            }
            continue;
        }
        for (_, value) in replacing {
            writer.member(name, value);
        }
    }
    for (name, value) in given.iter().filter(|(name, _)| !kept.iter().any(|(other, _)| other == name)) {
        writer.member(name, value);
    }
    let text = writer.finish(false);
    if text.len() > limits::DATA_BYTES_MAX {
        faults.push("data", format!("must have at most {} bytes as JSON", limits::DATA_BYTES_MAX));
    }
    faults.into_result().map(|()| text)
}

/// Each member is looked up among the fields, so their number must be limited.
fn check_count(members: usize) -> Result<(), Faults> {
    if members <= limits::DATA_MEMBERS_MAX {
        return Ok(());
    }
    let mut faults = Faults::default();
    faults.push("data", format!("must have at most {} members", limits::DATA_MEMBERS_MAX));
    Err(faults)
}

/// Writes members one by one and records which fields they were.
struct Writer<'a> {
    schema: &'a Schema,
    unknown: UnknownFields,
    faults: &'a mut Faults,
    seen: [u64; limits::FIELDS_MAX.div_ceil(64)],
    expected: usize,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(schema: &'a Schema, unknown: UnknownFields, faults: &'a mut Faults) -> Writer<'a> {
        let mut out = String::with_capacity(256);
        out.push('{');
        Writer { schema, unknown, faults, seen: Default::default(), expected: 0, out }
    }

    fn position(&mut self, name: &str) -> Option<usize> {
        // Clients usually send fields in the schema's order: check the next expected field first.
        let next = self.schema.fields().get(self.expected).filter(|field| field.name == name);
        let position = if next.is_some() { Some(self.expected) } else { self.schema.position(name) };
        self.expected = position.map_or(self.expected, |at| at + 1);
        position
    }

    fn separate(&mut self) {
        if self.out.len() > 1 {
            self.out.push(',');
        }
    }

    fn member(&mut self, name: &str, value: &Json<'_>) {
        let Some(at) = self.position(name) else {
            if self.unknown == UnknownFields::Reject && !self.faults.is_full() {
                let hint = did_you_mean(name, self.schema.fields().iter().map(|field| field.name.as_str()));
                self.faults.push(shorten(name), format!("is not a field of this collection{hint}"));
            }
            return;
        };
        let (word, bit) = (at / 64, 1 << (at % 64));
        if self.seen[word] & bit != 0 {
            self.faults.push(name, "is given twice");
            return;
        }
        self.seen[word] |= bit;
        let field = &self.schema.fields()[at];
        self.separate();
        self.out.push('"');
        self.out.push_str(&field.name);
        self.out.push_str("\":");
        field_value(field, value, &Path::root(name), &mut self.out, self.faults);
    }

    fn finish(mut self, defaults: bool) -> String {
        for (at, field) in self.schema.fields().iter().enumerate() {
            if self.seen[at / 64] & (1 << (at % 64)) != 0 {
                continue;
            }
            match &field.default {
                Some(default) if defaults => {
                    self.separate();
                    write_text(&mut self.out, &field.name);
                    self.out.push(':');
                    self.out.push_str(default);
                }
                _ if field.required => self.faults.push(&field.name, "is required"),
                _ => {}
            }
        }
        self.out.push('}');
        self.out
    }
}

#[cfg(test)]
mod tests;
