//! The options of a collection. This module parses them and applies none.

use std::borrow::Cow;

use crate::{
    access::{Action, Rules},
    fault::{Faults, did_you_mean},
    json::Json,
    limits,
    schema::{Schema, UnknownFields},
};

/// A collection's options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who may do what.
    pub rules: Rules,
    /// What happens to fields that are not in the schema.
    pub unknown_fields: UnknownFields,
    text: String,
}

const KEYS: [&str; 2] = ["access", "unknown_fields"];

impl Options {
    /// Parses options; null means none. Errors go to `faults`.
    pub fn parse(options: &Json<'_>, schema: &Schema, faults: &mut Faults) -> Options {
        let mut read = Options { text: "{}".to_owned(), ..Options::default() };
        let Some(members) = options.as_object() else {
            if *options != Json::Null {
                faults.push("options", format!("must be an object, is {}", options.kind()));
            }
            return read;
        };
        for (name, value) in members {
            match (&**name, value) {
                (_, Json::Null) if KEYS.contains(&&**name) => {}
                ("access", access) => read.rules = Rules::parse(access, schema, faults),
                ("unknown_fields", Json::Text(text)) if text == "reject" => {}
                ("unknown_fields", Json::Text(text)) if text == "drop" => {
                    read.unknown_fields = UnknownFields::Drop
                }
                ("unknown_fields", _) => faults.push("options.unknown_fields", "must be reject or drop"),
                (name, _) => {
                    let hint = did_you_mean(name, KEYS.into_iter());
                    let message = format!("is not an option; there are access and unknown_fields{hint}");
                    faults.push_unknown("options", name, message);
                }
            }
        }
        read.text = options.to_text();
        if read.text.len() > limits::OPTIONS_BYTES_MAX {
            faults.push("options", format!("must have at most {} bytes as JSON", limits::OPTIONS_BYTES_MAX));
        }
        read
    }

    /// Merges a change into the options. An option or rule that the change does not name keeps its value; null resets
    /// one to its default.
    pub fn merged<'a>(before: &Json<'a>, change: &Json<'a>) -> Json<'a> {
        let mut options = Members::of(before);
        for (name, value) in change.as_object().unwrap_or_default() {
            let value = match (&**name, value) {
                ("access", Json::Object(rules)) => {
                    let mut access = Members::of(options.get("access").unwrap_or(&Json::Null));
                    let known = Action::ALL.map(Action::name);
                    rules.iter().for_each(|(name, rule)| access.put(name.clone(), rule, &known));
                    &Json::Object(access.0)
                }
                (_, value) => value,
            };
            options.put(name.clone(), value, &KEYS);
        }
        if change.as_object().is_some() { Json::Object(options.0) } else { change.clone() }
    }

    /// Returns the options as they are stored and returned: the client's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The members of an object, each name only once.
struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Members<'a> {
    /// The last of duplicate names wins, as it does when options are parsed.
    fn of(object: &Json<'a>) -> Members<'a> {
        let mut members = Members(Vec::new());
        object
            .as_object()
            .unwrap_or_default()
            .iter()
            .for_each(|(name, value)| members.put(name.clone(), value, &[]));
        members
    }

    fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Null removes a name if it is one of `known`. Any other name stays, so that validation refuses it.
    fn put(&mut self, name: Cow<'a, str>, value: &Json<'a>, known: &[&str]) {
        if *value == Json::Null && known.contains(&&*name) {
            self.0.retain(|(other, _)| *other != name);
            return;
        }
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, before)) => *before = value.clone(),
            None => self.0.push((name, value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_options_changes_what_it_names() {
        let before = r#"{"access":{"list":"admin","read":"owner"},"unknown_fields":"drop"}"#;
        for (before, change, expected) in [
            (before, "{}", before),
            (
                before,
                r#"{"access":{"create":"admin"}}"#,
                r#"{"access":{"list":"admin","read":"owner","create":"admin"},"unknown_fields":"drop"}"#,
            ),
            (
                before,
                r#"{"access":{"list":"auth","read":null}}"#,
                r#"{"access":{"list":"auth"},"unknown_fields":"drop"}"#,
            ),
            (before, r#"{"access":null}"#, r#"{"unknown_fields":"drop"}"#),
            (before, r#"{"unknown_fields":null}"#, r#"{"access":{"list":"admin","read":"owner"}}"#),
            (
                before,
                r#"{"unknown_fields":"reject"}"#,
                r#"{"access":{"list":"admin","read":"owner"},"unknown_fields":"reject"}"#,
            ),
            (
                r#"{"access":{"list":"admin"},"access":{"read":"auth"}}"#,
                r#"{"access":{"create":"admin"},"access":{"delete":"admin"}}"#,
                r#"{"access":{"read":"auth","create":"admin","delete":"admin"}}"#,
            ),
            // An unknown option is left for the parser to refuse.
            ("{}", r#"{"acess":null,"access":{"reads":null}}"#, r#"{"acess":null,"access":{"reads":null}}"#),
            ("{}", "7", "7"),
            ("{}", r#"{"access":7}"#, r#"{"access":7}"#),
        ] {
            let merged = Options::merged(&Json::parse(before).unwrap(), &Json::parse(change).unwrap());
            assert_eq!(merged.to_text(), expected, "{before} and {change}");
        }
    }
}
