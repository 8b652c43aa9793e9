//! The grammar of filters: tokens to a tree, by recursive descent. It knows no schema.
//!
//! ```text
//! or        := and ("or" and)*
//! and       := not ("and" not)*
//! not       := "not" not | "(" or ")" | predicate
//! predicate := term [ compare term | ["not"] "in" "(" term ("," term)* ")" | ["not"] "like" term
//!                   | "is" ["not"] "null" | ["not"] "has" term ]
//! term      := path | "@" path | string | number | "true" | "false"
//! path      := name ("." name | "[" index "]")*
//! ```

use super::{
    FilterError,
    ast::{Compare, Node, Step, Term, TermKind},
    lex::{Token, tokens},
};
use crate::limits;

const KEYWORDS: [&str; 10] = ["and", "or", "not", "in", "like", "is", "null", "true", "false", "has"];

/// Parses a whole filter.
pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    if text.len() > limits::FILTER_BYTES_MAX {
        let message = format!("the filter is longer than {} bytes", limits::FILTER_BYTES_MAX);
        return Err(FilterError { position: 1, message });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, next: 0, depth: 0, terms: 0 };
    let node = parser.or()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => parser.expected("`and`, `or` or the end"),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    terms: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].1.clone();
        // Never move past the end token.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::at(self.text, self.at(), message))
    }

    fn expected<T>(&self, what: &str) -> Result<T, FilterError> {
        self.fault(format!("expected {what}, found {}", self.peek().describe()))
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn require_symbol(&mut self, symbol: &'static str) -> Result<(), FilterError> {
        if self.take_symbol(symbol) { Ok(()) } else { self.expected(&format!("`{symbol}`")) }
    }

    fn or(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.and()?];
        while self.take_keyword("or") {
            nodes.push(self.and()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Or(nodes) })
    }

    fn and(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.not()?];
        while self.take_keyword("and") {
            nodes.push(self.not()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::And(nodes) })
    }

    fn not(&mut self) -> Result<Node, FilterError> {
        let negated = self.is_keyword("not");
        if !negated && *self.peek() != Token::Symbol("(") {
            return self.predicate();
        }
        if self.depth == limits::FILTER_DEPTH_MAX {
            return self.fault(format!("parentheses and `not` are nested deeper than {} levels", self.depth));
        }
        self.depth += 1;
        self.advance();
        let node = if negated {
            Node::Not(Box::new(self.not()?))
        } else {
            let inner = self.or()?;
            self.require_symbol(")")?;
            inner
        };
        self.depth -= 1;
        Ok(node)
    }

    fn predicate(&mut self) -> Result<Node, FilterError> {
        self.terms += 1;
        if self.terms > limits::FILTER_TERMS_MAX {
            return self.fault(format!("there are more than {} comparisons", limits::FILTER_TERMS_MAX));
        }
        let left = self.term()?;
        if let Some(compare) = self.compare() {
            return Ok(Node::Compare(left, compare, self.term()?));
        }
        if self.take_keyword("is") {
            let negated = self.take_keyword("not");
            if !self.take_keyword("null") {
                return self.expected("`null`");
            }
            return Ok(negate(negated, Node::IsNull(left)));
        }
        let negated = self.take_keyword("not");
        let node = if self.take_keyword("in") {
            Node::In(left, self.list()?)
        } else if self.take_keyword("like") {
            Node::Like(left, self.term()?)
        } else if self.take_keyword("has") {
            Node::Has(left, self.term()?)
        } else if negated {
            return self.expected("`in`, `like` or `has`");
        } else if matches!(left.kind, TermKind::Path(_) | TermKind::Variable(_) | TermKind::Bool(_)) {
            Node::Test(left)
        } else {
            return self.expected("a comparison");
        };
        Ok(negate(negated, node))
    }

    fn compare(&mut self) -> Option<Compare> {
        let Token::Symbol(symbol) = self.peek() else { return None };
        let compare = match *symbol {
            "=" => Compare::Equal,
            "!=" => Compare::NotEqual,
            "<" => Compare::Less,
            "<=" => Compare::LessOrEqual,
            ">" => Compare::Greater,
            ">=" => Compare::GreaterOrEqual,
            _ => return None,
        };
        self.advance();
        Some(compare)
    }

    fn list(&mut self) -> Result<Vec<Term>, FilterError> {
        self.require_symbol("(")?;
        let mut entries = vec![self.term()?];
        while self.take_symbol(",") {
            if entries.len() == limits::FILTER_LIST_MAX {
                return self.fault(format!("the list has more than {} entries", limits::FILTER_LIST_MAX));
            }
            entries.push(self.term()?);
        }
        self.require_symbol(")")?;
        Ok(entries)
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        let at = self.at();
        if self.is_keyword("null") {
            return self.fault("null is compared by `is null` and `is not null`");
        }
        let kind = match self.peek().clone() {
            Token::Text(text) => self.literal(TermKind::Text(text)),
            Token::Integer(number) => self.literal(TermKind::Integer(number)),
            Token::Real(number) => self.literal(TermKind::Real(number)),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => self.literal(TermKind::Bool(true)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => self.literal(TermKind::Bool(false)),
            Token::Word(_) | Token::Quoted(_) => TermKind::Path(self.path()?),
            Token::Symbol("@") => {
                self.advance();
                TermKind::Variable(self.path()?)
            }
            _ => return self.expected("a field, a value or `(`"),
        };
        Ok(Term { at, kind })
    }

    fn literal(&mut self, kind: TermKind) -> TermKind {
        self.advance();
        kind
    }

    fn path(&mut self) -> Result<Vec<Step>, FilterError> {
        let first = match self.peek() {
            Token::Word(word) if KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) => {
                return self.expected("a field (a field that is named like a keyword stands in backticks)");
            }
            _ => self.name()?,
        };
        let mut steps = vec![Step::Name(first)];
        loop {
            if self.take_symbol(".") {
                steps.push(Step::Name(self.name()?));
            } else if self.take_symbol("[") {
                let index = match self.peek() {
                    Token::Integer(index) => u32::try_from(*index).ok(),
                    _ => None,
                };
                let Some(index) = index else { return self.expected("an index of 0 or more") };
                self.advance();
                self.require_symbol("]")?;
                steps.push(Step::Index(index));
            } else {
                return Ok(steps);
            }
            if steps.len() > limits::PATH_STEPS_MAX {
                return self.fault(format!("the path has more than {} steps", limits::PATH_STEPS_MAX));
            }
        }
    }

    fn name(&mut self) -> Result<String, FilterError> {
        let name = match self.peek() {
            Token::Word(word) => word.clone(),
            // In a path passed to SQLite, these two characters would end the name.
            Token::Quoted(word) if word.contains(['"', '\\']) || word.is_empty() => {
                return self.fault("a name in backticks is not empty and holds neither \" nor \\");
            }
            Token::Quoted(word) => word.clone(),
            _ => return self.expected("a name"),
        };
        self.advance();
        Ok(name)
    }
}

fn negate(negated: bool, node: Node) -> Node {
    if negated { Node::Not(Box::new(node)) } else { node }
}
