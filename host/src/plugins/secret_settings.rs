//! Extension settings marked `writeOnly` in the schema: encrypted before they are stored, and decrypted only
//! for the extension. Never decides which values are allowed.

use serde_json::{Map, Value as Json, json};

use super::settings_schema::is_secret;
use crate::secrets::{Vault, VaultError};

/// The only key of the object in which an encrypted value is stored.
const SEALED: &str = "$sealed";

fn purpose(extension: &str, name: &str) -> String {
    format!("ext.{extension}.{name}")
}

/// Returns the changes in the form in which they are stored. A null, which resets a setting to its default,
/// is kept.
pub fn seal(
    vault: &Vault,
    extension: &str,
    schema: &Json,
    mut changes: Map<String, Json>,
) -> Map<String, Json> {
    for (name, value) in &mut changes {
        if is_secret(schema, name) && !value.is_null() {
            let sealed = vault.seal(&purpose(extension, name), value.to_string().as_bytes());
            *value = json!({SEALED: sealed});
        }
    }
    changes
}

/// Decrypts the stored values, including those stored before the schema marked them and those it no longer
/// marks.
///
/// # Errors
/// The setting that cannot be decrypted, and why.
pub fn open(
    vault: &Vault,
    extension: &str,
    schema: &Json,
    mut stored: Map<String, Json>,
) -> Result<Map<String, Json>, String> {
    for (name, value) in &mut stored {
        let Some(sealed) = sealed_text(value) else { continue };
        match vault.open(&purpose(extension, name), sealed) {
            Ok(plain) => *value = serde_json::from_slice(&plain).unwrap_or(Json::Null),
            // A plain setting may contain any object, even one that looks encrypted.
            Err(VaultError::Damaged) if !is_secret(schema, name) => {}
            Err(error) => return Err(format!("the setting {name} of the extension {extension}: {error}")),
        }
    }
    Ok(stored)
}

fn sealed_text(value: &Json) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get(SEALED)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
    }

    fn object(value: Json) -> Map<String, Json> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_marked_is_stored_sealed_and_opens_again() {
        let (vault, schema) = (vault(), json!({"properties": {"key": {"writeOnly": true}, "days": {}}}));
        let plain = object(json!({"key": {"id": "secret"}, "days": 3}));
        let stored = seal(&vault, "door", &schema, plain.clone());
        assert!(!format!("{stored:?}").contains("secret") && stored["days"] == 3, "{stored:?}");
        assert_eq!(open(&vault, "door", &schema, stored.clone()).unwrap(), plain);
        assert_eq!(open(&vault, "door", &json!({}), stored.clone()).unwrap(), plain, "marked no more");
        assert_eq!(
            open(&vault, "door", &schema, plain.clone()).unwrap(),
            plain,
            "stored before it was marked"
        );
        assert!(open(&vault, "other", &schema, stored.clone()).is_err(), "another extension opens it");
        let told = open(&self::vault(), "door", &schema, stored).unwrap_err();
        assert!(told.contains("setting key") && told.contains("another key"), "{told}");
        let null = object(json!({"key": null}));
        assert_eq!(seal(&vault, "door", &schema, null.clone()), null);
    }

    #[test]
    fn an_open_setting_may_look_sealed() {
        let odd = object(json!({"days": {SEALED: "x"}}));
        assert_eq!(open(&vault(), "door", &json!({}), odd.clone()).unwrap(), odd);
    }
}
