//! What a statement of an extension may touch, read off its text before it is ever prepared: its own tables, the ids of
//! users, and catalogs that tell of its own tables. What cannot be understood is refused. The host's own are not looked
//! at. It keeps mistakes and undeclared uses out; native code that means harm is not confined by it.

mod definitions;
mod names;
mod queries;

use sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use self::names::Owner;
use crate::StatementError;

/// Whether a statement reads or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// It changes nothing.
    Read,
    /// It may change something.
    Change,
}

/// Checks the text of one statement or of a script, of an extension or of the host; tells whether all of it only reads.
///
/// # Errors
/// [`StatementError::Denied`] for what the extension may not use, [`StatementError::Sql`] for what cannot be understood.
pub fn check(extension: Option<&str>, sql: &str) -> Result<StatementKind, StatementError> {
    let Some(name) = extension else { return Ok(kind_of_host(sql)) };
    let owner = Owner::new(name)?;
    let tokens = tokens(sql)?;
    let mut kind = StatementKind::Read;
    for statement in tokens.split(|token| *token == Token::SemiColon).filter(|tokens| !tokens.is_empty()) {
        let part = match first_word(statement).as_str() {
            "SELECT" | "WITH" | "VALUES" | "INSERT" | "UPDATE" | "DELETE" => {
                queries::check(&owner, statement)?
            }
            "CREATE" | "ALTER" | "DROP" | "LOCK" => {
                definitions::check(&owner, statement)?;
                StatementKind::Change
            }
            other => return Err(owner.denied(&format!("the statement {other}"))),
        };
        if part == StatementKind::Change {
            kind = part;
        }
    }
    Ok(kind)
}

/// The host's statements are this program's own: their first word tells.
fn kind_of_host(sql: &str) -> StatementKind {
    let text = sql.trim_start().to_ascii_uppercase();
    let reads = ["SELECT", "VALUES", "SHOW", "EXPLAIN"].iter().any(|word| text.starts_with(word));
    let changes_within = ["INSERT INTO ", "DELETE FROM ", "UPDATE "].iter().any(|words| text.contains(words));
    if reads || (text.starts_with("WITH") && !changes_within) {
        StatementKind::Read
    } else {
        StatementKind::Change
    }
}

/// The tokens of a text, without white space and comments.
fn tokens(sql: &str) -> Result<Vec<Token>, StatementError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| StatementError::Sql(format!("the statement cannot be understood: {error}")))?;
    Ok(tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect())
}

fn first_word(tokens: &[Token]) -> String {
    let first = tokens.iter().find(|token| **token != Token::LParen);
    first.map(|token| token.to_string().to_ascii_uppercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
