//! Splits a filter into tokens. It knows no grammar.

use super::FilterError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// A name in backticks, which is never a keyword.
    Quoted(String),
    Text(String),
    Integer(i64),
    Real(f64),
    /// `= != < <= > >= ( ) [ ] , . @`
    Symbol(&'static str),
    End,
}

impl Token {
    /// Returns how an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(word) | Token::Quoted(word) => format!("`{}`", crate::fault::shorten(word)),
            Token::Text(_) => "a string".to_owned(),
            Token::Integer(_) | Token::Real(_) => "a number".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        }
    }
}

/// Returns the tokens of `text`, each with its first byte position; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.token()?;
        let last = token == Token::End;
        tokens.push((at, token));
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn fault<T>(&self, at: usize, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::at(self.text, at, message))
    }

    fn token(&mut self) -> Result<Token, FilterError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        match first {
            '\'' | '"' => Ok(Token::Text(self.quoted(first)?)),
            '`' => Ok(Token::Quoted(self.quoted('`')?)),
            '0'..='9' => self.number(),
            '-' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                let is_part = |part: char| part.is_ascii_alphanumeric() || part == '_';
                let len = rest.find(|part| !is_part(part)).unwrap_or(rest.len());
                self.at += len;
                Ok(Token::Word(rest[..len].to_owned()))
            }
            _ => self.symbol(first),
        }
    }

    fn symbol(&mut self, first: char) -> Result<Token, FilterError> {
        const SYMBOLS: [&str; 14] =
            ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "@"];
        let rest = self.rest();
        for (mistaken, right) in [("==", "="), ("&&", "and"), ("||", "or"), ("=~", "like")] {
            if rest.starts_with(mistaken) {
                return self.fault(self.at, format!("`{mistaken}` is not known; write `{right}`"));
            }
        }
        match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(if symbol == "<>" { "!=" } else { symbol }))
            }
            None => self.fault(self.at, format!("the character {first:?} has no meaning here")),
        }
    }

    /// Reads text between quotes; the quote itself is written twice.
    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        let start = self.at;
        let mut content = String::new();
        let mut rest = &self.rest()[1..];
        loop {
            let Some(end) = rest.find(quote) else {
                return self.fault(start, format!("the {quote} that begins here has no end"));
            };
            content.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            if !rest.starts_with(quote) {
                break;
            }
            content.push(quote);
            rest = &rest[1..];
        }
        self.at = self.text.len() - rest.len();
        if content.contains('\0') {
            return self.fault(start, "a string must not hold the character NUL");
        }
        Ok(content)
    }

    fn number(&mut self) -> Result<Token, FilterError> {
        let rest = self.rest();
        let digits = |from: usize| {
            let tail = &rest[from..];
            from + tail.find(|part: char| !part.is_ascii_digit()).unwrap_or(tail.len())
        };
        let mut end = digits(usize::from(rest.starts_with('-')));
        let whole = end;
        if rest[end..].starts_with('.') && digits(end + 1) > end + 1 {
            end = digits(end + 1);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let power = digits(end + 1 + sign);
            end = if power > end + 1 + sign { power } else { end };
        }
        let text = &rest[..end];
        if rest[end..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_') {
            return self.fault(self.at, "a number ends in letters here; text stands in quotes");
        }
        let (start, integer) = (self.at, end == whole);
        self.at += end;
        if integer && let Ok(number) = text.parse() {
            return Ok(Token::Integer(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Real(number)),
            _ => self.fault(start, "the number is too large"),
        }
    }
}
