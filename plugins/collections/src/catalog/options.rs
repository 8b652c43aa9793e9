//! The options of a collection. It reads them, and applies none.

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
    /// What becomes of fields that the schema does not know.
    pub unknown_fields: UnknownFields,
    text: String,
}

const KEYS: [&str; 2] = ["access", "unknown_fields"];

impl Options {
    /// Reads options; null is none. What is wrong with them goes to `faults`.
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

    /// The options after a change, which names what it changes: an option or a rule that it does not name stays, and null takes
    /// one back to its default.
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

    /// The options as they are stored and answered: what the client wrote.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The members of an object, each name once.
struct Members<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Members<'a> {
    /// Of a name that is doubled the last one counts, as it does when options are read.
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

    /// Null takes a name away that is one of `known`. Any other one stays, and is refused for its name.
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
            // What is no option is left for the reader to refuse.
            ("{}", r#"{"acess":null,"access":{"reads":null}}"#, r#"{"acess":null,"access":{"reads":null}}"#),
            ("{}", "7", "7"),
            ("{}", r#"{"access":7}"#, r#"{"access":7}"#),
        ] {
            let merged = Options::merged(&Json::parse(before).unwrap(), &Json::parse(change).unwrap());
            assert_eq!(merged.to_text(), expected, "{before} and {change}");
        }
    }
}
