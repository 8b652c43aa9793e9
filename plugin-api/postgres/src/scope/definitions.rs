//! Checks statements that change the schema, word by word. Each name of a table, index, trigger or function must be the
//! extension's own, no word may be one of the host's names, and the query of a view or a new table is checked like any
//! other query.

use sqlparser::tokenizer::{Token, Word};

use super::{
    StatementKind,
    bodies::{Body, Place},
    names::{NOTE_CHANGE, Owner, USERS, is_of_the_host},
    queries,
};
use crate::StatementError;

/// The kinds of objects that an extension may create, change and drop.
pub(super) const OBJECTS: [&str; 7] =
    ["TABLE", "INDEX", "VIEW", "TRIGGER", "FUNCTION", "AGGREGATE", "SEQUENCE"];
/// The kinds of objects that it may alter.
const ALTERED: [&str; 4] = ["TABLE", "INDEX", "VIEW", "SEQUENCE"];
/// Words between the verb and the kind of object.
const BETWEEN: [&str; 9] =
    ["OR", "REPLACE", "UNIQUE", "UNLOGGED", "CONSTRAINT", "MATERIALIZED", "IN", "ONLY", "CONCURRENTLY"];
/// Words that reach outside the extension: other rights, schemas, sessions or tables.
const REFUSED: [&str; 24] = [
    "SECURITY",
    "OWNER",
    "OWNED",
    "SCHEMA",
    "ROLE",
    "SESSION",
    "SEARCH_PATH",
    "AUTHORIZATION",
    "GRANT",
    "REVOKE",
    "COPY",
    "TABLESPACE",
    "EXTENSION",
    "POLICY",
    "RULE",
    "INHERITS",
    "INHERIT",
    "ATTACH",
    "ATOMIC",
    "LEAKPROOF",
    "SUPPORT",
    "TRANSFORM",
    "SORTOP",
    "TRUSTED",
];
/// The functions of an aggregate, named after `=`.
const OF_AGGREGATES: [&str; 8] =
    ["SFUNC", "FINALFUNC", "COMBINEFUNC", "SERIALFUNC", "DESERIALFUNC", "MSFUNC", "MINVFUNC", "MFINALFUNC"];

/// Checks one statement.
pub(super) fn check(owner: &Owner, tokens: &[Token]) -> Result<(), StatementError> {
    let object = tokens[1..].iter().find_map(|token| match word(token) {
        Some(between) if BETWEEN.contains(&between.as_str()) => None,
        other => Some(other.unwrap_or_default()),
    });
    let object = object.unwrap_or_default();
    let verb = word(&tokens[0]).unwrap_or_default();
    let known = if verb == "ALTER" { &ALTERED[..] } else { &OBJECTS[..] };
    if verb != "LOCK" && !known.contains(&object.as_str()) {
        return Err(owner.denied(&format!("{verb} {object}")));
    }
    let query = match object.as_str() {
        "VIEW" | "TABLE" if verb == "CREATE" => query_within(tokens),
        _ => None,
    };
    let (head, query) = tokens.split_at(query.unwrap_or(tokens.len()));
    let definition = Definition { owner, tokens: head, verb: &verb, object: &object };
    definition.run()?;
    match query {
        [] => Ok(()),
        // Without the `AS` itself.
        [_, query @ ..] => match queries::check(owner, query)? {
            StatementKind::Read => Ok(()),
            StatementKind::Change => Err(owner.denied("a change within a definition")),
        },
    }
}

/// Returns where the query of a view or a table begins: the `AS` outside all parentheses.
fn query_within(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && word(token).as_deref() == Some("AS")
    })
}

/// Returns an unquoted word in upper case.
pub(super) fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_uppercase()),
        _ => None,
    }
}

/// Returns a name as the server folds it.
pub(super) fn name(token: &Token) -> Option<String> {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_lowercase()),
        Token::Word(Word { value, .. }) => Some(value.clone()),
        _ => None,
    }
}

struct Definition<'a> {
    owner: &'a Owner,
    tokens: &'a [Token],
    verb: &'a str,
    object: &'a str,
}

impl Definition<'_> {
    fn place(&self, at: usize) -> Place<'_> {
        Place { owner: self.owner, tokens: self.tokens, at }
    }

    fn run(&self) -> Result<(), StatementError> {
        if matches!(self.verb, "DROP" | "LOCK") {
            self.list()?;
        }
        if self.object == "TRIGGER" && self.has("CONSTRAINT") && !self.has("TB_NOTE_CHANGE") {
            // It may run at the end of the transaction, with the rights of the user who ends it.
            return Err(self.owner.denied("a constraint trigger with a function of its own"));
        }
        if self.object == "FUNCTION" && self.verb == "CREATE" && self.has("SET") {
            return Err(self.owner.denied("a function with settings of its own"));
        }
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::DollarQuotedString(body) => Body::check(self.owner, &body.value)?,
                Token::SingleQuotedString(body) if self.place(at).before() == "AS" => {
                    Body::check(self.owner, body)?;
                }
                Token::Word(_) => self.at_word(at)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn has(&self, wanted: &str) -> bool {
        self.tokens.iter().any(|token| word(token).as_deref() == Some(wanted))
    }

    /// Checks each name of a list, such as several dropped objects.
    fn list(&self) -> Result<(), StatementError> {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Comma if depth == 0 => self.place(at + 1).own_name()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn at_word(&self, at: usize) -> Result<(), StatementError> {
        let place = self.place(at);
        let (word, before, next) = (place.word(), place.before(), place.next());
        if REFUSED.contains(&word.as_str()) && !place.is_column() {
            return Err(self.owner.denied(&word));
        }
        self.refuse_host(&place, &before)?;
        // After these, a name with a list in parentheses is a table, or is checked below.
        let is_named = matches!(before.as_str(), "REFERENCES" | "FUNCTION" | "PROCEDURE" | "AGGREGATE");
        if !is_named {
            place.called()?;
        }
        match word.as_str() {
            "EXECUTE" if matches!(next.as_str(), "FUNCTION" | "PROCEDURE") => {
                self.place(at + 2).trigger_function()
            }
            "EXECUTE" => Err(self.owner.denied("EXECUTE, which runs text as SQL")),
            "FUNCTION" | "PROCEDURE" if before == "EXECUTE" => Ok(()),
            "TABLE" if matches!(before.as_str(), "NEW" | "OLD" | "RETURNS") => Ok(()),
            "TRIGGER" if before == "RETURNS" => Ok(()),
            "LANGUAGE" if !matches!(next.as_str(), "SQL" | "PLPGSQL") && !place.is_column() => {
                Err(self.owner.denied("this language"))
            }
            // `(LIKE other)`, `OF type`, `PARTITION OF other`: columns of another table or type.
            "LIKE" if self.object == "TABLE" && place.begins_a_column() => Err(self.owner.denied("LIKE")),
            "OF" if self.object == "TABLE" => Err(self.owner.denied("OF")),
            "RETURN" => Err(self.owner.denied("RETURN in place of a body")),
            "INDEX" if next == "ON" => Ok(()),
            "TRIGGER" => self.place(at + 1).trigger_name(),
            kind if OBJECTS.contains(&kind) && !place.is_column() => self.place(at + 1).own_name(),
            "LOCK" if next != "TABLE" => self.place(at + 1).own_name(),
            "REFERENCES" => self.place(at + 1).referable(),
            "TO" if before == "RENAME" => self.place(at + 1).own_name(),
            "ON" if !matches!(next.as_str(), "DELETE" | "UPDATE" | "COMMIT" | "CONFLICT") => {
                self.place(at + 1).own_name()
            }
            // Queries of definitions were split off before, so no other may remain.
            "FROM" if before == "DISTINCT" => Ok(()),
            "FROM" | "JOIN" | "SELECT" => Err(self.owner.denied("a query within a definition")),
            function if OF_AGGREGATES.contains(&function) => self.place(at + 2).function_name(),
            _ => Ok(()),
        }
    }

    /// Rejects names of the host or the server, except where they may be referenced.
    fn refuse_host(&self, place: &Place<'_>, before: &str) -> Result<(), StatementError> {
        let Some(name) = place.name().filter(|name| is_of_the_host(name)) else { return Ok(()) };
        let is_known = (name == USERS && before == "REFERENCES")
            || (name == NOTE_CHANGE && matches!(before, "FUNCTION" | "PROCEDURE"));
        if is_known && self.verb != "DROP" || place.is_call_of_catalogs() {
            Ok(())
        } else {
            Err(self.owner.denied(&name))
        }
    }
}
