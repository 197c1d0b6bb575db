//! The payloads of Mars, one file per family: what an engine builds, and the check that both ways in go through.
//!
//! A builder writes a [`json::Value`](crate::json::Value) and hands it to the same check as parsed JSON, so a payload that
//! was built and one that was handed over as text are equally sound. Fields that no document names are kept where they
//! stand and sent on.

pub mod nudge;
pub mod product_discount_recommendation;
pub mod test_event;

mod check;

pub use nudge::Nudge;
pub use product_discount_recommendation::ProductDiscountRecommendation;

pub(crate) use check::{Fields, object};

use std::borrow::Cow;

use crate::{
    ClientId, Invalid, Timestamp,
    json::{Object, Value},
};

/// The documented names of identities in `userIdentities`; any other name will do as well.
pub mod identity {
    /// The user in the customer's own system.
    pub const USER_ID: &str = "userId";
    /// The user in CleverTap.
    pub const CLEVERTAP_ID: &str = "clevertapId";
    /// The user's e-mail address.
    pub const EMAIL: &str = "email";
}

/// What the outbox needs to know of a payload beside its bytes.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) client: ClientId,
    pub(crate) campaign: Option<Box<str>>,
    pub(crate) recipient: Option<Box<str>>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Facts {
    /// Of a payload that nobody looked into.
    pub(crate) fn of_client(client: ClientId) -> Self {
        Self {
            client,
            campaign: None,
            recipient: None,
            expires_at: None,
        }
    }
}

/// Judges a payload and says what the outbox needs to know of it.
pub(crate) type Check = fn(&Object<'_>) -> Result<Facts, Invalid>;

/// The check of a type that Mars documents; any other type may hold whatever object it likes.
pub(crate) fn check_of(event_type: &str) -> Option<Check> {
    match event_type {
        product_discount_recommendation::TYPE => Some(product_discount_recommendation::check),
        nudge::TYPE => Some(nudge::check),
        _ => None,
    }
}

/// An object with the fields that have a value, in this order.
fn written<'a, const N: usize>(
    fields: [(&'a str, Option<Value<'a>>); N],
) -> Result<Object<'a>, Invalid> {
    Object::new(
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((Cow::Borrowed(name), value?)))
            .collect(),
    )
}

fn written_identities(identities: &[(String, String)]) -> Result<Object<'_>, Invalid> {
    Object::new(
        identities
            .iter()
            .map(|(kind, id)| (Cow::Borrowed(&**kind), Value::from(&**id)))
            .collect(),
    )
    .map_err(|e| e.at("userIdentities"))
}
