//! The words of a filter.

use crate::Invalid;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// A name or a keyword.
    Name(&'t str),
    Number(f64),
    Text(String),
    /// An operator or a bracket.
    Mark(&'static str),
    End,
}

/// The longer before their beginnings.
const MARKS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "?", ":", ".", ",", "(", ")",
    "[", "]",
];

/// Marks of CEL that are left out, and what to write in their place.
const LEFT_OUT: &[(char, &str)] = &[
    ('/', "multiply the other side instead"),
    ('%', "there is no remainder of doubles"),
    ('{', "objects can be asked, but not written"),
    ('}', "objects can be asked, but not written"),
    (
        '`',
        "write the name of a field as text: event[\"odd name\"]",
    ),
];

/// The greatest integer up to which each one is a double (2⁵³).
const MAX_INTEGER: u64 = 1 << 53;

/// All words with their columns; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, Invalid> {
    let mut reader = Reader {
        rest: text,
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        reader.take_while(char::is_whitespace);
        let column = reader.column;
        let token = reader.token()?;
        let is_end = token == Token::End;
        tokens.push((column, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Reader<'t> {
    rest: &'t str,
    column: usize,
}

impl<'t> Reader<'t> {
    fn token(&mut self) -> Result<Token<'t>, Invalid> {
        let mut ahead = self.rest.chars();
        let Some(first) = ahead.next() else {
            return Ok(Token::End);
        };
        let second = ahead.next();
        match first {
            '"' | '\'' => self.text(first, false),
            'r' | 'R' if matches!(second, Some('"' | '\'')) => {
                self.next();
                self.text(second.unwrap_or('"'), true)
            }
            'b' | 'B' if matches!(second, Some('"' | '\'')) => Err(error(
                "filter_not_allowed",
                self.column,
                "an event holds no bytes",
            )),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => Ok(Token::Name(self.take_while(is_name))),
            _ => self.mark(first),
        }
    }

    fn mark(&mut self, first: char) -> Result<Token<'t>, Invalid> {
        if let Some(mark) = MARKS.iter().find(|m| self.rest.starts_with(**m)) {
            self.skip(mark.len());
            return Ok(Token::Mark(mark));
        }
        if let Some((mark, hint)) = LEFT_OUT.iter().find(|(mark, _)| *mark == first) {
            let what = format!("{mark} is not understood in a filter");
            return Err(error("filter_not_allowed", self.column, what).hint(*hint));
        }
        let error = self.syntax("this character has no meaning here");
        Err(match first {
            '=' => error.hint("compare with =="),
            '&' => error.hint("write && for and"),
            '|' => error.hint("write || for or"),
            '“' | '”' | '‘' | '’' => error.hint("text stands in straight quotes"),
            _ => error,
        })
    }

    fn number(&mut self) -> Result<Token<'t>, Invalid> {
        let column = self.column;
        let start = self.rest;
        let hex = ["0x", "0X"].iter().any(|x| start.starts_with(*x));
        let integer = if hex {
            self.skip(2);
            u64::from_str_radix(self.take_while(|c| c.is_ascii_hexdigit()), 16).ok()
        } else {
            let digits = self.take_while(|c| c.is_ascii_digit());
            let is_fraction = self.fraction() | self.exponent();
            if is_fraction {
                let literal = &start[..start.len() - self.rest.len()];
                let number = literal.parse().ok().filter(|n: &f64| n.is_finite());
                let number = number.ok_or_else(|| out_of_range(column))?;
                return self.ended(Token::Number(number));
            }
            digits.parse().ok()
        };
        let integer = integer
            .filter(|n| *n <= MAX_INTEGER)
            .ok_or_else(|| out_of_range(column))?;
        // Exact: at most 2⁵³.
        self.ended(Token::Number(integer as f64))
    }

    /// A point is one of a fraction only where a digit follows.
    fn fraction(&mut self) -> bool {
        let digits = self.rest.strip_prefix('.').unwrap_or_default();
        let there = digits.starts_with(|c: char| c.is_ascii_digit());
        if there {
            self.skip(1);
            self.take_while(|c| c.is_ascii_digit());
        }
        there
    }

    fn exponent(&mut self) -> bool {
        let Some(after) = self.rest.strip_prefix(['e', 'E']) else {
            return false;
        };
        let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
        let there = digits.starts_with(|c: char| c.is_ascii_digit());
        if there {
            self.skip(self.rest.len() - digits.len());
            self.take_while(|c| c.is_ascii_digit());
        }
        there
    }

    fn ended(&self, number: Token<'t>) -> Result<Token<'t>, Invalid> {
        if self.rest.starts_with(['u', 'U']) {
            let what = "a number has no suffix, for all of them are doubles";
            return Err(error("filter_not_allowed", self.column, what));
        }
        if self.rest.starts_with(is_name) {
            return Err(self.syntax("a number ends before a letter"));
        }
        Ok(number)
    }

    /// From the opening quote to behind the closing one.
    fn text(&mut self, quote: char, raw: bool) -> Result<Token<'t>, Invalid> {
        let open = self.column;
        self.next();
        let mut text = String::new();
        loop {
            let column = self.column;
            match self.next() {
                None => return Err(error("filter_syntax", open, "a text is not closed")),
                Some(c) if c == quote => return Ok(Token::Text(text)),
                Some('\\') if !raw => {
                    let unknown = || error("filter_syntax", column, "an unknown escape");
                    text.push(self.escape().ok_or_else(unknown)?);
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ ('\\' | '?' | '"' | '\'' | '`') => c,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' | 'X' => self.code(0, 2, 16)?,
            'u' => self.code(0, 4, 16)?,
            'U' => self.code(0, 8, 16)?,
            c @ '0'..='3' => self.code(c.to_digit(8)?, 2, 8)?,
            _ => return None,
        })
    }

    fn code(&mut self, first: u32, digits: usize, radix: u32) -> Option<char> {
        let mut code = first;
        for _ in 0..digits {
            code = code.checked_mul(radix)? + self.next()?.to_digit(radix)?;
        }
        char::from_u32(code)
    }

    fn take_while(&mut self, is: impl Fn(char) -> bool) -> &'t str {
        let length = self.rest.find(|c| !is(c)).unwrap_or(self.rest.len());
        let taken = &self.rest[..length];
        self.skip(length);
        taken
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.skip(next.len_utf8());
        Some(next)
    }

    /// Only ever over whole characters.
    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.column += skipped.chars().count();
        self.rest = rest;
    }

    fn syntax(&self, what: &'static str) -> Invalid {
        error("filter_syntax", self.column, what)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn out_of_range(column: usize) -> Invalid {
    error("filter_syntax", column, "a double cannot hold this number")
}

/// An error that tells where.
pub(super) fn error(code: &'static str, column: usize, what: impl std::fmt::Display) -> Invalid {
    Invalid::new(code, format!("column {column}: {what}"))
}
