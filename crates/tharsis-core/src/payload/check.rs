use uuid::Uuid;

use crate::{
    Invalid, Timestamp,
    id::parse_uuid,
    json::{Object, Value, path_step},
};

/// The longest name of something: an id, a channel, the kind of a discount.
const LABEL: usize = 255;
/// The longest line: a title, a product's name, an address.
const LINE: usize = 2_048;
/// The longest text: the body of a message, a description.
const TEXT: usize = 16_384;

/// Reads the fields of an object and names the one that is wrong.
pub(crate) struct Fields<'o>(pub(crate) &'o Object<'o>);

impl<'o> Fields<'o> {
    /// A name: not empty, in one line, at most 255 characters.
    pub(crate) fn label(&self, name: &str) -> Result<&'o str, Invalid> {
        self.required(name, label)
    }

    /// One line of at most 2,048 characters.
    pub(crate) fn line(&self, name: &str) -> Result<&'o str, Invalid> {
        self.required(name, line)
    }

    /// One line, if the field is there.
    pub(crate) fn optional_line(&self, name: &str) -> Result<Option<&'o str>, Invalid> {
        self.optional(name, line)
    }

    /// At most 16,384 characters, line breaks and tabs among them.
    pub(crate) fn text(&self, name: &str) -> Result<&'o str, Invalid> {
        self.required(name, text)
    }

    /// Any string; for types whose constructor does the rest.
    pub(crate) fn string(&self, name: &str) -> Result<&'o str, Invalid> {
        self.required(name, string)
    }

    /// Any string, if the field is there.
    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<&'o str>, Invalid> {
        self.optional(name, string)
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<f64, Invalid> {
        self.required(name, number)
    }

    /// A hyphenated UUID.
    pub(crate) fn uuid(&self, name: &str) -> Result<Uuid, Invalid> {
        self.required(name, uuid)
    }

    /// A time as RFC 3339 writes it.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, Invalid> {
        self.required(name, time)
    }

    /// A time, if the field is there.
    pub(crate) fn optional_time(&self, name: &str) -> Result<Option<Timestamp>, Invalid> {
        self.optional(name, time)
    }

    /// A name, if the field is there.
    pub(crate) fn optional_label(&self, name: &str) -> Result<Option<&'o str>, Invalid> {
        self.optional(name, label)
    }

    /// An object, whose own fields are read by `check`.
    pub(crate) fn object<T>(
        &self,
        name: &str,
        check: impl FnOnce(Self) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.required(name, |value| check(Self(object(value)?)))
    }

    /// An object, if the field is there.
    pub(crate) fn optional_object<T>(
        &self,
        name: &str,
        check: impl FnOnce(Self) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.optional(name, |value| check(Self(object(value)?)))
    }

    /// An array of objects, each read by `check`.
    pub(crate) fn objects(
        &self,
        name: &str,
        check: impl Fn(Self) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.required(name, |value| each(value, check))
    }

    /// An array of objects, if the field is there.
    pub(crate) fn optional_objects(
        &self,
        name: &str,
        check: impl Fn(Self) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.optional(name, |value| each(value, check)).map(|_| ())
    }

    /// The ids that a person goes by: an object of strings, of which at least one names somebody.
    pub(crate) fn identities(&self, name: &str) -> Result<(), Invalid> {
        self.object(name, |identities| {
            let mut somebody = false;
            for (kind, value) in identities.0.iter() {
                let id = line(value).map_err(|e| e.at(path_step(kind)))?;
                is_label(kind).map_err(|e| e.at(path_step(kind)))?;
                somebody |= !id.trim().is_empty();
            }
            if !somebody {
                return Err(Invalid::new("empty_identities", "names nobody")
                    .hint("give at least one identity, such as userId"));
            }
            Ok(())
        })
    }

    fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'o Value<'o>) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let value = self
            .0
            .get(name)
            .ok_or_else(|| Invalid::new("missing_field", "is missing").at(name))?;
        read(value).map_err(|e| e.at(name))
    }

    fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'o Value<'o>) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Null) => Err(Invalid::new("wrong_type", "is null")
                .at(name)
                .hint("leave the field out")),
            Some(value) => read(value).map(Some).map_err(|e| e.at(name)),
        }
    }
}

fn each<'o>(
    value: &'o Value<'o>,
    check: impl Fn(Fields<'o>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let Value::Array(values) = value else {
        return Err(wrong_type(value, "an array"));
    };
    for (i, value) in values.iter().enumerate() {
        object(value)
            .and_then(|object| check(Fields(object)))
            .map_err(|e| e.at(format_args!("[{i}]")))?;
    }
    Ok(())
}

pub(crate) fn object<'o>(value: &'o Value<'o>) -> Result<&'o Object<'o>, Invalid> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(wrong_type(value, "an object")),
    }
}

fn string<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong_type(value, "a string")),
    }
}

fn label<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_label(text)?;
    Ok(text)
}

fn is_label(text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new("empty", "is empty"));
    }
    is_bounded(text, LABEL, |_| false)
}

fn line<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_bounded(text, LINE, |_| false)?;
    Ok(text)
}

fn text<'o>(value: &'o Value<'o>) -> Result<&'o str, Invalid> {
    let text = string(value)?;
    is_bounded(text, TEXT, |c| matches!(c, '\n' | '\r' | '\t'))?;
    Ok(text)
}

/// Only what controls a terminal is refused. Marks of direction stay: right-to-left titles need them.
fn is_bounded(text: &str, longest: usize, allowed: fn(char) -> bool) -> Result<(), Invalid> {
    // A character has at least one byte, so short texts need no count.
    if text.len() > longest && text.chars().count() > longest {
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

fn number(value: &Value<'_>) -> Result<f64, Invalid> {
    match value {
        Value::Number(number) if number.is_finite() => Ok(*number),
        Value::Number(_) => Err(Invalid::new(
            "number_out_of_range",
            "is not a finite number",
        )),
        _ => Err(wrong_type(value, "a number")),
    }
}

fn uuid(value: &Value<'_>) -> Result<Uuid, Invalid> {
    match value {
        Value::String(text) => parse_uuid(text),
        _ => Err(Invalid::new(
            "bad_uuid",
            format!("is {}, not a UUID in a string", value.kind()),
        )),
    }
}

fn time(value: &Value<'_>) -> Result<Timestamp, Invalid> {
    Timestamp::parse(string(value)?)
}

fn wrong_type(value: &Value<'_>, expected: &'static str) -> Invalid {
    Invalid::new("wrong_type", format!("is {}, not {expected}", value.kind()))
}
