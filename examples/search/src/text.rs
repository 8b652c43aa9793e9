//! The indexed texts of a record, and the digest that detects changes of them. It is independent of the engine.

use sha2::{Digest, Sha256};
use tinybase_plugin_api::prelude::*;

use crate::{definition::Field, limits::FIELD_BYTES_MAX};

/// Marks the start of a found word. Indexed texts contain no control characters.
pub const FOUND: char = '\u{2}';
/// Marks the end of a found word.
pub const FOUND_END: char = '\u{3}';

/// Returns the indexed texts of a record, one per field.
pub fn of_record(data: &Json, fields: &[Field]) -> Vec<String> {
    fields.iter().map(|field| of_value(&data[&field.name])).collect()
}

/// Joins the texts and numbers of a value, at any depth.
fn of_value(value: &Json) -> String {
    let mut out = String::new();
    // An explicit stack, since records may be nested deeply.
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Json::String(text) => push(&mut out, text),
            Json::Number(number) => push(&mut out, &number.to_string()),
            Json::Array(entries) => left.extend(entries.iter().rev()),
            Json::Object(members) => left.extend(members.values().rev()),
            Json::Null | Json::Bool(_) => {}
        }
        if out.len() >= FIELD_BYTES_MAX {
            break;
        }
    }
    out.truncate(out.floor_char_boundary(FIELD_BYTES_MAX));
    out
}

fn push(out: &mut String, text: &str) {
    if !out.is_empty() {
        out.push(' ');
    }
    let room = FIELD_BYTES_MAX.saturating_sub(out.len());
    let text = &text[..text.floor_char_boundary(room)];
    out.extend(text.chars().map(|char| if char.is_control() { ' ' } else { char }));
}

/// Returns the digest of texts. An index with the same digest was built from exactly these texts.
pub fn digest(texts: &[String]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Formats a snippet for the response: as HTML with `<mark>`, or as plain text.
pub fn snippet(marked: &str, highlight: bool) -> String {
    let mut out = String::with_capacity(marked.len() + 32);
    for char in marked.chars() {
        match char {
            FOUND | FOUND_END if !highlight => {}
            FOUND => out.push_str("<mark>"),
            FOUND_END => out.push_str("</mark>"),
            '&' if highlight => out.push_str("&amp;"),
            '<' if highlight => out.push_str("&lt;"),
            '>' if highlight => out.push_str("&gt;"),
            '"' if highlight => out.push_str("&quot;"),
            '\'' if highlight => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Field {
        Field { name: name.to_owned(), weight: 1.0 }
    }

    #[test]
    fn texts_are_found_however_deep_and_without_control_characters() {
        let data = json!({"a": ["one", {"b": "two\u{0}\u{2}three", "c": [4, null, true, "five"]}], "d": "x"});
        assert_eq!(
            of_record(&data, &[field("a"), field("none"), field("d")]),
            ["one two  three 4 five", "", "x"]
        );
    }

    #[test]
    fn a_long_field_is_cut_between_characters() {
        let long = "ä".repeat(FIELD_BYTES_MAX);
        for text in
            [of_value(&json!(long)), of_value(&json!(["x", long, long])), of_value(&json!([[long], "y"]))]
        {
            assert!(text.len() <= FIELD_BYTES_MAX && text.len() > FIELD_BYTES_MAX - 2, "{}", text.len());
        }
    }

    #[test]
    fn digests_tell_where_one_text_ends() {
        let of = |texts: &[&str]| digest(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&[]).len(), 32);
    }

    #[test]
    fn what_a_record_says_never_becomes_markup() {
        let marked = "a <script> & \u{2}\"word\"\u{3} 'x'";
        assert_eq!(snippet(marked, true), "a &lt;script&gt; &amp; <mark>&quot;word&quot;</mark> &#39;x&#39;");
        assert_eq!(snippet(marked, false), "a <script> & \"word\" 'x'");
    }
}
