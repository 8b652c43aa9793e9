//! A schema read off records: which fields there are, and of which type. It makes none required: what a file happens
//! to hold everywhere need not be so tomorrow.

use std::collections::HashMap;

use crate::{
    fault::Faults,
    json::{Json, write_text},
    schema::{is_identifier, normalise_date},
};

/// What has been seen so far.
#[derive(Default)]
pub(super) struct Inference {
    order: Vec<String>,
    fields: HashMap<String, Seen>,
    records: u64,
    /// The values come from CSV, where all of them are text.
    from_text: bool,
}

#[derive(Default)]
struct Seen {
    booleans: bool,
    integers: bool,
    numbers: bool,
    dates: bool,
    texts: bool,
    arrays: bool,
    objects: bool,
    items: Items,
}

/// The types of an array's entries.
#[derive(Default)]
struct Items {
    booleans: bool,
    integers: bool,
    numbers: bool,
    texts: bool,
    others: bool,
}

impl Inference {
    /// Nothing seen yet.
    pub(super) fn new(from_text: bool) -> Inference {
        Inference { from_text, ..Inference::default() }
    }

    /// How many records were seen.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Looks at a record.
    pub(super) fn see(&mut self, record: &Json<'_>) {
        self.records += 1;
        for (name, value) in record.as_object().unwrap_or_default() {
            if !self.fields.contains_key(&**name) {
                self.order.push(name.to_string());
                self.fields.insert(name.to_string(), Seen::default());
            }
            let seen = self.fields.get_mut(&**name).expect("it was just put there");
            seen.see(value, self.from_text);
        }
    }

    /// The fields' names by those in the records.
    pub(super) fn names(&self) -> HashMap<String, String> {
        self.order.iter().cloned().zip(field_names(&self.order)).collect()
    }

    /// The schema as JSON; the names of its fields are those that [`field_names`] makes.
    pub(super) fn schema(&self) -> Result<String, Faults> {
        let mut faults = Faults::default();
        let names = field_names(&self.order);
        let mut out = String::from("{\"fields\":[");
        for (at, (original, name)) in self.order.iter().zip(&names).enumerate() {
            let seen = &self.fields[original];
            let Some(kind) = seen.kind() else {
                faults.push(
                    original,
                    "holds arrays or objects beside other values: give a schema with --schema",
                );
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
    fn see(&mut self, value: &Json<'_>, from_text: bool) {
        match value {
            Json::Null => {}
            Json::Bool(_) => self.booleans = true,
            Json::Int(_) => self.integers = true,
            Json::Uint(_) | Json::Float(_) => self.numbers = true,
            Json::Text(text) if from_text && matches!(&**text, "true" | "false") => self.booleans = true,
            Json::Text(text) if from_text && plain_integer(text) => self.integers = true,
            Json::Text(text) if from_text && plain_number(text) => self.numbers = true,
            Json::Text(text) if !self.texts && normalise_date(text).is_some() => self.dates = true,
            Json::Text(_) => self.texts = true,
            Json::Array(entries) => {
                self.arrays = true;
                entries.iter().for_each(|entry| self.items.see(entry));
            }
            Json::Object(_) => self.objects = true,
        }
    }

    /// The type that holds every value seen; `None` where there is none.
    fn kind(&self) -> Option<&'static str> {
        let numeric = self.integers || self.numbers;
        let scalar = self.booleans || numeric || self.dates || self.texts;
        Some(match (self.arrays, self.objects) {
            (true, false) if !scalar => self.items.kind(),
            (false, true) if !scalar => "object",
            (false, false) if self.texts || !scalar => "string",
            (false, false) => match (self.booleans, numeric, self.dates) {
                (true, false, false) => "boolean",
                (false, true, false) if self.numbers => "number",
                (false, true, false) => "integer",
                (false, false, true) => "date",
                // Whatever else is mixed fits text alone.
                _ => "string",
            },
            _ => return None,
        })
    }
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

/// Whether text is an integer that is written the one usual way: `007` is no number but a code.
fn plain_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

fn plain_number(text: &str) -> bool {
    let digits = text.trim_start_matches('-');
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    digits.starts_with(|first: char| first.is_ascii_digit())
        && !leading_zero
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The names of fields for a file's own: what is no identifier has `_` in place of what does not fit, and a number
/// behind it where two would be alike.
pub(super) fn field_names(originals: &[String]) -> Vec<String> {
    const CHARS_MAX: usize = 90;
    let mut names: Vec<String> = Vec::with_capacity(originals.len());
    for original in originals {
        let mut name: String = original
            .chars()
            .take(CHARS_MAX)
            .map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' })
            .collect();
        if !is_identifier(&name) {
            name.insert(0, '_');
        }
        let taken = |name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        if taken(&name) {
            let free = (2..).map(|number| format!("{name}_{number}")).find(|name| !taken(name));
            name = free.expect("numbers do not run out");
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inferred(records: &[&str], from_text: bool) -> String {
        let mut inference = Inference::new(from_text);
        records.iter().for_each(|record| inference.see(&Json::parse(record).unwrap()));
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
}
