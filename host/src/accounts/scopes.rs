//! The scopes of application tokens: parsed from requests, checked against the scope that a route needs. It never knows
//! which scopes exist: each route names its own.

use std::sync::Arc;

/// The maximum number of scopes of a token.
pub const SCOPES_MAX: usize = 100;

/// The longest scope in bytes.
pub const SCOPE_BYTES_MAX: usize = 200;

/// The scopes of an application token, as text separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Arc<str>);

impl Scopes {
    /// Validates scopes.
    ///
    /// # Errors
    /// A message about the first invalid scope.
    pub fn new<S: AsRef<str>>(scopes: &[S]) -> Result<Scopes, String> {
        if scopes.len() > SCOPES_MAX {
            return Err(format!("a token has at most {SCOPES_MAX} scopes"));
        }
        let mut text = String::new();
        for scope in scopes.iter().map(AsRef::as_ref) {
            if !is_scope(scope) {
                let shown: String = scope.chars().take(80).collect();
                return Err(format!(
                    "{shown:?} is not a scope: words of letters, digits, _, - and . with : between them, such as \
                     collections:read or admin:*"
                ));
            }
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(scope);
        }
        Ok(Scopes(text.into()))
    }

    /// Returns the scopes separated by spaces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns an iterator over the scopes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    /// Returns the intersection with `other`. Of two scopes, either one covers the other or they are disjoint.
    pub fn within(&self, other: &Scopes) -> Scopes {
        let narrower = self.iter().filter(|scope| other.covers(scope));
        let wider = other.iter().filter(|scope| self.covers(scope) && !self.iter().any(|own| own == *scope));
        Scopes(narrower.chain(wider).collect::<Vec<_>>().join(" ").into())
    }

    /// Returns whether a token with these scopes may be used for `wanted`.
    pub fn covers(&self, wanted: &str) -> bool {
        tinybase_abi::scopes::covers(&self.0, wanted)
    }
}

fn is_scope(scope: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let (words, last) = scope.rsplit_once(':').map_or((None, scope), |(words, last)| (Some(words), last));
    scope.len() <= SCOPE_BYTES_MAX
        && words.is_none_or(|words| words.split(':').all(word))
        && (last == "*" || word(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_cover_is_the_narrower_of_each_pair() {
        for (one, other, expected) in [
            ("a b", "a:read c", "a:read"),
            ("a:read", "a", "a:read"),
            ("*", "a:read b", "a:read b"),
            ("a:*", "a", "a:*"),
            ("a:* b", "a:* b", "a:* b"),
            ("a:read", "a:write", ""),
            ("", "*", ""),
        ] {
            let read = |text: &str| Scopes::new(&text.split_ascii_whitespace().collect::<Vec<_>>()).unwrap();
            assert_eq!(read(one).within(&read(other)).as_str(), expected, "{one} within {other}");
        }
    }

    #[test]
    fn only_scopes_are_taken() {
        for good in ["*", "admin:*", "collections:read", "functions:call:send-mail", "a:b:c:d", "x.y"] {
            assert!(Scopes::new(&[good]).is_ok(), "{good}");
        }
        let long = "a".repeat(SCOPE_BYTES_MAX + 1);
        for bad in ["", ":", "a:", ":a", "a::b", "a b", "*:a", "a*", "a:*:b", "ä", "a\n", &long] {
            assert!(Scopes::new(&[bad]).is_err(), "{bad:?}");
        }
        assert!(Scopes::new(&vec!["a"; SCOPES_MAX + 1]).is_err());
        assert!(Scopes::new(&["a:read", "b:*"]).unwrap().covers("b:write"));
    }
}
