//! Wire profiles: the contract of a sender, as data that the one encoder and the one signer read.

mod declared;
mod documented;
mod preset;
mod signature;

use std::{borrow::Cow, sync::Arc, time::Duration};

pub use declared::Declaration;
pub use documented::{INSIGHTARC, MARS, NUDGE, SMARTECH};
pub use preset::{github, shopify, standard, stripe};
pub use signature::{Algorithm, Content, DigestText, KeyKind, Signature};

use crate::{Invalid, alert};

/// One sender's contract. Every field is what its documents say; what they leave open is decided in `docs/`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// `mars`.
    pub name: Cow<'static, str>,
    /// The `Content-Type` of a request.
    pub content_type: Cow<'static, str>,
    /// What a body is made of.
    pub encoding: Encoding,
    /// How a request is signed, if at all.
    pub signature: Option<Signature>,
    /// Further headers of a request.
    pub headers: Cow<'static, [Header]>,
    /// Whether a subscription needs a secret.
    pub secret: Requirement,
    /// How a URL proves that it is there.
    pub check: Check,
    /// What counts as delivered.
    pub success: Success,
    /// The total deadline of a request, and the most that a subscription may ask for.
    pub timeout: Duration,
    /// The most retries that a subscription may ask for.
    pub most_retries: usize,
    /// The largest body, in bytes, and the most that a subscription may ask for.
    pub payload_limit: usize,
    /// The types that a subscription without a choice of its own gets. Empty: all.
    pub events: Cow<'static, [Cow<'static, str>]>,
    /// Several deliveries in one request, if its receivers take them so.
    pub batch: Option<Batch>,
    /// What a subscription is asked for beside what every one has.
    pub settings: Cow<'static, [Setting]>,
}

/// What a body is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// The payload as it is.
    Json,
    /// `{"event":TYPE,"payload":PAYLOAD}`.
    Enveloped,
    /// A form with one field (`data`), whose value is `{"PANEL":[PAYLOAD,…]}`. The panel's name is the subscription's
    /// setting `panel`. Everything but letters, digits and `-._~` is percent-encoded, a space as `%20`.
    Form {
        /// The field's name.
        field: Cow<'static, str>,
    },
}

/// The setting that names the panel of a form.
pub const PANEL: &str = "panel";

/// A header beside the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: Cow<'static, str>,
    /// What it says.
    pub value: HeaderValue,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// The idempotency value of the event: its id, unless a replay asked for a fresh one.
    EventId,
    /// The event's type.
    EventType,
    /// When the attempt began, in seconds since 1970.
    Timestamp,
    /// Always this.
    Text(Cow<'static, str>),
}

/// Whether something has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// It has to.
    Required,
    /// It may.
    Optional,
    /// It would be of no use.
    Useless,
}

/// How a URL proves that it is there before anything is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// By a HEAD, and in no other way.
    HeadAlone,
    /// By a HEAD, or by the test event where the admin wants it so.
    Head,
    /// By the test event, or by a HEAD where the admin wants it so.
    TestEvent,
}

/// Which answers count as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Success {
    /// Any status from 200 to 299.
    Any2xx,
    /// 200 alone.
    Exactly200,
}

/// How many deliveries go out in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// At most so many; the body's limit counts too.
    pub items: u32,
    /// How long the first waits for others.
    pub linger: Duration,
}

/// Something that a subscription of this profile is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `panel`.
    pub name: Cow<'static, str>,
    /// What stands in for it where it is not given.
    pub fallback: Fallback,
    /// Where it is written into payloads.
    pub places: Cow<'static, [Place]>,
}

/// What stands in for a setting that is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: it has to be given.
    Required,
    /// The subscription's name.
    SubscriptionName,
    /// The subscription's id.
    SubscriptionId,
}

/// A place in the payloads of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The type.
    pub event_type: Cow<'static, str>,
    /// The names on the way to the field.
    pub path: Cow<'static, [Cow<'static, str>]>,
}

impl Profile {
    /// Stands in for a profile that this process does not know. What is to be sent under it is held.
    pub fn stand_in(name: String) -> Self {
        Self {
            name: Cow::Owned(name),
            ..preset::general()
        }
    }

    /// Whether a subscription that names no event type gets this one. [Our own](alert::is_own) are for those who name them.
    pub fn knows(&self, event_type: &str) -> bool {
        let is_among =
            self.events.is_empty() || self.events.iter().any(|known| known == event_type);
        is_among && !alert::is_own(event_type)
    }

    /// Whether the id or the time of a single event is part of each request, so that no two events fit into one.
    pub fn is_of_one_event(&self) -> bool {
        let names_it =
            |header: &Header| matches!(header.value, HeaderValue::EventId | HeaderValue::EventType);
        self.headers.iter().any(names_it)
            || (self.signature.as_ref())
                .is_some_and(|signature| signature.content == Content::IdTimestampBody)
    }
}

/// The profiles that a process knows: those that come with the program, and those that its operator declared. Cheap to
/// clone.
///
/// # Examples
/// ```
/// use tharsis_core::profile::Profiles;
///
/// let profiles = Profiles::default();
/// assert_eq!(profiles.named("nudge")?.payload_limit, 4_096);
/// assert_eq!(profiles.named("moon").unwrap_err().code, "unknown_profile");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles(Arc<[Arc<Profile>]>);

impl Default for Profiles {
    fn default() -> Self {
        let documented = [&MARS, &INSIGHTARC, &SMARTECH, &NUDGE].map(Clone::clone);
        let presets = [standard(), github(), shopify(), stripe()];
        Self(
            documented
                .into_iter()
                .chain(presets)
                .map(Arc::new)
                .collect(),
        )
    }
}

impl Profiles {
    /// These and what an operator declared.
    ///
    /// # Errors
    /// `profile_taken` where a profile of this name is there already.
    pub fn with(&self, declared: Vec<Profile>) -> Result<Self, Invalid> {
        let mut all = self.0.to_vec();
        for profile in declared {
            if all.iter().any(|known| known.name == profile.name) {
                return Err(Invalid::new(
                    "profile_taken",
                    format!("there is a profile {} already", profile.name),
                )
                .at(format!("profiles.{}", profile.name))
                .hint("give it another name"));
            }
            all.push(Arc::new(profile));
        }
        Ok(Self(all.into()))
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// `unknown_profile`.
    pub fn named(&self, name: &str) -> Result<Arc<Profile>, Invalid> {
        let found = self.0.iter().find(|profile| profile.name == name);
        found.map(Arc::clone).ok_or_else(|| {
            let known: Vec<_> = self.iter().map(|profile| &*profile.name).collect();
            Invalid::new("unknown_profile", "there is no such profile")
                .hint(format!("choose one of: {}", known.join(", ")))
        })
    }

    /// All of them; the first is the default.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter().map(|profile| &**profile)
    }
}
