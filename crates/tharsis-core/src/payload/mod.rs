//! The payloads of the documented senders, one file per type: what an engine builds, and the check that every way in goes
//! through. Those of [our own events](crate::alert::event()) are among them.
//!
//! A builder writes a [`json::Value`] and hands it to the same check as parsed JSON, so a payload that was built and one
//! that was handed over as text are equally sound. Fields that no document names are kept where they stand and sent on.
//! [`CATALOGUE`] lists the types; an event of any other type may hold whatever object it likes.

mod activity;
mod catalogue;
pub mod channel_activity;
mod check;
pub mod custom_activity;
pub mod nudge;
mod own;
pub mod product_discount_recommendation;
pub mod reward;
mod shape;
pub mod signal;
pub mod test_event;

pub use catalogue::{CATALOGUE, Documented};
pub use channel_activity::ChannelActivity;
pub use custom_activity::CustomActivity;
pub use nudge::Nudge;
pub use product_discount_recommendation::ProductDiscountRecommendation;
pub use reward::Reward;
pub use signal::Signal;

pub(crate) use catalogue::documented;
pub(crate) use check::{Fields, label, object, string, time, uuid};
pub(crate) use own::own;

use std::borrow::Cow;

use crate::{
    Invalid, Timestamp,
    json::{self, Object, Value},
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

/// What the outbox needs to know of a payload beside its bytes. By default, of one that nobody looked into: nothing.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) campaign: Option<Box<str>>,
    pub(crate) recipient: Option<Box<str>>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Facts {
    /// Of any payload of Mars.
    fn of_mars(payload: &Object<'_>) -> Result<Self, Invalid> {
        let fields = Fields(payload);
        Ok(Self {
            campaign: Some(fields.required("campaignId", uuid)?.to_string().into()),
            recipient: Some(fields.required("maraxId", uuid)?.to_string().into()),
            expires_at: None,
        })
    }
}

/// A plain string, or a number as JavaScript writes it, that can stand for a campaign or a recipient; anything else cannot.
fn plain(value: Option<&Value<'_>>) -> Option<Box<str>> {
    match value? {
        Value::Number(number) if number.is_finite() => Some(json::number_to_string(*number).into()),
        value => label(value).ok().map(Box::from),
    }
}

/// An object with the fields that have a value, in this order.
pub(crate) fn written<'a, const N: usize>(
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
