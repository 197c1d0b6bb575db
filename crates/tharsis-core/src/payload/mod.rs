//! The payloads of Mars, one file per family: what an engine builds, and the check that both ways in go through.
//!
//! A builder writes a [`json::Value`](crate::json::Value) and hands it to the same check as parsed JSON, so a payload that
//! was built and one that was handed over as text are equally sound. Fields that no document names are kept where they
//! stand and sent on.

pub mod nudge;
pub mod product_discount_recommendation;
pub mod test_event;

mod check;
mod draft;

pub use nudge::Nudge;
pub use product_discount_recommendation::ProductDiscountRecommendation;

pub(crate) use check::{Fields, object};
use draft::{Draft, identities};

use crate::{ClientId, Invalid, Timestamp, json::Object};

/// The documented names of identities in `userIdentities`; any other name will do as well.
pub mod identity {
    /// The user in the customer's own system.
    pub const USER_ID: &str = "userId";
    /// The user in CleverTap.
    pub const CLEVERTAP_ID: &str = "clevertapId";
    /// The user's e-mail address.
    pub const EMAIL: &str = "email";
}

/// What the outbox needs to know of a checked payload.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) client: ClientId,
    pub(crate) campaign: String,
    pub(crate) recipient: String,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Checks the payload of a family that Mars documents; `None` for any other type.
pub(crate) fn check(event_type: &str, payload: &Object<'_>) -> Option<Result<Facts, Invalid>> {
    match event_type {
        product_discount_recommendation::TYPE => {
            Some(product_discount_recommendation::check(payload))
        }
        nudge::TYPE => Some(nudge::check(payload)),
        _ => None,
    }
}
