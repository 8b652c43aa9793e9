//! A text that is never shown: a password hash, a token, a secret of the configuration. It is serialized for responses
//! to its owner, but never in debug output.

use serde::{Serialize, Serializer};

/// A text that no log and no error message shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() { "Secret(unset)" } else { "Secret(set)" })
    }
}

/// Serializes the text itself, for a response to its owner.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_answered_and_never_debugged() {
        let secret = Secret::from("hush".to_owned());
        assert_eq!((format!("{secret:?}"), secret.reveal()), ("Secret(set)".to_owned(), "hush"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"hush\"");
        assert_eq!(format!("{:?}", Secret::default()), "Secret(unset)");
    }
}
