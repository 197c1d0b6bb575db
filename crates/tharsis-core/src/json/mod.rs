//! JSON as JavaScript writes it.
//!
//! The documented receivers do not verify the bytes they got but `HMAC(JSON.stringify(JSON.parse(body)))`. So a body that
//! is signed here must be a fixed point of that round trip: compact, numbers as ECMAScript prints them, escapes as
//! `JSON.stringify` chooses them, array-index keys first. [`parse`] refuses what cannot survive it, and
//! [`Value::write`] prints the rest so that it does.
//!
//! ```
//! use tharsis_core::json;
//!
//! let value = json::parse(br#"{ "price": 30.0, "name": "Cr\u00e8me", "1": null }"#)?;
//! assert_eq!(value.to_vec(), r#"{"1":null,"price":30,"name":"Crème"}"#.as_bytes());
//!
//! let refused = json::parse(br#"{"id": 9007199254740993}"#).unwrap_err();
//! assert_eq!(refused.code, "number_out_of_range");
//! assert_eq!(refused.field.as_deref(), Some("id"));
//! # Ok::<(), tharsis_core::Invalid>(())
//! ```

mod number;
mod object;
mod parse;
mod plain;
mod write;

use std::borrow::Cow;

pub use object::Object;
pub(crate) use object::path_step;
pub use parse::{MAX_DEPTH, parse};
pub(crate) use write::number_to_string;

/// A JSON value. Text is borrowed from what was parsed wherever it holds no escape.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Every number is a double, as in JavaScript. What is not finite is written `null`, as there; [`parse`] lets none in.
    Number(f64),
    /// Text without lone surrogates.
    String(Cow<'a, str>),
    /// Values in order.
    Array(Vec<Self>),
    /// Fields in the order JavaScript enumerates them.
    Object(Object<'a>),
}

impl Value<'_> {
    /// The value under this key of an object; of anything else nothing.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// What this is, in words: `an object`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Appends what `JSON.stringify` would write.
    pub fn write(&self, out: &mut Vec<u8>) {
        write::value(self, out);
    }

    /// What `JSON.stringify` would write.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write(&mut out);
        out
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<Object<'a>> for Value<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

impl<'a> From<Vec<Self>> for Value<'a> {
    fn from(values: Vec<Self>) -> Self {
        Self::Array(values)
    }
}
