//! What a payload holds, as data: one walk checks a payload by it, another writes it down as JSON Schema.

use std::{borrow::Cow, ops::RangeInclusive};

use super::{check, written};
use crate::{
    Invalid,
    json::{Object, Value},
};

/// A field that a document names. Others may stand beside it.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    pub(super) kind: Kind,
    is_required: bool,
    rule: Option<Rule>,
}

/// What holds between the fields of one object. Those in front of it in the shape are known to be sound.
pub(crate) type Rule = fn(&Object<'_>) -> Result<(), Invalid>;

/// What may stand in a field.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The type of the event, word for word.
    Type(&'static str),
    /// A name: not empty, in one line, at most 255 characters.
    Label,
    /// One line of at most 2,048 characters.
    Line,
    /// At most 16,384 characters, line breaks and tabs among them.
    Text,
    /// A finite number from this range.
    Number(RangeInclusive<f64>),
    /// A number without a fraction from this range.
    Integer(RangeInclusive<f64>),
    /// True or false.
    Bool,
    /// A hyphenated UUID.
    Uuid,
    /// A time as RFC 3339 writes it.
    Time,
    /// A list of [lines](Self::Line).
    Lines,
    /// An object of strings, of which at least one names somebody.
    Identities,
    /// An object; without fields here, one of which nothing else is known.
    Object(&'static [Field]),
    /// So many such objects or more.
    Objects(u16, &'static [Field]),
    /// This, or null.
    OrNull(&'static Self),
    /// Whatever JSON can say.
    Any,
}

/// Every number.
pub(super) const ALL: RangeInclusive<f64> = f64::NEG_INFINITY..=f64::INFINITY;
/// Every number that is not negative.
pub(super) const FROM_ZERO: RangeInclusive<f64> = 0.0..=f64::INFINITY;

/// A field that has to be there.
pub(super) const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        is_required: true,
        rule: None,
    }
}

/// A field that may be absent.
pub(super) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        is_required: false,
        rule: None,
    }
}

impl Field {
    /// The same field, and a rule that is judged after it, be it there or not.
    pub(super) const fn then(self, rule: Rule) -> Self {
        Self {
            name: self.name,
            kind: self.kind,
            is_required: self.is_required,
            rule: Some(rule),
        }
    }

    fn check(&self, object: &Object<'_>) -> Result<(), Invalid> {
        match object.get(self.name) {
            None if self.is_required => Err(check::missing(self.name)),
            None => Ok(()),
            Some(Value::Null) if !self.is_required && !self.kind.takes_null() => {
                Err(check::null().at(self.name))
            }
            Some(value) => self.kind.check(value).map_err(|e| e.at(self.name)),
        }?;
        self.rule.map_or(Ok(()), |rule| rule(object))
    }
}

impl Kind {
    fn takes_null(&self) -> bool {
        matches!(self, Self::OrNull(_) | Self::Any)
    }

    fn check(&self, value: &Value<'_>) -> Result<(), Invalid> {
        match self {
            Self::Type(name) if check::string(value)? == *name => Ok(()),
            Self::Type(_) => Err(Invalid::new(
                "type_mismatch",
                "is not the type it is published as",
            )),
            Self::Label => check::label(value).map(|_| ()),
            Self::Line => check::line(value).map(|_| ()),
            Self::Text => check::text(value).map(|_| ()),
            Self::Number(range) => is_within(check::number(value)?, range),
            Self::Integer(range) => is_within(check::integer(value)?, range),
            Self::Bool => check::bool(value),
            Self::Uuid => check::uuid(value).map(|_| ()),
            Self::Time => check::time(value).map(|_| ()),
            Self::Lines => check::lines(value),
            Self::Identities => check::identities(value),
            Self::Object(shape) => check_shape(shape, check::object(value)?),
            Self::Objects(least, shape) => each(check::array(value)?, *least, shape),
            Self::OrNull(_) if *value == Value::Null => Ok(()),
            Self::OrNull(kind) => kind.check(value),
            Self::Any => Ok(()),
        }
    }

    fn schema(&self) -> Result<Object<'static>, Invalid> {
        match self {
            Self::Type(name) => written([("const", Some((*name).into()))]),
            Self::Label => string(Some(1.0), check::LABEL, NAME),
            Self::Line => string(None, check::LINE, IN_ONE_LINE),
            Self::Text => string(None, check::TEXT, IN_LINES),
            Self::Number(range) => number("number", range),
            Self::Integer(range) => number("integer", range),
            Self::Bool => written([("type", Some("boolean".into()))]),
            Self::Uuid => format("uuid"),
            Self::Time => format("date-time"),
            Self::Lines => written([
                ("type", Some("array".into())),
                ("items", Some(Self::Line.schema()?.into())),
            ]),
            Self::Identities => written([
                ("type", Some("object".into())),
                ("propertyNames", Some(Self::Label.schema()?.into())),
                ("additionalProperties", Some(Self::Line.schema()?.into())),
                ("minProperties", Some(1.0.into())),
            ]),
            Self::Object(shape) => written(keywords(shape)?),
            Self::Objects(least, shape) => written([
                ("type", Some("array".into())),
                ("items", Some(written(keywords(shape)?)?.into())),
                ("minItems", (*least > 0).then(|| f64::from(*least).into())),
            ]),
            Self::OrNull(kind) => {
                let null = written([("type", Some("null".into()))])?;
                written([(
                    "anyOf",
                    Some(vec![kind.schema()?.into(), null.into()].into()),
                )])
            }
            Self::Any => written([]),
        }
    }
}

/// Judges an object by its fields, in this order.
pub(super) fn check_shape(shape: &[Field], object: &Object<'_>) -> Result<(), Invalid> {
    shape.iter().try_for_each(|field| field.check(object))
}

fn each(values: &[Value<'_>], least: u16, shape: &[Field]) -> Result<(), Invalid> {
    if values.len() < least.into() {
        return Err(Invalid::new("empty", format!("holds fewer than {least}")));
    }
    for (i, value) in values.iter().enumerate() {
        check::object(value)
            .and_then(|object| check_shape(shape, object))
            .map_err(|e| e.at(format_args!("[{i}]")))?;
    }
    Ok(())
}

fn is_within(number: f64, range: &RangeInclusive<f64>) -> Result<(), Invalid> {
    if range.contains(&number) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(Invalid::new(
        "out_of_range",
        match (*least, *most) {
            (0.0, f64::INFINITY) => "is negative".into(),
            (_, f64::INFINITY) => format!("is less than {least}"),
            _ => format!("is not from {least} to {most}"),
        },
    ))
}

/// What JSON Schema says of an object with these fields. Rules are not in it.
pub(super) fn keywords(
    shape: &'static [Field],
) -> Result<[(&'static str, Option<Value<'static>>); 3], Invalid> {
    let mut properties = Vec::with_capacity(shape.len());
    for field in shape {
        properties.push((Cow::Borrowed(field.name), field.kind.schema()?.into()));
    }
    let required: Vec<_> = shape
        .iter()
        .filter(|field| field.is_required)
        .map(|field| field.name.into())
        .collect();
    let properties = (!properties.is_empty()).then_some(properties);
    let required = (!required.is_empty()).then_some(required);
    Ok([
        ("type", Some("object".into())),
        (
            "properties",
            properties.map(Object::new).transpose()?.map(Value::from),
        ),
        ("required", required.map(Value::from)),
    ])
}

/// No control character.
const IN_ONE_LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// No control character but line breaks and tabs.
const IN_LINES: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
/// No control character, and something to see.
const NAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

fn string(
    shortest: Option<f64>,
    longest: u16,
    pattern: &'static str,
) -> Result<Object<'static>, Invalid> {
    written([
        ("type", Some("string".into())),
        ("minLength", shortest.map(Value::from)),
        ("maxLength", Some(f64::from(longest).into())),
        ("pattern", Some(pattern.into())),
    ])
}

fn number(kind: &'static str, range: &RangeInclusive<f64>) -> Result<Object<'static>, Invalid> {
    let bound = |bound: f64| bound.is_finite().then(|| bound.into());
    written([
        ("type", Some(kind.into())),
        ("minimum", bound(*range.start())),
        ("maximum", bound(*range.end())),
    ])
}

fn format(name: &'static str) -> Result<Object<'static>, Invalid> {
    written([
        ("type", Some("string".into())),
        ("format", Some(name.into())),
    ])
}
