//! The nesting depth of a statement, computed from its tokens before it is parsed. Parsing, walking and dropping a
//! statement use the stack for each level, and a stack overflow ends the process.

use sqlparser::{keywords::Keyword, tokenizer::Token};

use crate::StatementError;

/// The maximum nesting depth of a statement. Consecutive operators are levels too: `1 + 1 + 1` has two.
pub(super) const DEPTH_MAX: usize = 250;

/// The levels inside one bracket.
#[derive(Debug, Default, Clone, Copy)]
struct Levels {
    /// Queries joined by `UNION` and similar operators.
    queries: usize,
    /// `AND` and `OR` since the last comma; all other operators bind tighter.
    conditions: usize,
    /// Operators since the last `AND` or `OR`.
    operators: usize,
    /// Closed brackets: types nest through brackets that follow each other.
    brackets: usize,
}

impl Levels {
    fn count(self) -> usize {
        self.queries + self.conditions + self.operators + self.brackets
    }
}

/// The kinds of brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Paren,
    Square,
    Curly,
    /// `CASE` until `END`. Both are also valid names, so it may not be a bracket.
    Case,
}

/// An open bracket, and the levels before it.
struct Opened {
    bracket: Bracket,
    before: Levels,
}

/// The nesting at a token.
#[derive(Default)]
struct Nesting {
    here: Levels,
    around: Vec<Opened>,
    depth_around: usize,
}

impl Nesting {
    fn depth(&self) -> usize {
        self.depth_around + self.here.count()
    }

    fn open(&mut self, bracket: Bracket) {
        self.depth_around += self.here.count() + 1;
        self.around.push(Opened { bracket, before: std::mem::take(&mut self.here) });
    }

    /// Returns to the levels before the innermost bracket, and returns those inside it.
    fn pop(&mut self) -> Levels {
        let before = self.around.pop().map(|opened| opened.before).unwrap_or_default();
        self.depth_around = self.depth_around.saturating_sub(before.count() + 1);
        std::mem::replace(&mut self.here, before)
    }

    /// Closes a bracket of this kind. A mismatched one is left for the parser to reject.
    fn close(&mut self, bracket: Bracket) {
        let innermost = self.around.iter().rposition(|opened| opened.bracket != Bracket::Case);
        let Some(at) = innermost.filter(|at| self.around[*at].bracket == bracket) else { return };
        // A `CASE` inside without an `END` was a name.
        while self.around.len() > at {
            self.pop();
        }
        self.here.brackets += usize::from(bracket != Bracket::Paren);
    }

    /// Handles `END`. The levels inside the `CASE` are kept after it, in case it was a name: then all is one
    /// expression.
    fn end(&mut self) {
        if self.around.last().is_none_or(|opened| opened.bracket != Bracket::Case) {
            self.here.operators += 1;
            return;
        }
        let within = self.pop();
        self.here.queries += within.queries;
        self.here.conditions += within.conditions;
        self.here.operators += within.operators + 1;
        self.here.brackets += within.brackets;
    }

    fn word(&mut self, keyword: Keyword) {
        let here = &mut self.here;
        match keyword {
            // The parts of a `CASE` are siblings.
            Keyword::NoKeyword | Keyword::WHEN | Keyword::THEN | Keyword::ELSE => {}
            Keyword::CASE => self.open(Bracket::Case),
            Keyword::END => self.end(),
            Keyword::AND | Keyword::OR => {
                *here = Levels { conditions: here.conditions + 1, operators: 0, brackets: 0, ..*here };
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                *here = Levels { queries: here.queries + 1, ..Levels::default() };
            }
            _ => here.operators += 1,
        }
    }
}

/// Rejects statements that may be nested too deeply. Commas separate expressions, so long lists are not deep.
///
/// # Errors
/// [`StatementError::TooDeep`].
pub(super) fn check(tokens: &[Token]) -> Result<(), StatementError> {
    let mut nesting = Nesting::default();
    for token in tokens {
        match token {
            Token::LParen => nesting.open(Bracket::Paren),
            Token::LBracket => nesting.open(Bracket::Square),
            Token::LBrace => nesting.open(Bracket::Curly),
            Token::RParen => nesting.close(Bracket::Paren),
            Token::RBracket => nesting.close(Bracket::Square),
            Token::RBrace => nesting.close(Bracket::Curly),
            Token::Comma => nesting.here = Levels { queries: nesting.here.queries, ..Levels::default() },
            Token::Word(word) if word.quote_style.is_none() => nesting.word(word.keyword),
            token => nesting.here.operators += usize::from(is_operator(token)),
        }
        if nesting.depth() > DEPTH_MAX {
            return Err(StatementError::TooDeep { depth_max: DEPTH_MAX });
        }
    }
    Ok(())
}

/// Returns whether a token that is not a word may be an operator.
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
