use std::borrow::Cow;

use super::{Object, Value, number, object::path_step, plain};
use crate::Invalid;

/// How deep arrays and objects may lie in one another.
pub const MAX_DEPTH: usize = 128;

/// Reads one JSON document (RFC 8259), strictly.
///
/// # Errors
/// No message repeats the body; of it only the names on the way to an offending field are told.
///
/// | code | when |
/// | --- | --- |
/// | `body_missing` | there is nothing but white space |
/// | `json_not_utf8` | the bytes are not UTF-8 |
/// | `json_syntax` | no JSON; the message tells line and column. Lone surrogates count as such |
/// | `json_trailing_data` | something follows the document |
/// | `json_too_deep` | more than [`MAX_DEPTH`] levels |
/// | `json_duplicate_key` | an object has a key twice |
/// | `number_out_of_range` | an integer that a double cannot hold, or a number that is larger than any double |
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, Invalid> {
    let text = decode(bytes)?;
    let mut parser = Parser {
        text,
        bytes,
        at: 0,
        depth: 0,
    };
    parser.skip_space();
    if parser.peek().is_none() {
        return Err(Invalid::new(
            "body_missing",
            "there is nothing but white space",
        ));
    }
    if text.starts_with('\u{feff}') {
        return Err(*parser.syntax("a byte order mark stands before the JSON"));
    }
    let value = parser.value().map_err(|error| *error)?;
    parser.skip_space();
    if parser.peek().is_some() {
        return Err(parser.error(
            "json_trailing_data",
            parser.at,
            "something follows the JSON document",
        ));
    }
    Ok(value)
}

fn decode(bytes: &[u8]) -> Result<&str, Invalid> {
    // The first two characters of JSON are ASCII, so a zero byte there betrays UTF-16 or UTF-32 (RFC 4627, section 3).
    if bytes.iter().take(4).any(|b| *b == 0) {
        return Err(
            Invalid::new("json_not_utf8", "is UTF-16 or UTF-32").hint("JSON is sent in UTF-8")
        );
    }
    std::str::from_utf8(bytes).map_err(|error| {
        Invalid::new(
            "json_not_utf8",
            format!("is not UTF-8 from byte {} on", error.valid_up_to()),
        )
        .hint("JSON is sent in UTF-8")
    })
}

/// The error is boxed to keep what is returned from each level of nesting small.
type Parsed<T> = Result<T, Box<Invalid>>;

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Parsed<Value<'a>> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.keyword("true", Value::Bool(true)),
            Some(b'f') => self.keyword("false", Value::Bool(false)),
            Some(b'n') => self.keyword("null", Value::Null),
            _ => Err(self.syntax("a value is expected")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value<'a>>) -> Parsed<Value<'a>> {
        if self.depth == MAX_DEPTH {
            return Err(Box::new(Invalid::new(
                "json_too_deep",
                format!("arrays and objects lie more than {MAX_DEPTH} deep in one another"),
            )));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Parsed<Value<'a>> {
        let mut fields = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(Object::default()));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key in double quotes is expected"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.syntax("a colon is expected"));
            }
            self.skip_space();
            match self.value() {
                Ok(value) => fields.push((key, value)),
                Err(error) => return Err(below(error, || path_step(&key))),
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(Object::new(fields)?));
            }
            if !self.take(b',') {
                return Err(self.syntax("a comma or a closing brace is expected"));
            }
        }
    }

    fn array(&mut self) -> Parsed<Value<'a>> {
        let mut values = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            self.skip_space();
            match self.value() {
                Ok(value) => values.push(value),
                Err(error) => return Err(below(error, || format!("[{}]", values.len()))),
            }
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(values));
            }
            if !self.take(b',') {
                return Err(self.syntax("a comma or a closing bracket is expected"));
            }
        }
    }

    fn keyword(&mut self, word: &str, value: Value<'a>) -> Parsed<Value<'a>> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.syntax("a value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Parsed<f64> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(number::parse(self.slice(start, self.at))?)
    }

    /// At least one digit.
    fn digits(&mut self) -> Parsed<()> {
        let count = self
            .rest()
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if count == 0 {
            return Err(self.syntax("a digit is expected"));
        }
        self.at += count;
        Ok(())
    }

    /// From the opening quote to behind the closing one.
    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            self.at += plain::length(self.rest());
            let piece = self.slice(start, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(if unescaped.is_empty() {
                        Cow::Borrowed(piece)
                    } else {
                        unescaped.push_str(piece);
                        Cow::Owned(unescaped)
                    });
                }
                Some(b'\\') => {
                    unescaped.push_str(piece);
                    unescaped.push(self.escape()?);
                    start = self.at;
                }
                Some(_) => {
                    return Err(self.syntax("a control character in a string must be escaped"));
                }
                None => return Err(self.syntax("a string is not closed")),
            }
        }
    }

    /// From the backslash to behind the escape.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let Some(kind) = self.peek() else {
            return Err(self.syntax("a string is not closed"));
        };
        self.at += 1;
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(start),
            _ => {
                self.at = start;
                return Err(self.syntax("an unknown escape"));
            }
        };
        Ok(character)
    }

    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff if self.rest().starts_with(b"\\u") => {
                self.at += 2;
                match self.hex4()? {
                    second @ 0xdc00..=0xdfff => {
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => first,
                }
            }
            _ => first,
        };
        // What is left of the surrogates at this point stands alone, and `from_u32` refuses just those.
        char::from_u32(code).ok_or_else(|| {
            self.at = start;
            self.syntax("half of a surrogate pair stands alone")
        })
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let digits = self.rest().first_chunk::<4>();
        let code = digits.and_then(|digits| {
            digits.iter().try_fold(0, |code, digit| {
                Some(code * 16 + char::from(*digit).to_digit(16)?)
            })
        });
        let code = code.ok_or_else(|| self.syntax("four hexadecimal digits are expected"))?;
        self.at += 4;
        Ok(code)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text
            .get(from..to)
            .expect("both ends lie beside an ASCII character that was just read")
    }

    fn syntax(&self, what: &'static str) -> Box<Invalid> {
        Box::new(self.error("json_syntax", self.at, what))
    }

    /// Tells where, never what: the body may hold what no log should.
    fn error(&self, code: &'static str, at: usize, what: &'static str) -> Invalid {
        let before = self.bytes.get(..at).unwrap_or(self.bytes);
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |i| i + 1);
        let column = 1 + String::from_utf8_lossy(&before[line_start..])
            .chars()
            .count();
        Invalid::new(code, format!("line {line} column {column}: {what}"))
    }
}

/// Puts the path of a value before an error of that value. Errors of syntax have a line and a column instead.
fn below(error: Box<Invalid>, step: impl FnOnce() -> String) -> Box<Invalid> {
    match error.code {
        "number_out_of_range" | "json_duplicate_key" => Box::new(error.at(step())),
        _ => error,
    }
}
