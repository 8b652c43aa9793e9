//! Access rules: who may list, read, create, update and delete records. It decides, and never refuses a request itself.

use std::fmt;

use crate::{
    fault::{Faults, did_you_mean},
    filter::{Context, Filter, Record, SqlWriter, Writer},
    json::Json,
    limits,
    schema::Schema,
};

/// The caller of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caller<'a> {
    /// The user's id; `None` for an anonymous caller.
    pub id: Option<&'a str>,
    /// The user's email address.
    pub email: Option<&'a str>,
    /// Whether the user passes every rule.
    pub is_admin: bool,
}

/// An action that a rule governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Listing many records, including aggregates.
    List,
    /// Reading one record.
    Read,
    /// Creating a record.
    Create,
    /// Updating a record.
    Update,
    /// Deleting a record.
    Delete,
}

impl Action {
    /// Every action, in the order of the contract.
    pub const ALL: [Action; 5] = [Action::List, Action::Read, Action::Create, Action::Update, Action::Delete];

    /// Returns its name in `options.access` and in `@request.action`.
    pub fn name(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::Read => "read",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }

    /// Returns the status for refusing an anonymous caller. A signed-in caller is refused with 403.
    pub fn anonymous_status(self) -> u16 {
        match self {
            Action::List | Action::Read => 403,
            Action::Create | Action::Update | Action::Delete => 401,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Anyone.
    Public,
    /// Any signed-in user.
    Auth,
    /// The user who created the record; on create, any signed-in user.
    Owner,
    /// Admins only.
    Admin,
    /// Callers for whom an expression is true.
    Expression(Filter),
}

/// The result of a rule before a record is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, whatever the record.
    Allow,
    /// Denied, whatever the record.
    Deny,
    /// Depends on the record: use [`Rule::allows`], or filter by [`Rule::write_sql`].
    Depends,
}

impl Rule {
    /// Returns the verdict that follows from the caller alone.
    pub fn verdict(&self, action: Action, caller: &Caller<'_>) -> Verdict {
        let allowed = match self {
            _ if caller.is_admin => true,
            Rule::Public => true,
            Rule::Auth => caller.id.is_some(),
            Rule::Admin => false,
            Rule::Owner if caller.id.is_none() => false,
            Rule::Owner if action == Action::Create => true,
            Rule::Owner | Rule::Expression(_) => return Verdict::Depends,
        };
        if allowed { Verdict::Allow } else { Verdict::Deny }
    }

    /// Returns whether the rule allows the caller to act on this record.
    pub fn allows(&self, action: Action, record: &Record<'_>, context: &Context<'_>) -> bool {
        match (self.verdict(action, context.caller), self) {
            (Verdict::Allow, _) => true,
            (Verdict::Deny, _) => false,
            (Verdict::Depends, Rule::Expression(filter)) => filter.holds(record, context) == Some(true),
            (Verdict::Depends, _) => record.owner_id.is_some() && record.owner_id == context.caller.id,
        }
    }

    /// Returns the names of the fields that the rule reads from the data in a request.
    pub fn names_of_given_data(&self) -> Vec<&str> {
        match self {
            Rule::Expression(filter) => filter.names_of_given_data(),
            _ => Vec::new(),
        }
    }

    /// Returns whether the verdict is the same for every record, because the rule only depends on the caller.
    pub fn is_about_caller(&self) -> bool {
        match self {
            Rule::Expression(filter) => !filter.names_places(),
            Rule::Owner => false,
            Rule::Public | Rule::Auth | Rule::Admin => true,
        }
    }

    /// Appends the rule as an SQL condition on records. Useful when the verdict depends on the record.
    pub fn write_sql(&self, out: &mut SqlWriter, context: &Context<'_>) {
        match self {
            Rule::Expression(filter) => filter.write_sql(out, context),
            _ => {
                let id = context.caller.id.unwrap_or_default().to_owned();
                out.push("(owner_id = ");
                out.push_bound(crate::sql_value::SqlValue::Text(id));
                out.push(")");
            }
        }
    }
}

/// The five rules of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    rules: [Rule; 5],
}

impl Default for Rules {
    /// public, public, auth, owner, owner
    fn default() -> Rules {
        Rules { rules: [Rule::Public, Rule::Public, Rule::Auth, Rule::Owner, Rule::Owner] }
    }
}

impl Rules {
    /// Returns the rule of an action.
    pub fn of(&self, action: Action) -> &Rule {
        &self.rules[action as usize]
    }

    /// Parses `options.access`; errors go to `faults`.
    pub fn parse(access: &Json<'_>, schema: &Schema, faults: &mut Faults) -> Rules {
        let mut rules = Rules::default();
        let Some(members) = access.as_object() else {
            faults.push("options.access", format!("must be an object, is {}", access.kind()));
            return rules;
        };
        for (name, value) in members {
            let Some(action) = Action::ALL.into_iter().find(|action| action.name() == name) else {
                let hint = did_you_mean(name, Action::ALL.into_iter().map(Action::name));
                let message = format!("is not an action; there are list, read, create, update, delete{hint}");
                faults.push_unknown("options.access", name, message);
                continue;
            };
            let path = format!("options.access.{action}");
            match value {
                Json::Null => {}
                Json::Text(text) => match rule(text, schema) {
                    Ok(rule) => rules.rules[action as usize] = rule,
                    Err(message) => {
                        // A stored rule that is no longer valid must not open what it closed.
                        rules.rules[action as usize] = Rule::Admin;
                        faults.push(path, message);
                    }
                },
                other => faults.push(path, format!("must be a string, is {}", other.kind())),
            }
        }
        rules
    }
}

fn rule(text: &str, schema: &Schema) -> Result<Rule, String> {
    Ok(match text {
        "public" => Rule::Public,
        "auth" => Rule::Auth,
        "owner" => Rule::Owner,
        "admin" => Rule::Admin,
        _ if text.len() > limits::OPTIONS_BYTES_MAX => return Err("is too long".to_owned()),
        _ => {
            let filter = Filter::parse(text, schema, Writer::Author).map_err(|error| {
                format!("must be public, auth, owner, admin or an expression; as an expression, {error}")
            })?;
            Rule::Expression(filter)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let text = r#"{"fields":[{"name":"public_until","type":"date"},{"name":"state","type":"string"}]}"#;
        Schema::parse(&Json::parse(text).unwrap()).unwrap()
    }

    fn allowed(rule_text: &str, action: Action, caller: &Caller<'_>, data: &str) -> bool {
        let (rule, data) = (rule(rule_text, &schema()).unwrap(), Json::parse(data).unwrap());
        let given = Json::parse(r#"{"state":"new"}"#).unwrap();
        let (now, method) = ("2026-11-23T00:00:00.000000Z", "PATCH");
        let context = Context { caller, now, method, action: action.name(), data: Some(&given) };
        let record = Record { id: "r", owner_id: Some("u1"), created_at: now, updated_at: now, data: &data };
        rule.allows(action, &record, &context)
    }

    #[test]
    fn rules_decide_by_caller_action_and_record() {
        let anonymous = Caller::default();
        let user = |id, email| Caller { id: Some(id), email: Some(email), is_admin: false };
        let admin = Caller { is_admin: true, ..user("a", "a@x.org") };
        let (owner, other) = (user("u1", "u1@x.org"), user("u2", "u2@x.org"));
        let data = r#"{"state":"draft","public_until":"2026-12-01"}"#;
        for (text, action, expected) in [
            // anonymous, other, owner, admin
            ("public", Action::Read, [true, true, true, true]),
            ("auth", Action::Update, [false, true, true, true]),
            ("owner", Action::Update, [false, false, true, true]),
            ("owner", Action::Create, [false, true, true, true]),
            ("admin", Action::List, [false, false, false, true]),
            ("public_until > @now", Action::Read, [true, true, true, true]),
            ("state = 'live' or owner_id = @me", Action::Read, [false, false, true, true]),
            ("@me is not null and @request.data.state = 'new'", Action::Update, [false, true, true, true]),
            ("@request.action = 'delete'", Action::Update, [false, false, false, true]),
            (
                "@me.email like '%@x.org' and @request.method = 'PATCH'",
                Action::Update,
                [false, true, true, true],
            ),
        ] {
            let found =
                [&anonymous, &other, &owner, &admin].map(|caller| allowed(text, action, caller, data));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn faults_name_the_rule_and_defaults_are_the_contracts() {
        let mut faults = Faults::default();
        let text = r#"{"list":"owner","reads":"public","update":7,"delete":"state = ","create":null}"#;
        let rules = Rules::parse(&Json::parse(text).unwrap(), &schema(), &mut faults);
        let faults: Vec<String> = faults.list().iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(
            faults[0].contains("options.access.reads") && faults[0].contains("did you mean read?"),
            "{faults:?}"
        );
        assert_eq!(faults[1], "options.access.update: must be a string, is a number");
        assert!(faults[2].contains("at character 9: expected a field, a value"), "{faults:?}");
        assert_eq!(*rules.of(Action::List), Rule::Owner);
        assert_eq!(*rules.of(Action::Create), Rule::Auth);
    }
}
