use std::borrow::Cow;

use super::{Facts, check::number, plain};
use crate::{
    Invalid,
    json::{Object, Value, path_step},
};

/// Fields whose names the sender leaves open, in the order in which they were given.
pub(super) type Params = Vec<(String, Value<'static>)>;

/// These fields as the object that stands under `name`.
pub(super) fn written_params<'p>(
    name: &str,
    params: &'p [(String, Value<'static>)],
) -> Result<Value<'p>, Invalid> {
    let field = |(key, value): &'p (String, Value<'static>)| {
        is_finite(value).map_err(|e| e.at(path_step(key)))?;
        Ok((Cow::Borrowed(&**key), value.clone()))
    };
    let fields: Result<Vec<_>, Invalid> = params.iter().map(field).collect();
    fields
        .and_then(Object::new)
        .map(Value::Object)
        .map_err(|e| e.at(name))
}

/// Parsed JSON is finite throughout; a value that somebody made need not be.
fn is_finite(value: &Value<'_>) -> Result<(), Invalid> {
    match value {
        Value::Number(_) => number(value).map(|_| ()),
        Value::Array(values) => values.iter().try_for_each(is_finite),
        Value::Object(object) => object.iter().try_for_each(|(_, value)| is_finite(value)),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// Of either activity: the automation or else the journey, and the user by the key in the panel or else as known to all.
pub(super) fn facts(activity: &Object<'_>) -> Result<Facts, Invalid> {
    let within = |object: &str, name: &str| plain(activity.get(object)?.get(name));
    Ok(Facts {
        campaign: within("custom_params", "automationid")
            .or_else(|| plain(activity.get("journey_name"))),
        recipient: within("event_params", "foreignkey")
            .or_else(|| within("event_params", "identity")),
        expires_at: None,
    })
}
