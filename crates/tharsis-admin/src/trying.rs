//! What can be tried of a subscription, and changes nothing: its test event, and its filter.

use std::time::Duration;

use bytes::Bytes;
use tharsis::{
    DeliveryId, Event, EventId, Invalid, Registry, SubscriptionId, Timestamp,
    delivery::{Fault, Outcome, classify, codes},
    dispatch::Client,
    filter::{Answer, Filter},
    json, random, signer,
    store::{DeliveryFilter, EventRecord, StoreError},
    subscription::{Credentials, Settings},
};

use crate::{documents::JudgedDocument, search};

/// The most past events of one look.
pub const MOST: u32 = 1_000;

/// How long it is looked back for them, where nobody waits for a page.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A test event that was sent, and what came of it.
#[derive(Debug)]
pub struct Sent {
    /// What was sent.
    pub request: signer::Request,
    /// What came back.
    pub outcome: Outcome,
    /// Whether the receiver took it.
    pub delivered: bool,
}

impl Sent {
    /// Sends the test event of its profile, once. It is kept nowhere.
    ///
    /// # Errors
    /// As [`signer::test`]; nothing is sent then.
    pub async fn test(
        client: &Client,
        settings: &Settings,
        credentials: &Credentials,
        subscription: SubscriptionId,
        now: Timestamp,
    ) -> Result<Self, Invalid> {
        let id = DeliveryId {
            event: EventId::new(now, random()?),
            subscription,
        };
        let request = signer::test(settings, credentials, id, now)?;
        let mut outcome = client.send(request.clone()).await;
        withhold_address(&mut outcome);
        let delivered = outcome.fault == Fault::None
            && (outcome.status)
                .is_some_and(|status| classify(status, settings.profile.success).1 == Fault::None);
        Ok(Self {
            request,
            outcome,
            delivered,
        })
    }
}

/// Says of an address that is not allowed what it means and not which one it is: whoever tries URLs must not learn what
/// names lead to inside of this network.
fn withhold_address(outcome: &mut Outcome) {
    if outcome.code.starts_with("address_") {
        outcome.detail = codes::find(&outcome.code).map(|code| code.meaning.into());
    }
}

/// An event that a filter is tried on.
#[derive(Debug)]
pub struct Looked {
    name: String,
    event_type: String,
    payload: Bytes,
}

impl Looked {
    /// One that was given, under this name: its line, its place.
    pub fn given(name: String, event: &Event) -> Self {
        Self {
            name,
            event_type: event.event_type().to_string(),
            payload: event.payload().clone(),
        }
    }

    /// Whether it is wanted: of a type that the subscription wants, where it is tried for one, and such that the filter is true
    /// of it.
    pub fn judge(self, filter: &Filter, settings: Option<&Settings>) -> JudgedDocument {
        let wants_type = settings.is_none_or(|settings| settings.wants_type(&self.event_type));
        let reason = match wants_type {
            false => Some("the subscription does not want events of this type".to_owned()),
            true => match json::parse(&self.payload) {
                Err(error) => Some(error.to_string()),
                Ok(payload) => match filter.wants(&payload) {
                    Answer::Yes => None,
                    Answer::No => Some("the filter is false of it".to_owned()),
                    Answer::CannotTell(why) => Some(why.to_string()),
                },
            },
        };
        JudgedDocument {
            event: self.name,
            r#type: self.event_type,
            wanted: reason.is_none(),
            reason,
        }
    }
}

/// A past one, under its id.
impl From<EventRecord> for Looked {
    fn from(event: EventRecord) -> Self {
        Self {
            name: event.id.to_string(),
            event_type: event.event_type,
            payload: event.payload,
        }
    }
}

/// The last events of its client that went to anybody, of the types that this subscription wants. It looks back for so long.
///
/// # Errors
/// When the database fails.
pub async fn past(
    registry: &impl Registry,
    settings: &Settings,
    last: u32,
    patience: Duration,
) -> Result<Vec<EventId>, StoreError> {
    let mut filter = DeliveryFilter::default();
    filter.client = Some(settings.client);
    let wanted = settings.events.iter().map(ToString::to_string);
    filter.event_type = match settings.events.is_empty() {
        true => settings
            .profile
            .events
            .iter()
            .map(ToString::to_string)
            .collect(),
        false => wanted.collect(),
    };
    let page = search::deliveries(registry, &filter, None, MOST, patience).await?;
    let mut ids: Vec<EventId> = page.items.iter().map(|row| row.id.event).collect();
    // An event that went to several is there once for each, side by side.
    ids.dedup();
    ids.truncate(usize::try_from(last).unwrap_or(usize::MAX));
    Ok(ids)
}

/// The filter to try: this one, or else the subscription's own.
///
/// # Errors
/// Field `filter`: what [`Filter::parse`] refuses; `no_filter`.
pub fn filter(given: Option<&str>, settings: Option<&Settings>) -> Result<Filter, Invalid> {
    if let Some(text) = given {
        return Filter::parse(text);
    }
    let own = settings.and_then(|settings| settings.filter.clone());
    own.ok_or_else(|| {
        Invalid::new("no_filter", "the subscription has no filter")
            .at("filter")
            .hint("give the one to try")
    })
}
