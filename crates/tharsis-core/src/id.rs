use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{Invalid, Timestamp};

/// Reads a UUID in its hyphenated form only; braces, URNs, missing hyphens and the nil UUID are refused.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, Invalid> {
    let bad = || {
        Invalid::new("bad_uuid", "is not a UUID")
            .hint("write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2")
    };
    if text.len() != 36 {
        return Err(bad());
    }
    let id = Uuid::try_parse(text).map_err(|_| bad())?;
    if id.is_nil() {
        return Err(Invalid::new(
            "bad_uuid",
            "is the nil UUID, which names nothing",
        ));
    }
    Ok(id)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// From the UUID itself, as a database row holds it.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// A UUIDv7 (RFC 9562) of this instant with these ten random bytes.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The UUID itself.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// # Errors
            /// `bad_uuid` for anything but a hyphenated UUID that is not nil.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// The tenant on whose behalf an event is published (`clientId`).
    ClientId
);
id!(
    /// Names an event for ever; what a receiver's idempotency key is made of.
    EventId
);
id!(
    /// Names a subscription.
    SubscriptionId
);
id!(
    /// Names a replay.
    ReplayId
);
id!(
    /// Names one process that delivers.
    WorkerId
);
id!(
    /// Names an access token without giving it away.
    TokenId
);

impl EventId {
    /// The instant that it holds: about when its event was published, as all ids say that this program gives (UUIDv7).
    pub fn at(self) -> Timestamp {
        let millis = self.0.as_u128() >> 80;
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// A delivery is named by its pair: one event for one subscription. Written `EVENT/SUBSCRIPTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// What happened.
    pub event: EventId,
    /// Who is told.
    pub subscription: SubscriptionId,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.event, self.subscription)
    }
}

impl FromStr for DeliveryId {
    type Err = Invalid;

    /// # Errors
    /// `bad_delivery_id` without the slash, `bad_uuid` when a half is no UUID.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (event, subscription) = text.split_once('/').ok_or_else(|| {
            Invalid::new("bad_delivery_id", "is not EVENT/SUBSCRIPTION")
                .hint("take it from the first column of `tharsis delivery list`")
        })?;
        Ok(Self {
            event: event.parse().map_err(|e: Invalid| e.at("event"))?,
            subscription: subscription
                .parse()
                .map_err(|e: Invalid| e.at("subscription"))?,
        })
    }
}
