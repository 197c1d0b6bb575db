//! Which events a subscription gets, beyond their types: an expression over the payload.
//!
//! The language is a part of [CEL](https://github.com/google/cel-spec), and what an expression means here it means there
//! (ADR 12 says why a part, and why our own reading of it):
//!
//! | | |
//! | --- | --- |
//! | values | `"text"`, `'text'`, `r"raw"`, `20`, `0.5`, `0xff`, `true`, `false`, `null`, `[1, 2]` |
//! | the event | `event.channel`, `event["odd name"]`, `event.predictions[0]` |
//! | is it there | `has(event.coupon)` |
//! | comparisons | `==` `!=` `<` `<=` `>` `>=`, `"sms" in ["sms", "apn"]`, `"CITY" in event.att_params` |
//! | logic | `&&` `\|\|` `!`, `condition ? this : that` |
//! | numbers | `+` `-` `*` |
//! | texts | `size(t)`, `t.startsWith(s)`, `t.endsWith(s)`, `t.contains(s)`, with case |
//! | arrays, and the keys of objects | `size(a)`, `a.exists(x, test)`, `a.all(x, test)`, `a.exists_one(x, test)`, `a.filter(x, test)`, `a.map(x, value)` |
//!
//! Numbers are doubles, as everywhere in JSON, so `event.discount > 20` needs no thought. What differs in kind is not
//! equal (`1 == "1"` is false) and has no order (`1 < "1"` cannot be told).
//!
//! **A field that is missing** makes cannot-be-told of whatever asks for it, and an event about which it cannot be told
//! is not wanted: the same as if the filter were false. So `event.coupon.discount > 20` alone is enough to get only
//! events that have a coupon. It matters under `!` and `!=`: `event.status != "pristine"` does not want an event without
//! status; `!has(event.status) || event.status != "pristine"` does. One side of `&&` or `||` that settles the matter is
//! enough, whichever it is, and so is one element for `exists` and `all`. `has` asks for the last step only:
//! `has(event.a.b)` without `event.a` cannot be told either.
//!
//! **The cost is bounded**, by [`MAX_STEPS`]; an answer that would take more is [`Why::TooCostly`], which is not a no.
//!
//! ```
//! use tharsis_core::{filter::{Answer, Filter}, json};
//!
//! let filter = Filter::parse(r#"event.predictions.exists(p, p.discount > 20)"#)?;
//! let payload = json::parse(br#"{"predictions":[{"discount":10},{"discount":30}]}"#)?;
//! assert_eq!(filter.wants(&payload), Answer::Yes);
//!
//! let refused = Filter::parse(r#"evnt.channel == "push""#).unwrap_err();
//! assert_eq!(refused.code, "filter_unknown_name");
//! assert_eq!(refused.to_string(), "filter: column 1: evnt is not known (the event is called event: event.evnt)");
//! # Ok::<(), tharsis_core::Invalid>(())
//! ```

use std::{fmt, sync::Arc};

use crate::{Invalid, bounds, json::Value};

mod eval;
mod parse;
mod tokens;
mod tree;

pub use eval::MAX_STEPS;

/// The longest text of a filter, in characters.
pub const MAX_LENGTH: usize = 2_048;

/// How deep an expression may lie in another, parentheses counted. `a && b && c` lies side by side, as does `||`.
pub const MAX_DEPTH: usize = 32;

/// How many of `exists`, `all`, `exists_one`, `filter` and `map` may lie in one another.
pub const MAX_LOOPS: usize = 3;

/// An expression over an event's payload that was checked. A copy costs nothing. Two are equal when their texts are.
#[derive(Clone)]
pub struct Filter {
    inner: Arc<Inner>,
}

struct Inner {
    text: Box<str>,
    root: tree::Node,
}

impl Filter {
    /// Reads a filter and checks what can be known without an event.
    ///
    /// # Errors
    /// All name the field `filter`; all but the first three tell the column, in characters from 1 on.
    ///
    /// | code | when |
    /// | --- | --- |
    /// | `empty` | there is nothing but white space |
    /// | `too_long` | more than [`MAX_LENGTH`] characters |
    /// | `control_character` | a line break, or another character that is not shown; a filter is one line |
    /// | `filter_syntax` | no expression |
    /// | `filter_unknown_name` | a variable or a function that is not there |
    /// | `filter_not_allowed` | CEL, but not of the part that is understood here |
    /// | `filter_too_deep` | deeper than [`MAX_DEPTH`] or [`MAX_LOOPS`] |
    /// | `filter_not_boolean` | what should be true or false never is |
    /// | `filter_type_mismatch` | an operation on values that never fit it |
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let root = bounds::text(text, MAX_LENGTH)
            .and_then(|()| parse::parse(text))
            .map_err(|e| e.at("filter"))?;
        let text = text.into();
        Ok(Self {
            inner: Arc::new(Inner { text, root }),
        })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Whether an event with this payload is wanted. The answer depends on nothing else, and takes at most [`MAX_STEPS`].
    pub fn wants(&self, payload: &Value<'_>) -> Answer {
        self.judge(payload).0
    }

    /// The same, and how many steps it took.
    pub fn judge(&self, payload: &Value<'_>) -> (Answer, usize) {
        let (result, steps) = eval::eval(&self.inner.root, payload);
        let answer = match result {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(why) => Answer::CannotTell(why),
        };
        (answer, steps)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Filter {}

/// The text.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text()).finish()
    }
}

/// What a filter says of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is wanted.
    Yes,
    /// It is not wanted.
    No,
    /// The payload is not as the filter expects. Not wanted either, except that [`Why::TooCostly`] decides nothing.
    CannotTell(Why),
}

/// Why it cannot be told whether an event is wanted. Columns are of the filter's text, in characters from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The payload has no such field, or an array no such element.
    Missing {
        /// Where it is asked for.
        column: usize,
    },
    /// A value is of another kind than the operation can take.
    TypeMismatch {
        /// Where the operation stands.
        column: usize,
    },
    /// The answer would take more than [`MAX_STEPS`]. Whoever asked must not take it for a no: the event would be lost
    /// without a word.
    TooCostly,
}

impl Why {
    /// Stable: `filter_field_missing`, `filter_type_mismatch`, `filter_too_costly`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing { .. } => "filter_field_missing",
            Self::TypeMismatch { .. } => "filter_type_mismatch",
            Self::TooCostly => "filter_too_costly",
        }
    }
}

/// What happened, without a word of the payload.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { column } => {
                write!(f, "column {column}: the event has no such field or element")
            }
            Self::TypeMismatch { column } => {
                write!(
                    f,
                    "column {column}: the event's value is of a kind that does not fit"
                )
            }
            Self::TooCostly => write!(f, "the answer takes more than {MAX_STEPS} steps"),
        }
    }
}
