use uuid::Uuid;

use crate::{
    Invalid, Timestamp,
    id::parse_uuid,
    json::{Object, Value, path_step},
};

/// The longest name of something: an id, a channel, the kind of a discount; in characters.
pub(super) const LABEL: u16 = 255;
/// The longest line: a title, a product's name, an address.
pub(super) const LINE: u16 = 2_048;
/// The longest text: the body of a message, a description.
pub(super) const TEXT: u16 = 16_384;

/// Reads the fields of an object and names the one that is wrong.
pub(crate) struct Fields<'o>(pub(crate) &'o Object<'o>);

impl<'o> Fields<'o> {
    /// A field that has to be there.
    pub(crate) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'o Value<'o>) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let value = self.0.get(name).ok_or_else(|| missing(name))?;
        read(value).map_err(|e| e.at(name))
    }

    /// A field that may be absent, but not null.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'o Value<'o>) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Null) => Err(null().at(name)),
            Some(value) => read(value).map(Some).map_err(|e| e.at(name)),
        }
    }
}

pub(super) fn missing(name: &str) -> Invalid {
    Invalid::new("missing_field", "is missing").at(name)
}

pub(super) fn null() -> Invalid {
    Invalid::new("wrong_type", "is null").hint("leave the field out")
}

/// An object, whatever is in it.
pub(crate) fn object<'o>(value: &'o Value<'o>) -> Result<&'o Object<'o>, Invalid> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(wrong_type(value, "an object")),
    }
}

/// An array, whatever is in it.
pub(super) fn array<'o>(value: &'o Value<'o>) -> Result<&'o [Value<'o>], Invalid> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(wrong_type(value, "an array")),
    }
}

/// Any string; for types whose constructor does the rest.
pub(crate) fn string<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong_type(value, "a string")),
    }
}

/// A name: not empty, in one line, at most 255 characters.
pub(crate) fn label<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_label(text)?;
    Ok(text)
}

/// One line of at most 2,048 characters.
pub(super) fn line<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_bounded(text, LINE, |_| false)?;
    Ok(text)
}

/// At most 16,384 characters, line breaks and tabs among them.
pub(super) fn text<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_bounded(text, TEXT, |c| matches!(c, '\n' | '\r' | '\t'))?;
    Ok(text)
}

/// A finite number.
pub(super) fn number(value: &Value<'_>) -> Result<f64, Invalid> {
    match value {
        Value::Number(number) if number.is_finite() => Ok(*number),
        Value::Number(_) => Err(Invalid::new(
            "number_out_of_range",
            "is not a finite number",
        )),
        _ => Err(wrong_type(value, "a number")),
    }
}

/// A finite number without a fraction.
pub(super) fn integer(value: &Value<'_>) -> Result<f64, Invalid> {
    let number = number(value)?;
    if number.fract() != 0.0 {
        return Err(Invalid::new("wrong_type", "is a fraction, not an integer"));
    }
    Ok(number)
}

/// True or false.
pub(super) fn bool(value: &Value<'_>) -> Result<(), Invalid> {
    match value {
        Value::Bool(_) => Ok(()),
        _ => Err(wrong_type(value, "true or false")),
    }
}

/// A list of lines.
pub(super) fn lines(value: &Value<'_>) -> Result<(), Invalid> {
    for (i, value) in array(value)?.iter().enumerate() {
        line(value).map_err(|e| e.at(format_args!("[{i}]")))?;
    }
    Ok(())
}

/// A hyphenated UUID.
pub(crate) fn uuid(value: &Value<'_>) -> Result<Uuid, Invalid> {
    match value {
        Value::String(text) => parse_uuid(text),
        _ => Err(Invalid::new(
            "bad_uuid",
            format!("is {}, not a UUID in a string", value.kind()),
        )),
    }
}

/// A time as RFC 3339 writes it.
pub(crate) fn time(value: &Value<'_>) -> Result<Timestamp, Invalid> {
    Timestamp::parse(string(value)?)
}

/// The ids that a person goes by: an object of strings, of which at least one names somebody.
pub(super) fn identities(value: &Value<'_>) -> Result<(), Invalid> {
    let mut somebody = false;
    for (kind, value) in object(value)?.iter() {
        let id = line(value).map_err(|e| e.at(path_step(kind)))?;
        is_label(kind).map_err(|e| e.at(path_step(kind)))?;
        somebody |= !id.trim().is_empty();
    }
    if !somebody {
        return Err(Invalid::new("empty_identities", "names nobody")
            .hint("give at least one identity, such as userId"));
    }
    Ok(())
}

fn is_label(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new("empty", "is empty"));
    }
    is_bounded(text, LABEL, |_| false)
}

/// Only what controls a terminal is refused. Marks of direction stay: right-to-left titles need them.
fn is_bounded(text: &str, longest: u16, allowed: fn(char) -> bool) -> Result<(), Invalid> {
    // A character has at least one byte, so short texts need no count.
    if text.len() > longest.into() && text.chars().count() > longest.into() {
        return Err(Invalid::new(
            "too_long",
            format!("is longer than {longest} characters"),
        ));
    }
    let is_plain = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !is_plain && text.chars().any(|c| c.is_control() && !allowed(c)) {
        return Err(Invalid::new(
            "control_character",
            "holds a control character",
        ));
    }
    Ok(())
}

fn wrong_type(value: &Value<'_>, expected: &'static str) -> Invalid {
    Invalid::new("wrong_type", format!("is {}, not {expected}", value.kind()))
}
