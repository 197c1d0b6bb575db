use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::Item;
use crate::{
    Invalid,
    json::{self, Object, Value},
    payload::test_event,
    profile::{Encoding, Fallback, PANEL, Place, Setting},
    subscription::Settings,
};

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The body of a request: a pure function of the frozen bytes and the subscription.
///
/// # Errors
/// What [`json::parse`] refuses, where a payload that is no JSON would have to be changed.
pub(super) fn encode(settings: &Settings, items: &[Item<'_>]) -> Result<Bytes, Invalid> {
    match (&settings.profile.encoding, items) {
        (Encoding::Json, [item]) => own(settings, item),
        (Encoding::Enveloped, [item]) => {
            let payload = own(settings, item)?;
            let mut body = Vec::with_capacity(payload.len() + item.event_type.len() + 24);
            body.extend_from_slice(b"{\"event\":");
            Value::from(item.event_type).write(&mut body);
            body.extend_from_slice(b",\"payload\":");
            body.extend_from_slice(&payload);
            body.push(b'}');
            Ok(body.into())
        }
        (Encoding::Form { field }, items) => form(settings, field, items),
        (Encoding::Json | Encoding::Enveloped, _) => Err(Invalid::new(
            "batch_without_list",
            "one request of this profile delivers one event",
        )),
    }
}

fn form(settings: &Settings, field: &str, items: &[Item<'_>]) -> Result<Bytes, Invalid> {
    let panel = settings.profile_settings.get(PANEL).map_or("", |p| &**p);
    let mut list = Vec::with_capacity(64 + items.iter().map(|i| i.payload.len()).sum::<usize>());
    list.push(b'{');
    Value::from(panel).write(&mut list);
    list.extend_from_slice(b":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            list.push(b',');
        }
        list.extend_from_slice(&own(settings, item)?);
    }
    list.extend_from_slice(b"]}");
    let mut body = Vec::with_capacity(2 * list.len());
    body.extend_from_slice(field.as_bytes());
    body.push(b'=');
    for piece in percent_encode(&list, RESERVED) {
        body.extend_from_slice(piece.as_bytes());
    }
    Ok(body.into())
}

/// The payload as this subscription gets it. Nothing is copied where it is as it was frozen.
fn own(settings: &Settings, item: &Item<'_>) -> Result<Bytes, Invalid> {
    let is_placed = |setting: &&Setting| places(setting, item.event_type).next().is_some();
    let placed: Vec<&Setting> = (settings.profile.settings.iter())
        .filter(is_placed)
        .collect();
    // No receiver is to mistake the test event.
    let chooses = !settings.fields.is_all() && item.event_type != test_event::TYPE;
    if placed.is_empty() && !chooses {
        return Ok(item.payload.clone());
    }
    let mut payload = json::parse(item.payload)?;
    for setting in placed {
        let value = value_of(settings, setting, item);
        for place in places(setting, item.event_type) {
            put(&mut payload, &place.path, &value);
        }
    }
    if chooses {
        settings.fields.choose(&mut payload);
    }
    Ok(payload.to_vec().into())
}

fn places<'s>(setting: &'s Setting, event_type: &str) -> impl Iterator<Item = &'s Place> {
    (setting.places.iter()).filter(move |place| place.event_type == event_type)
}

fn value_of<'s>(settings: &'s Settings, setting: &Setting, item: &Item<'_>) -> Cow<'s, str> {
    match (
        settings.profile_settings.get(&*setting.name),
        setting.fallback,
    ) {
        (Some(given), _) => Cow::Borrowed(given),
        (None, Fallback::SubscriptionName) => Cow::Borrowed(&settings.name),
        (None, Fallback::SubscriptionId) => Cow::Owned(item.id.subscription.to_string()),
        (None, Fallback::Required) => Cow::Borrowed(""),
    }
}

/// Writes a value at the end of a path; objects that are missing on the way are made.
fn put<'v>(payload: &mut Value<'v>, path: &[Cow<'static, str>], value: &str) {
    let (Value::Object(object), Some((step, rest))) = (payload, path.split_first()) else {
        return;
    };
    if rest.is_empty() {
        object.set(step.clone(), value.to_owned());
        return;
    }
    if !matches!(object.get(step), Some(Value::Object(_))) {
        object.set(step.clone(), Object::default());
    }
    if let Some(below) = object.get_mut(step) {
        put(below, rest, value);
    }
}
