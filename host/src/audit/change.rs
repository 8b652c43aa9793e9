//! The change in an entry: the fields that differ, truncated if too long. It cannot recognize secrets: the creator of
//! an entry must leave them out.

use serde_json::{Map, Value as Json, json};

/// The maximum length of a change in bytes of JSON.
pub const CHANGE_BYTES_MAX: usize = 64 << 10;

/// The field that marks a truncated change. It contains the full length, and the number of fields left out.
const CUT_MARK: &str = "_cut";

/// The bytes reserved for this mark.
const CUT_MARK_BYTES_MAX: usize = 80;

/// Returns the fields that differ between two objects, each with `from` and `to`; `null` stands for a missing field.
pub fn changed(before: &Map<String, Json>, after: &Map<String, Json>) -> Json {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let value = |side: &Map<String, Json>, name: &str| side.get(name).cloned().unwrap_or(Json::Null);
    let differ = names.filter_map(|name| {
        let (from, to) = (value(before, name), value(after, name));
        (from != to).then(|| (name.clone(), json!({"from": from, "to": to})))
    });
    Json::Object(differ.collect())
}

/// Returns a change in its stored form; fields that do not fit are left out entirely.
pub(super) fn written(change: &Json) -> String {
    let text = change.to_string();
    if text.len() <= CHANGE_BYTES_MAX {
        return text;
    }
    let mut kept = Map::new();
    let mut left = CHANGE_BYTES_MAX - CUT_MARK_BYTES_MAX;
    let fields = change.as_object().into_iter().flatten();
    let mut left_out = 0_usize;
    for (name, value) in fields {
        // Quotes, colon and comma. A name is rarely longer as JSON than as text, but it can be.
        let bytes = json!(name).to_string().len() + value.to_string().len() + 2;
        if bytes <= left {
            left -= bytes;
            kept.insert(name.clone(), value.clone());
        } else {
            left_out += 1;
        }
    }
    kept.insert(CUT_MARK.to_owned(), json!({"bytes": text.len(), "fields": left_out}));
    Json::Object(kept).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let object = |value: Json| value.as_object().unwrap().clone();
        let before = object(json!({"role": "user", "email": "a@b.c", "gone": 1}));
        let after = object(json!({"role": "admin", "email": "a@b.c", "new": [2]}));
        let expected = json!({
            "role": {"from": "user", "to": "admin"},
            "gone": {"from": 1, "to": null},
            "new": {"from": null, "to": [2]},
        });
        assert_eq!(changed(&before, &after), expected);
    }
    #[test]
    fn a_long_change_is_cut_field_by_field_and_says_so() {
        let long = "x".repeat(CHANGE_BYTES_MAX);
        let within = json!({"a": "\n".repeat(1000), "b": 1});
        assert_eq!(written(&within), within.to_string());
        let whole = json!({"a": {"from": null, "to": long}, "b": {"from": 1, "to": 2}});
        let bytes = whole.to_string().len();
        let expected = format!(r#"{{"b":{{"from":1,"to":2}},"_cut":{{"bytes":{bytes},"fields":1}}}}"#);
        assert_eq!(written(&whole), expected);
        let many = (0..20_000).map(|number| (format!("field \"{number}"), json!(number))).collect();
        let cut = written(&Json::Object(many));
        assert!((CHANGE_BYTES_MAX - 200..=CHANGE_BYTES_MAX).contains(&cut.len()), "{}", cut.len());
        let read: Map<String, Json> = serde_json::from_str(&cut).unwrap();
        assert_eq!(read["_cut"]["fields"], 20_000 - (read.len() as u64 - 1));
        assert!(written(&json!(long)).starts_with(r#"{"_cut":{"bytes":"#));
    }
}
