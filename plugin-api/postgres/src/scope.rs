//! What a statement of an extension may touch, read off its text before it is ever prepared: its own tables, the ids of
//! users, and catalogs that tell of its own tables. What cannot be understood is refused. The host's own are not looked
//! at. What is not known to be harmless is refused: constructs, functions and types. Where the server lets the host make
//! roles, an extension's statements run as one without rights on others' tables as well; native code that means harm is
//! confined by neither.

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
/// [`StatementError::Denied`] for what the extension may not use, [`StatementError::Sql`] for what cannot be understood,
/// [`StatementError::TooDeep`] for what nests too deep to be read.
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

/// The tokens of a text, without white space and comments. What the server might read otherwise is refused.
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

/// What is wrong with a token whose end the server might see elsewhere, or whose value is written in a roundabout way.
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
