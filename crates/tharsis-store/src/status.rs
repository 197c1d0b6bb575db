//! The state of a delivery as both databases tell it.

use tharsis_core::{DeliveryId, Invalid, delivery::End};

use crate::{Status, StoreError, error::corrupt};

impl Status {
    /// Of one that lies in the outbox.
    pub(crate) fn unfinished(is_expired: bool, is_held: bool, tries: u32) -> Self {
        if is_expired {
            Self::Ended(End::Expired)
        } else if is_held {
            Self::Held
        } else if tries > 0 {
            Self::Retrying
        } else {
            Self::Pending
        }
    }

    /// Of one that does not, by its last attempt.
    pub(crate) fn ended(word: Option<&str>) -> Result<Self, StoreError> {
        word.and_then(End::parse)
            .map(Self::Ended)
            .ok_or_else(|| corrupt("a delivery that is not in the outbox and did not end"))
    }

    /// The word for it in filters, JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Held => "held",
            Self::Ended(end) => end.as_str(),
        }
    }

    /// Reads [`Self::as_str`] back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Retrying, Self::Held]
            .into_iter()
            .find(|status| status.as_str() == word)
            .or_else(|| End::parse(word).map(Self::Ended))
    }
}

pub(crate) fn no_delivery(id: DeliveryId) -> StoreError {
    StoreError::NotFound {
        what: "delivery",
        id: id.to_string(),
    }
}

/// What is asked of an unfinished delivery, by where it lies: in the outbox, or at least in the history.
pub(crate) fn check_unfinished(
    id: DeliveryId,
    is_unfinished: bool,
    is_known: bool,
) -> Result<(), StoreError> {
    match (is_unfinished, is_known) {
        (true, _) => Ok(()),
        (false, true) => Err(Invalid::new("delivery_ended", "has ended already")
            .at("delivery")
            .hint("send it again with a replay")
            .into()),
        (false, false) => Err(no_delivery(id)),
    }
}
