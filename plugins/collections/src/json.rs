//! A parsed JSON value that borrows from its source text, and a compact writer. It never converts a value to another
//! type.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Members of objects keep their order, and duplicate names are kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent that fits a signed 64-bit integer.
    Int(i64),
    /// A number without fraction or exponent that only fits an unsigned 64-bit integer.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Parses JSON text.
    pub fn parse(text: &'a str) -> Result<Json<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Parses JSON bytes, which must be UTF-8.
    pub fn parse_bytes(bytes: &'a [u8]) -> Result<Json<'a>, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Returns the member `name` if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Returns the text if this is a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the members if this is an object.
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Estimates the size of its text in bytes.
    pub fn size(&self) -> usize {
        const VALUE_BYTES: usize = 4;
        match self {
            Json::Text(text) => text.len() + VALUE_BYTES,
            Json::Array(entries) => VALUE_BYTES + entries.iter().map(Json::size).sum::<usize>(),
            Json::Object(members) => {
                let size = |(name, value): &(Cow<'_, str>, Json<'_>)| name.len() + VALUE_BYTES + value.size();
                VALUE_BYTES + members.iter().map(size).sum::<usize>()
            }
            _ => VALUE_BYTES,
        }
    }

    /// Returns the name of its type, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) | Json::Uint(_) | Json::Float(_) => "a number",
            Json::Text(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// Appends the value as compact JSON.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Int(number) => out.push_str(itoa::Buffer::new().format(*number)),
            Json::Uint(number) => out.push_str(itoa::Buffer::new().format(*number)),
            Json::Float(number) => write_float(out, *number),
            Json::Text(text) => write_text(out, text),
            Json::Array(entries) => {
                out.push('[');
                for (position, entry) in entries.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    entry.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (position, (name, value)) in members.iter().enumerate() {
                    if position > 0 {
                        out.push(',');
                    }
                    write_text(out, name);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Returns the value as compact JSON.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Appends a finite number as JSON.
pub fn write_float(out: &mut String, number: f64) {
    let text =
        serde_json::Number::from_f64(number).expect("JSON text holds finite numbers alone").to_string();
    out.push_str(&text);
}

/// Appends text as a JSON string.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(HEX[usize::from(byte >> 4)].into());
                out.push(HEX[usize::from(byte & 15)].into());
            }
        }
    }
    out.push_str(&text[written..]);
    out.push('"');
}

/// Frees unused capacity: a body that consists of lists with one entry would otherwise take forty times its size.
fn shrink<T>(list: &mut Vec<T>) {
    if list.len() == 1 {
        list.shrink_to_fit();
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(number).map_or(Json::Uint(number), Json::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        shrink(&mut list);
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some((Name(name), value)) = members.next_entry()? {
            list.push((name, value));
        }
        shrink(&mut list);
        Ok(Json::Object(list))
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The name of a member, borrowed if it has no escapes.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "null",
            "[true,false,-9223372036854775808,18446744073709551615,0.1,1e300]",
            r#"{"b":1,"a":{"ü":"a\"b\\c\nd\te\u0001f"},"":[]}"#,
            "-0.0",
            "5.0",
        ] {
            let written = Json::parse(text).unwrap().to_text();
            let again: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap(), "{written}");
            assert_eq!(Json::parse(&written).unwrap().to_text(), written);
        }
    }

    #[test]
    fn text_is_borrowed_where_it_has_no_escapes() {
        let Json::Object(members) = Json::parse(r#"{"a":"b","c":"\n"}"#).unwrap() else { panic!() };
        assert!(matches!(members[0].1, Json::Text(Cow::Borrowed("b"))));
        assert!(matches!(members[1].1, Json::Text(Cow::Owned(_))));
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        let deep = "[".repeat(200);
        for text in ["1e999", "[1,]", "{\"a\":1", "\"\\ud800\"", deep.as_str(), "nul", "NaN"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert!(Json::parse_bytes(b"\"\xff\"").is_err());
    }
}
