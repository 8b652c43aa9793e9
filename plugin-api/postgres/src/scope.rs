//! Limits what a statement of an extension may access, by checking its text before it is prepared: the extension's own
//! tables, the ids of users, and catalogs with metadata of its own tables.
//!
//! Statements that cannot be parsed are rejected, as are constructs, functions and types that are not known to be
//! harmless. The host's own statements are not checked. If the server lets the host create roles, an extension's
//! statements also run as a role without rights on others' tables. Neither can confine malicious native code.

mod bodies;
mod definitions;
mod depth;
mod functions;
mod names;
mod queries;
mod tables;

use sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer, Whitespace},
};

use self::names::Owner;
use crate::StatementError;

/// Whether a statement only reads or may change data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// It only reads.
    Read,
    /// It may change something.
    Change,
}

/// Checks the text of one statement or of a script, of an extension or of the host. Returns whether all of it only
/// reads.
///
/// # Errors
/// [`StatementError::Denied`] if it uses what the extension may not, [`StatementError::Sql`] if it cannot be parsed,
/// [`StatementError::TooDeep`] if it is nested too deeply.
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

/// Determines the kind of a host's statement by its first word, since the host's statements are trusted.
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

/// Splits a text into tokens, without white space and comments. Rejects text that the server might read
/// differently.
fn tokens(sql: &str) -> Result<Vec<Token>, StatementError> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| StatementError::Sql(format!("the statement cannot be understood: {error}")))?;
    for pair in tokens.windows(2) {
        // `U&"…"` is one name to the server.
        if let [Token::Word(word), Token::Ampersand] = pair
            && word.quote_style.is_none()
            && word.value.eq_ignore_ascii_case("u")
        {
            return Err(not_plain("a name or text with U&"));
        }
    }
    if let Some(problem) = tokens.iter().find_map(ambiguous) {
        return Err(not_plain(problem));
    }
    let tokens: Vec<Token> =
        tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let is_text = |token: &Token| matches!(token, Token::SingleQuotedString(_));
    if tokens.windows(2).any(|pair| pair.iter().all(is_text)) {
        return Err(not_plain("a text in several pieces"));
    }
    Ok(tokens)
}

fn not_plain(what: &str) -> StatementError {
    StatementError::Sql(format!("the statement holds {what}; write it plainly, or as a parameter"))
}

/// Returns what is wrong with a token that the server might end elsewhere, or whose value is written with escapes.
fn ambiguous(token: &Token) -> Option<&'static str> {
    match token {
        Token::EscapedStringLiteral(_) | Token::UnicodeStringLiteral(_) => {
            Some("a text with escapes (E'…' or U&'…')")
        }
        Token::NationalStringLiteral(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::QuoteDelimitedStringLiteral(_)
        | Token::NationalQuoteDelimitedStringLiteral(_) => Some("a text of another kind than '…'"),
        Token::Char(_) | Token::Backslash => Some("a character that stands for nothing"),
        Token::Whitespace(Whitespace::SingleLineComment { comment, prefix }) if prefix == "--" => {
            comment.trim_end_matches(['\r', '\n']).contains('\r').then_some("a comment with a return in it")
        }
        Token::Whitespace(Whitespace::SingleLineComment { .. }) => Some("a comment of another kind than --"),
        Token::Whitespace(_)
        | Token::Word(_)
        | Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_) => None,
        other => {
            let text = other.to_string();
            (text.contains("--") || text.contains("/*")).then_some("an operator with a comment in it")
        }
    }
}

fn first_word(tokens: &[Token]) -> String {
    let first = tokens.iter().find(|token| **token != Token::LParen);
    first.map(|token| token.to_string().to_ascii_uppercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
