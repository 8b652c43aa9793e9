//! How deep a statement nests, told from its tokens before it is parsed: parsing a statement, walking through it and dropping it
//! takes room on the stack for each level, and a stack that overflows ends the process.

use sqlparser::{keywords::Keyword, tokenizer::Token};

use crate::StatementError;

/// How deep a statement may nest. An operator that follows another is a level, too: `1 + 1 + 1` has two.
pub(super) const DEPTH_MAX: usize = 250;

/// The levels between one bracket and the next.
#[derive(Debug, Default, Clone, Copy)]
struct Levels {
    /// Queries that `UNION` and its like join.
    queries: usize,
    /// `AND` and `OR` since the last comma: all other operators bind tighter.
    conditions: usize,
    /// Operators since the last of those.
    operators: usize,
    /// Brackets that are closed: types nest by brackets that follow each other.
    brackets: usize,
}

impl Levels {
    fn count(self) -> usize {
        self.queries + self.conditions + self.operators + self.brackets
    }
}

/// Refuses what might nest deeper. Commas separate, so long lists are not deep.
///
/// # Errors
/// [`StatementError::TooDeep`].
pub(super) fn check(tokens: &[Token]) -> Result<(), StatementError> {
    let (mut here, mut around, mut depth_around) = (Levels::default(), Vec::new(), 0);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth_around += here.count() + 1;
                around.push(std::mem::take(&mut here));
            }
            Token::Word(word) if word.quote_style.is_none() && word.keyword == Keyword::CASE => {
                depth_around += here.count() + 1;
                around.push(std::mem::take(&mut here));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                here = around.pop().unwrap_or_default();
                depth_around = depth_around.saturating_sub(here.count() + 1);
                here.brackets += usize::from(*token != Token::RParen);
            }
            Token::Word(word) if word.quote_style.is_none() && word.keyword == Keyword::END => {
                here = around.pop().unwrap_or_default();
                depth_around = depth_around.saturating_sub(here.count() + 1);
            }
            Token::Comma => here = Levels { queries: here.queries, ..Levels::default() },
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::NoKeyword => {}
                Keyword::AND | Keyword::OR => {
                    here = Levels { conditions: here.conditions + 1, operators: 0, brackets: 0, ..here };
                }
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                    here = Levels { queries: here.queries + 1, ..Levels::default() };
                }
                _ => here.operators += 1,
            },
            token => here.operators += usize::from(is_operator(token)),
        }
        if depth_around + here.count() > DEPTH_MAX {
            return Err(StatementError::TooDeep { depth_max: DEPTH_MAX });
        }
    }
    Ok(())
}

/// Whether a token that is no word may be an operator.
fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::SemiColon
    )
}
