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

/// What opens a level, and what closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Paren,
    Square,
    Curly,
    /// `CASE`, until `END`. Both are names as well, so it may be none.
    Case,
}

/// A bracket that is open, and the levels before it.
struct Opened {
    bracket: Bracket,
    before: Levels,
}

/// The levels at a token.
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

    /// Goes back to the levels before the bracket that was opened last. Returns those within it.
    fn pop(&mut self) -> Levels {
        let before = self.around.pop().map(|opened| opened.before).unwrap_or_default();
        self.depth_around = self.depth_around.saturating_sub(before.count() + 1);
        std::mem::replace(&mut self.here, before)
    }

    /// Closes a bracket of this kind. One that closes another is left for the parser to refuse.
    fn close(&mut self, bracket: Bracket) {
        let innermost = self.around.iter().rposition(|opened| opened.bracket != Bracket::Case);
        let Some(at) = innermost.filter(|at| self.around[*at].bracket == bracket) else { return };
        // A `CASE` within it that nothing ended was a name.
        while self.around.len() > at {
            self.pop();
        }
        self.here.brackets += usize::from(bracket != Bracket::Paren);
    }

    /// At `END`. What a `CASE` held is counted on after it, as if that had been a name: then all is one expression.
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
            // The parts of a `CASE` stand side by side.
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

/// Refuses what might nest deeper. Commas separate, so long lists are not deep.
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
