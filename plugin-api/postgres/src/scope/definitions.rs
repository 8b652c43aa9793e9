//! Checks statements that change the schema, word by word: each name where a table, index, trigger or function is named
//! must be the extension's own, and so must the tables that the body of a function names.

use std::collections::HashSet;

use sqlparser::tokenizer::{Token, Word};

use super::names::{NOTE_CHANGE, Owner, USERS};
use crate::StatementError;

/// What an extension may make, change and drop.
const OBJECTS: [&str; 7] = ["TABLE", "INDEX", "VIEW", "TRIGGER", "FUNCTION", "AGGREGATE", "SEQUENCE"];
/// Words between the verb and what it is about.
const BETWEEN: [&str; 9] =
    ["OR", "REPLACE", "UNIQUE", "UNLOGGED", "CONSTRAINT", "MATERIALIZED", "IN", "ONLY", "CONCURRENTLY"];
/// Words that lead out of an extension's own: other rights, other schemas, other sessions.
const REFUSED: [&str; 14] = [
    "SECURITY",
    "OWNER",
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
];
/// What may stand between a kind of object and its name.
const BEFORE_NAME: [&str; 5] = ["IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY"];

/// Checks one statement.
pub(super) fn check(owner: &Owner, tokens: &[Token]) -> Result<(), StatementError> {
    let object = tokens[1..].iter().find_map(|token| match word(token) {
        Some(between) if BETWEEN.contains(&between.as_str()) => None,
        other => Some(other.unwrap_or_default()),
    });
    let object = object.unwrap_or_default();
    let is_lock = word(&tokens[0]).as_deref() == Some("LOCK");
    if !is_lock && !OBJECTS.contains(&object.as_str()) {
        return Err(owner.denied(&format!("the definition of {object}")));
    }
    Scan { owner, tokens, declared: declared(tokens), is_body: false }.run()
}

/// An unquoted word in upper case.
fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_uppercase()),
        _ => None,
    }
}

/// A name as the server folds it.
fn name(token: &Token) -> Option<String> {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_lowercase()),
        Token::Word(Word { value, .. }) => Some(value.clone()),
        _ => None,
    }
}

/// Names that the text itself gives to rows: `WITH x AS (`, `NEW TABLE AS x`.
fn declared(tokens: &[Token]) -> HashSet<String> {
    let is_as = |token: &Token| word(token).as_deref() == Some("AS");
    let mut found = HashSet::new();
    for window in tokens.windows(3) {
        if is_as(&window[1]) && window[2] == Token::LParen {
            found.extend(name(&window[0]));
        }
        if word(&window[0]).as_deref() == Some("TABLE") && is_as(&window[1]) {
            found.extend(name(&window[2]));
        }
    }
    found
}

struct Scan<'a> {
    owner: &'a Owner,
    tokens: &'a [Token],
    declared: HashSet<String>,
    /// Whether it is what a function does, in place of a definition.
    is_body: bool,
}

impl Scan<'_> {
    fn word(&self, at: usize) -> String {
        self.tokens.get(at).and_then(word).unwrap_or_default()
    }

    fn before(&self, at: usize) -> String {
        at.checked_sub(1).map(|at| self.word(at)).unwrap_or_default()
    }

    fn run(&self) -> Result<(), StatementError> {
        for (at, token) in self.tokens.iter().enumerate() {
            match token {
                Token::DollarQuotedString(body) => self.body(&body.value)?,
                Token::SingleQuotedString(body) if self.before(at) == "AS" => self.body(body)?,
                Token::Word(_) => self.at_word(at)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn body(&self, text: &str) -> Result<(), StatementError> {
        let tokens = super::tokens(text)?;
        let mut declared = declared(&tokens);
        declared.extend(self.declared.iter().cloned());
        Scan { owner: self.owner, tokens: &tokens, declared, is_body: true }.run()
    }

    fn at_word(&self, at: usize) -> Result<(), StatementError> {
        let (word, before, next) = (self.word(at), self.before(at), self.word(at + 1));
        if REFUSED.contains(&word.as_str()) && !self.is_column(at) {
            return Err(self.owner.denied(&word));
        }
        // Behind these, a name with a list in parentheses is that of a table, or is looked at below.
        let is_named = matches!(before.as_str(), "REFERENCES" | "FUNCTION" | "PROCEDURE");
        if !is_named && self.tokens.get(at + 1) == Some(&Token::LParen) {
            let called = name(&self.tokens[at]).unwrap_or_default();
            self.owner.check_function(&called)?;
        }
        match word.as_str() {
            "EXECUTE" if matches!(next.as_str(), "FUNCTION" | "PROCEDURE") => self.trigger_function(at + 2),
            "EXECUTE" => Err(self.owner.denied("EXECUTE, which runs text as SQL")),
            "FUNCTION" | "PROCEDURE" if before == "EXECUTE" => Ok(()),
            "TABLE" if matches!(before.as_str(), "NEW" | "OLD" | "RETURNS") => Ok(()),
            "TRIGGER" if before == "RETURNS" => Ok(()),
            "LANGUAGE" if !matches!(next.as_str(), "SQL" | "PLPGSQL") && !self.is_column(at) => {
                Err(self.owner.denied("this language"))
            }
            "INDEX" if next == "ON" => Ok(()),
            "TRIGGER" => self.trigger_name(at + 1),
            kind if OBJECTS.contains(&kind) => self.own_name(at + 1, false),
            "LOCK" if next != "TABLE" && !self.is_body => self.own_name(at + 1, false),
            "REFERENCES" => self.own_name(at + 1, true),
            "TO" if before == "RENAME" => self.own_name(at + 1, false),
            "ON" if !self.is_body
                && !matches!(next.as_str(), "DELETE" | "UPDATE" | "COMMIT" | "CONFLICT") =>
            {
                self.own_name(at + 1, false)
            }
            "FROM" if before != "DISTINCT" => self.tables(at + 1),
            "JOIN" => self.tables(at + 1),
            "INTO" if matches!(before.as_str(), "INSERT" | "MERGE") => self.own_name(at + 1, false),
            "UPDATE" if self.is_update(&before, &next) => self.own_name(at + 1, false),
            _ => Ok(()),
        }
    }

    /// Whether a word can be the name of a column alone: in a list, behind a row's name, behind `COLUMN`.
    fn is_column(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map(|before| &self.tokens[before]);
        let in_a_list = matches!(before, Some(Token::LParen | Token::Comma | Token::Period));
        // `ADD COLUMN a TEXT, OWNER TO other` is a list too.
        (in_a_list || self.before(at) == "COLUMN") && self.word(at + 1) != "TO"
    }

    fn is_update(&self, before: &str, next: &str) -> bool {
        self.is_body && !matches!(before, "FOR" | "DO" | "KEY") && !matches!(next, "SET" | "")
    }

    /// A trigger's name in any case: triggers run in the order of their names, where capitals come first. They stand on
    /// tables that are the extension's own.
    fn trigger_name(&self, at: usize) -> Result<(), StatementError> {
        match self.tokens.get(at) {
            Some(Token::Word(Word { value, quote_style: Some(_), .. }))
                if self.owner.owns(&value.to_ascii_lowercase()) =>
            {
                Ok(())
            }
            _ => self.own_name(at, false),
        }
    }

    fn trigger_function(&self, at: usize) -> Result<(), StatementError> {
        match self.tokens.get(at).and_then(name) {
            Some(function) if function == NOTE_CHANGE => Ok(()),
            _ => self.own_name(at, false),
        }
    }

    /// Checks the name at `at`, behind words such as `IF NOT EXISTS`.
    fn own_name(&self, mut at: usize, may_be_users: bool) -> Result<(), StatementError> {
        while BEFORE_NAME.contains(&self.word(at).as_str()) {
            at += 1;
        }
        let found = self.tokens.get(at).and_then(name).unwrap_or_default();
        let is_qualified = self.tokens.get(at + 1) == Some(&Token::Period);
        let allowed = self.owner.owns(&found)
            || (may_be_users && found == USERS)
            || (self.is_body && self.declared.contains(&found));
        if allowed && !is_qualified { Ok(()) } else { Err(self.owner.denied(&found)) }
    }

    /// Checks the tables of a `FROM` from `at` on: names, or calls of functions, with commas between them.
    fn tables(&self, mut at: usize) -> Result<(), StatementError> {
        loop {
            let is_name = matches!(self.tokens.get(at), Some(Token::Word(_))) && self.word(at) != "LATERAL";
            if is_name && self.tokens.get(at + 1) != Some(&Token::LParen) {
                self.own_name(at, false)?;
            }
            // Past the name and what it is called here.
            let comma = (at + 1..at + 4).find(|at| self.tokens.get(*at) == Some(&Token::Comma));
            let Some(comma) = comma.filter(|_| is_name) else { return Ok(()) };
            at = comma + 1;
        }
    }
}
