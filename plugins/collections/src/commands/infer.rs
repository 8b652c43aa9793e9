//! Infers a schema from records: the fields and their types. It makes no field required: a later file may lack a field
//! that this one has everywhere.

use std::collections::{HashMap, HashSet};

use crate::{
    fault::{Faults, shorten},
    filter::RecordColumn,
    json::{Json, write_text},
    number,
    schema::{is_identifier, normalise_date},
};

/// The values seen so far.
#[derive(Default)]
pub(super) struct Inference {
    order: Vec<String>,
    fields: HashMap<String, Seen>,
    records: u64,
    /// Whether the values come from CSV, where all of them are text.
    from_text: bool,
}

/// The values of a field, by type.
#[derive(Default)]
struct Seen {
    booleans: Mark,
    integers: Mark,
    numbers: Mark,
    dates: Mark,
    texts: Mark,
    /// Text that looks like a number but would change if converted: another text or another number.
    inexact: Mark,
    arrays: Mark,
    objects: Mark,
    items: Items,
}

/// The number of values of a type, and the place of the first.
#[derive(Default)]
struct Mark {
    count: u64,
    line: u64,
    sample: String,
}

impl Mark {
    fn note(&mut self, value: &Json<'_>, line: u64) {
        if self.count == 0 {
            self.line = line;
            self.sample = shorten(&value.as_text().map_or_else(|| value.to_text(), str::to_owned));
        }
        self.count += 1;
    }

    fn any(&self) -> bool {
        self.count > 0
    }
}

/// The entry types of an array.
#[derive(Default)]
struct Items {
    booleans: bool,
    integers: bool,
    numbers: bool,
    texts: bool,
    others: bool,
}

impl Inference {
    /// Creates an empty inference.
    pub(super) fn new(from_text: bool) -> Inference {
        Inference { from_text, ..Inference::default() }
    }

    /// Returns the number of records seen.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Adds the columns of delimited text. They are fields even without values.
    pub(super) fn columns(&mut self, names: &[String]) {
        for name in names {
            self.field(name);
        }
    }

    fn field(&mut self, name: &str) -> &mut Seen {
        if !self.fields.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.fields.entry(name.to_owned()).or_default()
    }

    /// Adds a record that begins on this line.
    pub(super) fn see(&mut self, record: &Json<'_>, line: u64) {
        self.records += 1;
        for (name, value) in record.as_object().unwrap_or_default() {
            let from_text = self.from_text;
            self.field(name).see(value, line, from_text);
        }
    }

    /// Returns the fields' names by their names in the records.
    pub(super) fn names(&self) -> HashMap<String, String> {
        self.order.iter().cloned().zip(field_names(&self.order)).collect()
    }

    /// Returns notes on easily overlooked decisions, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let names = field_names(&self.order);
        let mut notes = Vec::new();
        for (original, name) in self.order.iter().zip(&names) {
            let seen = &self.fields[original];
            if seen.kind() == Some("string")
                && let Some(why) = seen.note(self.from_text)
            {
                notes.push(format!("{why}, so {name} holds text"));
            }
            if is_reserved(original) {
                notes.push(format!(
                    "{original} becomes the field {name}, since every record has an {original} of its own; --whole takes it as that"
                ));
            }
        }
        notes
    }

    /// Returns the schema as JSON; its field names come from [`field_names`].
    pub(super) fn schema(&self) -> Result<String, Faults> {
        let mut faults = Faults::default();
        let names = field_names(&self.order);
        let mut out = String::from("{\"fields\":[");
        for (at, (original, name)) in self.order.iter().zip(&names).enumerate() {
            let seen = &self.fields[original];
            let Some(kind) = seen.kind() else {
                let mark = if seen.arrays.any() { &seen.arrays } else { &seen.objects };
                let message = format!(
                    "holds arrays or objects beside other values, on line {} for the first time: give a schema with --schema",
                    mark.line
                );
                faults.push(original, message);
                continue;
            };
            out.push_str(if at > 0 { ",{\"name\":" } else { "{\"name\":" });
            write_text(&mut out, name);
            out.push_str(&format!(",\"type\":\"{kind}\""));
            out.push('}');
        }
        out.push_str("]}");
        faults.into_result().map(|()| out)
    }
}

impl Seen {
    fn see(&mut self, value: &Json<'_>, line: u64, from_text: bool) {
        let mark = match value {
            Json::Null => return,
            Json::Bool(_) => &mut self.booleans,
            Json::Int(_) => &mut self.integers,
            Json::Uint(_) | Json::Float(_) => &mut self.numbers,
            Json::Text(text) => self.mark_of_text(text, from_text),
            Json::Array(entries) => {
                entries.iter().for_each(|entry| self.items.see(entry));
                &mut self.arrays
            }
            Json::Object(_) => &mut self.objects,
        };
        mark.note(value, line);
    }

    fn mark_of_text(&mut self, text: &str, from_text: bool) -> &mut Mark {
        match number::verbatim(text).filter(|_| from_text) {
            Some(Json::Int(_)) => &mut self.integers,
            Some(_) => &mut self.numbers,
            None if from_text && matches!(text, "true" | "false") => &mut self.booleans,
            None if from_text && number::looks_like_one(text) => &mut self.inexact,
            // Among other texts, dates are text too, so the check is skipped.
            None if (!self.texts.any() || self.dates.any()) && is_whole_date(text) => &mut self.dates,
            None => &mut self.texts,
        }
    }

    fn is_text(&self) -> bool {
        self.texts.any() || self.inexact.any()
    }

    /// Returns the type that fits every value seen; `None` without values.
    fn kind(&self) -> Option<&'static str> {
        let numeric = self.integers.any() || self.numbers.any();
        let scalar = self.booleans.any() || numeric || self.dates.any() || self.is_text();
        Some(match (self.arrays.any(), self.objects.any()) {
            (true, false) if !scalar => self.items.kind(),
            (false, true) if !scalar => "object",
            (false, false) if self.is_text() || !scalar => "string",
            (false, false) => match (self.booleans.any(), numeric, self.dates.any()) {
                (true, false, false) => "boolean",
                (false, true, false) if self.numbers.any() => "number",
                (false, true, false) => "integer",
                (false, false, true) => "date",
                // Any other mix only fits text.
                _ => "string",
            },
            _ => return None,
        })
    }

    /// Explains why a field is text although some values are not: the first value that forced it.
    fn note(&self, from_text: bool) -> Option<String> {
        if self.inexact.any() && !self.texts.any() {
            let Mark { line, sample, .. } = &self.inexact;
            return Some(format!("line {line}: {sample} would not come back from a number as it is"));
        }
        let numeric = self.integers.count + self.numbers.count + self.inexact.count;
        let kinds = [(self.booleans.count, "a boolean"), (numeric, "a number"), (self.dates.count, "a date")];
        let (most, word) =
            kinds.into_iter().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0)?;
        // If most values are text, a number among them is text too. If the values have their own types, half is enough.
        if self.texts.any() && self.texts.count + u64::from(!from_text) > most {
            return None;
        }
        let marks = [
            (&self.texts, ""),
            (&self.booleans, "a boolean"),
            (if self.integers.any() { &self.integers } else { &self.numbers }, "a number"),
            (&self.dates, "a date"),
        ];
        let odd =
            marks.iter().filter(|(mark, of)| mark.any() && *of != word).min_by_key(|(mark, _)| mark.line)?;
        Some(format!("line {}: {} is not {word}", odd.0.line, odd.0.sample))
    }
}

/// Returns whether a text is a date that is stored without truncation.
fn is_whole_date(text: &str) -> bool {
    const DIGITS_KEPT: usize = 6;
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    digits <= DIGITS_KEPT && normalise_date(text).is_some()
}

impl Items {
    fn see(&mut self, entry: &Json<'_>) {
        match entry {
            Json::Bool(_) => self.booleans = true,
            Json::Int(_) => self.integers = true,
            Json::Uint(_) | Json::Float(_) => self.numbers = true,
            Json::Text(_) => self.texts = true,
            Json::Null | Json::Array(_) | Json::Object(_) => self.others = true,
        }
    }

    fn kind(&self) -> &'static str {
        match (self.texts, self.booleans, self.integers || self.numbers, self.others) {
            (true, false, false, false) => "list[string]",
            (false, true, false, false) => "list[bool]",
            (false, false, true, false) if self.numbers => "list[float]",
            (false, false, true, false) => "list[int]",
            _ => "array",
        }
    }
}

/// Returns whether a name is that of a column of every record.
fn is_reserved(name: &str) -> bool {
    RecordColumn::ALL.iter().any(|own| own.name().eq_ignore_ascii_case(name))
}

/// Derives field names from a file's names: characters that an identifier cannot have become `_`, and a number is
/// appended to duplicates.
pub(super) fn field_names(originals: &[String]) -> Vec<String> {
    const CHARS_MAX: usize = 90;
    let mut names: Vec<String> = Vec::with_capacity(originals.len());
    // The names in lower case, and the last number appended to each.
    let (mut taken, mut numbers) = (HashSet::new(), HashMap::new());
    for original in originals {
        let mut name: String = original
            .chars()
            .take(CHARS_MAX)
            .map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' })
            .collect();
        if !is_identifier(&name) || is_reserved(&name) {
            name.insert(0, '_');
        }
        if taken.contains(&name.to_ascii_lowercase()) {
            let number = numbers.entry(name.to_ascii_lowercase()).or_insert(1_usize);
            let mut numbered = || {
                *number += 1;
                format!("{name}_{number}")
            };
            let mut free = numbered();
            while taken.contains(&free.to_ascii_lowercase()) {
                free = numbered();
            }
            name = free;
        }
        taken.insert(name.to_ascii_lowercase());
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(records: &[&str], from_text: bool) -> String {
        let mut inference = Inference::new(from_text);
        let numbered = records.iter().zip(1..);
        numbered.for_each(|(record, line)| inference.see(&Json::parse(record).unwrap(), line));
        inference.schema().unwrap_or_else(|faults| faults.to_string())
    }

    #[test]
    fn types_are_read_off_every_value() {
        for (records, from_text, expected) in [
            (&[r#"{"a":1}"#, r#"{"a":2}"#][..], false, r#"{"name":"a","type":"integer"}"#),
            (&[r#"{"a":1}"#, r#"{"a":2.5}"#], false, r#"{"name":"a","type":"number"}"#),
            (&[r#"{"a":1}"#, r#"{"a":null}"#], false, r#"{"name":"a","type":"integer"}"#),
            (&[r#"{"a":1}"#, "{}"], false, r#"{"name":"a","type":"integer"}"#),
            (&[r#"{"a":1}"#, r#"{"a":"x"}"#], false, r#"{"name":"a","type":"string"}"#),
            (&[r#"{"a":true}"#], false, r#"{"name":"a","type":"boolean"}"#),
            (&[r#"{"a":true}"#, r#"{"a":1}"#], false, r#"{"name":"a","type":"string"}"#),
            (&[r#"{"a":"2026-01-01"}"#], false, r#"{"name":"a","type":"date"}"#),
            (&[r#"{"a":"2026-01-01"}"#, r#"{"a":"soon"}"#], false, r#"{"name":"a","type":"string"}"#),
            (&[r#"{"a":null}"#], false, r#"{"name":"a","type":"string"}"#),
            (&[r#"{"a":["x"]}"#], false, r#"{"name":"a","type":"list[string]"}"#),
            (&[r#"{"a":[1]}"#, r#"{"a":[1.5]}"#], false, r#"{"name":"a","type":"list[float]"}"#),
            (&[r#"{"a":[1,"x"]}"#], false, r#"{"name":"a","type":"array"}"#),
            (&[r#"{"a":{}}"#], false, r#"{"name":"a","type":"object"}"#),
            (
                &[r#"{"US Gross":1,"us_gross":2,"3d":3}"#],
                false,
                r#"{"name":"US_Gross","type":"integer"},{"name":"us_gross_2","type":"integer"},{"name":"_3d","type":"integer"}"#,
            ),
            (
                &[r#"{"a":"1","b":"007","c":"1.5","d":"true","e":"2026-01-01"}"#],
                true,
                r#"{"name":"a","type":"integer"},{"name":"b","type":"string"},{"name":"c","type":"number"},{"name":"d","type":"boolean"},{"name":"e","type":"date"}"#,
            ),
        ] {
            assert_eq!(inferred(records, from_text), format!("{{\"fields\":[{expected}]}}"), "{records:?}");
        }
        assert!(inferred(&[r#"{"a":[1]}"#, r#"{"a":1}"#], false).contains("give a schema with --schema"));
    }

    #[test]
    fn numbers_that_would_not_come_back_are_text_and_odd_values_are_told() {
        for (values, kind, note) in [
            (
                &["12345678901234567890123", "1"][..],
                "string",
                Some("line 1: 12345678901234567890123 would not come back"),
            ),
            (&["1.10", "2.5"], "string", Some("line 1: 1.10 would not come back")),
            (&["1E10"], "string", Some("line 1: 1E10 would not")),
            (&["007"], "string", Some("line 1: 007 would not")),
            (&["1.5", "2", "18446744073709551615"], "number", None),
            (&["1", "2", "n/a", "4"], "string", Some("line 3: n/a is not a number, so a holds text")),
            (&["true", "false", "TRUE"], "string", Some("line 3: TRUE is not a boolean")),
            (&["2026-01-01", "soon", "2026-01-02"], "string", Some("line 2: soon is not a date")),
            (&["2026-01-01T00:00:00.1234567Z"], "string", None),
            (&["true", "1", "true"], "string", Some("line 2: 1 is not a boolean")),
            (&["one", "two", "3"], "string", None),
        ] {
            let mut inference = Inference::new(true);
            for (value, line) in values.iter().zip(1..) {
                inference.see(&Json::Object(vec![("a".into(), Json::Text((*value).into()))]), line);
            }
            let schema = inference.schema().unwrap();
            assert!(schema.contains(&format!("\"type\":\"{kind}\"")), "{values:?}: {schema}");
            let notes = inference.notes();
            assert_eq!(notes.len(), usize::from(note.is_some()), "{notes:?}");
            assert!(note.is_none_or(|note| notes[0].starts_with(note)), "{notes:?}");
        }
    }

    #[test]
    fn a_column_named_like_what_every_record_has_gets_another_name() {
        let mut inference = Inference::new(true);
        inference.see(&Json::parse(r#"{"id":"1","title":"x"}"#).unwrap(), 2);
        assert_eq!(inference.names()["id"], "_id");
        assert!(inference.notes()[0].starts_with("id becomes the field _id"), "{:?}", inference.notes());
    }
}
