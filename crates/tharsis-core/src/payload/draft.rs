use std::borrow::Cow;

use crate::{
    Invalid,
    json::{Object, Value},
};

/// An object that is being written, in the documented order of its fields.
pub(crate) struct Draft<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Draft<'a> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// The next field; one without a value is left out.
    pub(crate) fn set(mut self, name: &'a str, value: Option<impl Into<Value<'a>>>) -> Self {
        self.0
            .extend(value.map(|value| (Cow::Borrowed(name), value.into())));
        self
    }

    pub(crate) fn finish(self) -> Result<Object<'a>, Invalid> {
        Object::new(self.0)
    }
}

pub(crate) fn identities(kinds: &[(String, String)]) -> Result<Object<'_>, Invalid> {
    Object::new(
        kinds
            .iter()
            .map(|(kind, id)| (Cow::Borrowed(&**kind), Value::from(&**id)))
            .collect(),
    )
    .map_err(|e| e.at("userIdentities"))
}
