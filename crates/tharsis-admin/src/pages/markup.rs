//! What stands in pages as it is, for it is made here and of what harms nobody; and the last look at a page before it goes out.

use std::fmt::{self, Write as _};

use askama::filters::HtmlSafe;
use tharsis::{Timestamp, text::inert};

use crate::text::moment;

/// An instant, for people and for programs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    at: Timestamp,
    now: Timestamp,
}

impl Moment {
    pub(crate) const fn of(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = moment(self.at, self.now);
        write!(f, "<time datetime=\"{}\">{told}</time>", self.at)
    }
}

impl HtmlSafe for Moment {}

/// How something does, in a word. A sign stands before it, so that nobody goes by its colour alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Badge(&'static str);

impl Badge {
    /// The word of a status, a state or a condition.
    pub(crate) const fn of(word: &'static str) -> Self {
        Self(word)
    }

    /// What it comes to, and its sign.
    fn kind(self) -> (&'static str, char) {
        match self.0 {
            "delivered" | "active" | "healthy" | "done" | "usable" | "sealing" => ("good", '✓'),
            "dead" | "refused" | "expired" | "suspended" | "open" | "forgotten" => ("bad", '✕'),
            "pending" | "retrying" | "throttled" | "half_open" | "not_routed" | "waiting"
            | "running" | "prepared" => ("waits", '…'),
            "held" | "paused" => ("held", '‖'),
            _ => ("over", '–'),
        }
    }
}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, sign) = self.kind();
        let word = self.0.replace('_', " ");
        write!(
            f,
            "<span class=\"badge {kind}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>"
        )
    }
}

impl HtmlSafe for Badge {}

/// What somebody typed, to the letter, as the value of a field: characters that could steer a page stand as their numbers, so
/// that what is sent again is what was typed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(String);

impl From<&str> for Kept {
    fn from(typed: &str) -> Self {
        Self(typed.to_owned())
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_ascii_alphanumeric() || " -_.:/".contains(c) {
                f.write_char(c)?;
            } else {
                write!(f, "&#{};", u32::from(c))?;
            }
        }
        Ok(())
    }
}

impl HtmlSafe for Kept {}

/// A page in which no text of strangers steers how the text around it is shown: what would is shown itself. Whatever is told on
/// a page, it goes out through here.
pub(crate) fn calm(page: &str) -> String {
    let lines: Vec<_> = page.split('\n').map(inert).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_told_to_programs_too() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let at = Timestamp::from_millis(1_699_999_940_000);
        assert_eq!(
            Moment::of(at, now).to_string(),
            "<time datetime=\"2023-11-14T22:12:20.000Z\">2023-11-14T22:12:20Z (1m ago)</time>"
        );
    }

    #[test]
    fn a_word_has_a_sign() {
        assert_eq!(
            Badge::of("half_open").to_string(),
            "<span class=\"badge waits\"><span aria-hidden=\"true\">…</span> half open</span>"
        );
        assert_eq!(Badge::of("cancelled").kind(), ("over", '–'));
    }

    #[test]
    fn what_was_typed_comes_back_and_is_no_markup() {
        let typed = Kept::from("a \"<b>\u{202e}ü\n");
        assert_eq!(typed.to_string(), "a &#34;&#60;b&#62;&#8238;&#252;&#10;");
    }

    #[test]
    fn nothing_steers_how_a_page_is_shown() {
        assert_eq!(
            calm("<p>\n<b>\u{202e}evil\u{7}</b> 😀\n"),
            "<p>\n<b>\\u{202e}evil\\u{7}</b> 😀\n"
        );
    }
}
