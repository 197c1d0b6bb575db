//! Files of lines, such as newline-delimited JSON.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use tharsis::Invalid;

use crate::output::Failure;

/// The longest line. The largest payload in its envelope, written with spaces and escapes, is far from it.
const MAX_LINE: usize = 1 << 20;

/// How much is read at once: about a batch.
const READ: usize = 256 * 1024;

/// Numbered lines, in memory of constant size.
pub(crate) struct Lines<R> {
    source: BufReader<R>,
    number: u64,
    line: Vec<u8>,
}

/// One line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Nothing but white space.
    Blank,
    /// Longer than may be held in memory; it was skipped.
    TooLong,
    /// Something.
    Text(&'a [u8]),
}

/// Why a line that is too long is refused.
pub(crate) fn too_long() -> Invalid {
    Invalid::new("line_too_long", format!("is longer than {MAX_LINE} bytes"))
        .hint("one document a line, without line breaks in it")
}

/// The file, or standard input for `-`.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(unreadable(&error).at(file.display().to_string())),
    }
}

pub(crate) fn unreadable(error: &io::Error) -> Failure {
    Failure::new("file_unreadable", format!("cannot be read: {error}"))
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source: BufReader::with_capacity(READ, source),
            number: 0,
            line: Vec::new(),
        }
    }

    /// Whether nothing more is at hand, so that the next line may have to be waited for.
    pub(crate) fn would_wait(&self) -> bool {
        self.source.buffer().is_empty()
    }

    /// The next line and its number, from 1 on.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        let (mut length, mut ended) = (0, false);
        while !ended {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            length += text.len();
            if length <= MAX_LINE {
                self.line.extend_from_slice(text);
            }
            let used = text.len() + usize::from(end.is_some());
            ended = end.is_some();
            self.source.consume(used);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some((self.number, self.classify(length))))
    }

    fn classify(&self, length: usize) -> Line<'_> {
        if length > MAX_LINE {
            return Line::TooLong;
        }
        // Some programs begin a file with a byte order mark.
        let text = match self.line.strip_prefix(b"\xef\xbb\xbf") {
            Some(text) if self.number == 1 => text,
            _ => &self.line,
        };
        let text = text.trim_ascii();
        if text.is_empty() {
            Line::Blank
        } else {
            Line::Text(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: impl Read) -> Vec<(u64, String)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            all.push((
                number,
                match line {
                    Line::Blank => "(blank)".to_owned(),
                    Line::TooLong => "(too long)".to_owned(),
                    Line::Text(text) => String::from_utf8_lossy(text).into_owned(),
                },
            ));
        }
        all
    }

    #[test]
    fn lines_keep_their_numbers() {
        let told = all(&b"\xef\xbb\xbfone\r\n\n  two\nthree"[..]);
        assert_eq!(
            told,
            [
                (1, "one".to_owned()),
                (2, "(blank)".to_owned()),
                (3, "two".to_owned()),
                (4, "three".to_owned())
            ]
        );
        assert_eq!(all(&b""[..]), []);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_line_may() {
        let endless = io::repeat(b'x').take(64 << 20);
        let mut lines = Lines::new(endless.chain(&b"\nshort\n"[..]));
        assert_eq!(lines.next().unwrap(), Some((1, Line::TooLong)));
        assert!(lines.line.capacity() <= 2 * MAX_LINE);
        assert_eq!(lines.next().unwrap(), Some((2, Line::Text(b"short"))));
        assert_eq!(lines.next().unwrap(), None);
    }
}
