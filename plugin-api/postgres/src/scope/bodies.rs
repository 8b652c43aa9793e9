//! Checks single positions of a statement that changes the schema, and the bodies of functions. A body may only read
//! and change the extension's own tables, and must not run text as SQL, change settings or create objects.

use std::collections::HashSet;

use sqlparser::tokenizer::{Token, Word};

use super::{
    definitions::{OBJECTS, name, word},
    functions,
    names::{NOTE_CHANGE, Owner, USERS, is_of_the_host},
};
use crate::StatementError;

/// Words allowed between a kind of object and its name.
const BEFORE_NAME: [&str; 5] = ["IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY"];

/// Words before a list in parentheses that are not functions: of SQL, of types, of kinds of indexes.
#[rustfmt::skip]
const NO_FUNCTIONS: &[&str] = &[
    "all", "always", "and", "any", "array", "as", "bigint", "bit", "bpchar", "brin", "btree", "by", "case", "char",
    "character", "check", "conflict", "constraint", "decimal", "default", "do", "double", "else", "elsif", "end", "except",
    "exclude", "exists", "fillfactor", "filter", "float", "float4", "float8", "from", "gin", "gist", "hash", "having", "identity", "if", "immutable", "in",
    "include", "int", "integer", "intersect", "interval", "into", "is", "join", "key", "lateral", "like", "limit", "loop",
    "materialized", "not", "notice", "null", "numeric", "offset", "on", "or", "over", "partition", "precision", "raise",
    "real", "return", "returning", "returns", "row", "select", "set", "smallint", "some", "spgist", "strict", "table", "text", "then",
    "time", "timestamp", "timestamptz", "union", "unique", "update", "using", "values", "varbit", "varchar", "varying",
    "when", "where", "while", "with", "within",
];

/// Words not allowed in a body: each reaches outside it.
const REFUSED_IN_BODIES: [&str; 29] = [
    "ALTER",
    "ATOMIC",
    "CALL",
    "CHECKPOINT",
    "COMMENT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DISCARD",
    "DROP",
    "EXECUTE",
    "GRANT",
    "IMPORT",
    "LISTEN",
    "LOAD",
    "MERGE",
    "NOTIFY",
    "OPEN",
    "PREPARE",
    "REFRESH",
    "REINDEX",
    "RESET",
    "REVOKE",
    "ROLE",
    "SECURITY",
    "SHOW",
    "TRUNCATE",
    "UNLISTEN",
    "VACUUM",
];

/// A position: one token among the others.
pub(super) struct Place<'a> {
    pub(super) owner: &'a Owner,
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
}

impl Place<'_> {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    fn word_at(&self, at: usize) -> String {
        self.token(at).and_then(word).unwrap_or_default()
    }

    pub(super) fn word(&self) -> String {
        self.word_at(self.at)
    }

    pub(super) fn before(&self) -> String {
        self.at.checked_sub(1).map(|at| self.word_at(at)).unwrap_or_default()
    }

    pub(super) fn next(&self) -> String {
        self.word_at(self.at + 1)
    }

    pub(super) fn name(&self) -> Option<String> {
        self.token(self.at).and_then(name)
    }

    fn token_before(&self) -> Option<&Token> {
        self.at.checked_sub(1).and_then(|at| self.token(at))
    }

    /// Returns whether this token begins an entry of a list.
    pub(super) fn begins_a_column(&self) -> bool {
        matches!(self.token_before(), Some(Token::LParen | Token::Comma))
    }

    /// Returns whether a word can only be the name of a column: in a list, after a row's name, or after `COLUMN`.
    pub(super) fn is_column(&self) -> bool {
        let in_a_list = self.begins_a_column() || matches!(self.token_before(), Some(Token::Period));
        // `ADD COLUMN a TEXT, OWNER TO other` is a list too.
        (in_a_list || self.before() == "COLUMN") && self.next() != "TO"
    }

    fn is_called(&self) -> bool {
        self.token(self.at + 1) == Some(&Token::LParen)
    }

    /// Returns whether this is a call of a function that only returns metadata of tables.
    pub(super) fn is_call_of_catalogs(&self) -> bool {
        self.is_called() && self.name().is_some_and(|name| functions::is_allowed(&name))
    }

    /// Checks a name before a list in parentheses: a function, a table of the extension's own, or a word of SQL.
    pub(super) fn called(&self) -> Result<(), StatementError> {
        let Some(called) = self.name().filter(|_| self.is_called()) else { return Ok(()) };
        let is_quoted = matches!(self.token(self.at), Some(Token::Word(Word { quote_style: Some(_), .. })));
        // After `AS` follows a name that is defined here, or a type.
        if self.before() == "AS" && !is_of_the_host(&called) {
            return Ok(());
        }
        if !is_quoted && NO_FUNCTIONS.contains(&called.as_str()) {
            return Ok(());
        }
        if matches!(self.token_before(), Some(Token::Period)) {
            return Err(self.owner.denied(&format!("the function {called} of another schema")));
        }
        self.owner.check_function(&called)
    }

    /// Checks the name here, after words such as `IF NOT EXISTS`.
    pub(super) fn own_name(&self) -> Result<(), StatementError> {
        let at = self.past_words();
        let found = self.token(at).and_then(name).unwrap_or_default();
        let is_qualified = self.token(at + 1) == Some(&Token::Period);
        if self.owner.owns(&found) && !is_qualified { Ok(()) } else { Err(self.owner.denied(&found)) }
    }

    fn past_words(&self) -> usize {
        let mut at = self.at;
        while BEFORE_NAME.contains(&self.word_at(at).as_str()) {
            at += 1;
        }
        at
    }

    /// Checks the table that a foreign key references: the extension's own, or users by their id.
    pub(super) fn referable(&self) -> Result<(), StatementError> {
        if self.name().as_deref() != Some(USERS) {
            return self.own_name();
        }
        match self.token(self.at + 1) {
            Some(Token::Period) => Err(self.owner.denied(USERS)),
            Some(Token::LParen) => {
                let is_id = self.token(self.at + 2).and_then(name).as_deref() == Some("id");
                let is_alone = self.token(self.at + 3) == Some(&Token::RParen);
                if is_id && is_alone { Ok(()) } else { Err(self.owner.denied(USERS)) }
            }
            _ => Ok(()),
        }
    }

    /// Checks a trigger's name, in any case: triggers run in the order of their names, where capitals come first. Their
    /// tables are the extension's own.
    pub(super) fn trigger_name(&self) -> Result<(), StatementError> {
        match self.token(self.past_words()) {
            Some(Token::Word(Word { value, quote_style: Some(_), .. }))
                if self.owner.owns(&value.to_ascii_lowercase()) =>
            {
                Ok(())
            }
            _ => self.own_name(),
        }
    }

    pub(super) fn trigger_function(&self) -> Result<(), StatementError> {
        match self.name() {
            Some(function) if function == NOTE_CHANGE && self.is_called() => Ok(()),
            _ => self.own_name(),
        }
    }

    /// Checks the name of a function that is part of an aggregate.
    pub(super) fn function_name(&self) -> Result<(), StatementError> {
        let function = self.name().unwrap_or_default();
        if self.token(self.at + 1) == Some(&Token::Period) {
            return Err(self.owner.denied(&function));
        }
        self.owner.check_function(&function)
    }
}

/// The body of a function.
pub(super) struct Body<'a> {
    owner: &'a Owner,
    tokens: Vec<Token>,
    /// Names that the body itself defines for rows.
    declared: HashSet<String>,
}

impl Body<'_> {
    /// Checks a body.
    pub(super) fn check(owner: &Owner, text: &str) -> Result<(), StatementError> {
        let tokens = super::tokens(text)?;
        let declared = declared(&tokens);
        let body = Body { owner, tokens, declared };
        for at in 0..body.tokens.len() {
            match &body.tokens[at] {
                Token::Word(_) => body.at_word(at)?,
                Token::DollarQuotedString(_) => return Err(owner.denied("a body within a body")),
                _ => {}
            }
        }
        Ok(())
    }

    fn place(&self, at: usize) -> Place<'_> {
        Place { owner: self.owner, tokens: &self.tokens, at }
    }

    fn at_word(&self, at: usize) -> Result<(), StatementError> {
        let place = self.place(at);
        let (word, before, next) = (place.word(), place.before(), place.next());
        let name = place.name().unwrap_or_default();
        if is_of_the_host(&name) && !place.is_call_of_catalogs() {
            return Err(self.owner.denied(&name));
        }
        let is_column = matches!(place.token_before(), Some(Token::Period)) || place.is_column();
        if REFUSED_IN_BODIES.contains(&word.as_str()) && !is_column {
            return Err(self.owner.denied(&format!("{word} within a function")));
        }
        if !self.is_declared(&name) {
            place.called()?;
        }
        match word.as_str() {
            "SET" if !self.is_of_an_update(at) => Err(self.owner.denied("SET within a function")),
            "DO" if !matches!(next.as_str(), "UPDATE" | "NOTHING") => Err(self.owner.denied("DO")),
            kind if OBJECTS.contains(&kind) && !is_column => self.table(at + 1),
            "FROM" if before == "DISTINCT" => Ok(()),
            "FROM" | "JOIN" => self.tables(at + 1),
            "USING" if place.is_called() || self.tokens.get(at + 2) == Some(&Token::Eq) => Ok(()),
            "USING" => self.tables(at + 1),
            "LOCK" => self.place(at + 1).own_name(),
            "INTO" if before == "INSERT" => self.place(at + 1).own_name(),
            "UPDATE"
                if !matches!(before.as_str(), "FOR" | "DO" | "KEY")
                    && !matches!(next.as_str(), "SET" | "") =>
            {
                self.place(at + 1).own_name()
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a `SET` belongs to an `UPDATE`, with at most the table, its alias and `AS` between them.
    fn is_of_an_update(&self, at: usize) -> bool {
        let before = &self.tokens[at.saturating_sub(5)..at];
        let start = before.iter().rposition(|token| *token == Token::SemiColon).map_or(0, |end| end + 1);
        before[start..].iter().any(|token| word(token).as_deref() == Some("UPDATE"))
    }

    fn is_declared(&self, name: &str) -> bool {
        self.declared.contains(name) && !is_of_the_host(name)
    }

    /// Checks a table that is read: the extension's own, or rows that the body itself defines.
    fn table(&self, at: usize) -> Result<(), StatementError> {
        let place = self.place(at);
        let at = place.past_words();
        let is_qualified = self.tokens.get(at + 1) == Some(&Token::Period);
        match self.tokens.get(at).and_then(name) {
            Some(found) if self.is_declared(&found) && !is_qualified => Ok(()),
            _ => place.own_name(),
        }
    }

    /// Checks the tables of a list from `at` on: names or function calls, separated by commas.
    fn tables(&self, mut at: usize) -> Result<(), StatementError> {
        loop {
            while self.place(at).word() == "LATERAL" || self.tokens.get(at) == Some(&Token::LParen) {
                at += 1;
            }
            let place = self.place(at);
            let is_query = matches!(place.word().as_str(), "SELECT" | "VALUES" | "WITH");
            if !is_query && !place.is_called() && matches!(self.tokens.get(at), Some(Token::Word(_))) {
                self.table(at)?;
            }
            let Some(comma) = self.next_in_list(at) else { return Ok(()) };
            at = comma + 1;
        }
    }

    /// Returns the comma after the list entry that begins at `at`, before any word that ends the list.
    fn next_in_list(&self, at: usize) -> Option<usize> {
        const ENDS: [&str; 14] = [
            "WHERE",
            "GROUP",
            "ORDER",
            "LIMIT",
            "HAVING",
            "UNION",
            "EXCEPT",
            "INTERSECT",
            "WINDOW",
            "FETCH",
            "OFFSET",
            "RETURNING",
            "LOOP",
            "SELECT",
        ];
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(at) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => return None,
                Token::RParen => depth -= 1,
                Token::SemiColon => return None,
                Token::Comma if depth == 0 => return Some(at),
                other if depth == 0 && word(other).is_some_and(|word| ENDS.contains(&word.as_str())) => {
                    return None;
                }
                _ => {}
            }
        }
        None
    }
}

/// Returns the names that the text itself defines for rows: `WITH x AS (`, and those of a trigger's changed rows.
fn declared(tokens: &[Token]) -> HashSet<String> {
    let is_as = |token: &Token| word(token).as_deref() == Some("AS");
    let mut found: HashSet<String> = ["new", "old"].map(str::to_owned).into();
    for window in tokens.windows(3) {
        if is_as(&window[1]) && window[2] == Token::LParen {
            found.extend(name(&window[0]));
        }
    }
    found
}
