//! The rules for the content of records. It only reads JSON.

use tinybase_plugin_api::prelude::*;

/// Rejects a record whose text contains a forbidden word, at any depth and ignoring case.
pub(crate) fn check_words(record: &Json, forbidden: &[String]) -> Result<()> {
    let forbidden: Vec<_> = forbidden.iter().map(|word| word.to_lowercase()).collect();
    // An explicit stack, since records may be nested deeply.
    let mut left = vec![record];
    while let Some(value) = left.pop() {
        match value {
            Json::String(text) => check_text(&text.to_lowercase(), &forbidden)?,
            Json::Array(items) => left.extend(items),
            Json::Object(fields) => left.extend(fields.values()),
            _ => {}
        }
    }
    Ok(())
}

fn check_text(text: &str, forbidden: &[String]) -> Result<()> {
    match forbidden.iter().find(|word| text.contains(word.as_str())) {
        Some(word) => {
            Err(Error::bad_request("forbidden_word", format!("the record holds the forbidden word «{word}»")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_however_deep_and_in_values_alone() {
        let forbidden = ["Secret".to_owned()];
        for (record, is_refused) in [
            (json!({"title": "a secret plan"}), true),
            (json!({"a": [1, {"b": ["x", "SECRET"]}]}), true),
            (json!({"secret": "harmless"}), false),
            (json!(null), false),
        ] {
            assert_eq!(check_words(&record, &forbidden).is_err(), is_refused, "{record}");
        }
        assert!(check_words(&json!("secret"), &[]).is_ok());
    }
}
