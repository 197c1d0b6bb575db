use super::{
    Facts, Fields, channel_activity, check, custom_activity, nudge, own,
    product_discount_recommendation, reward,
    shape::{Field, Kind, check_shape, keywords},
    signal, uuid, written,
};
use crate::{
    ClientId, Invalid, alert,
    event::{Event, EventType},
    json::{Object, Value},
};

/// The types that a sender documents, and [our own](Documented::is_own). An event of any other type may hold whatever object it
/// likes.
///
/// ```
/// use tharsis_core::payload::CATALOGUE;
///
/// let nudge = CATALOGUE.iter().find(|t| t.name == "nudge").expect("Mars documents it");
/// assert_eq!(nudge.profile, "mars");
/// assert_eq!(nudge.example().event_type().as_str(), "nudge");
/// assert!(nudge.schema().to_vec().starts_with(br#"{"$schema":"https://json-schema.org/draft/2020-12/schema""#));
/// ```
pub const CATALOGUE: &[&Documented] = &[
    &product_discount_recommendation::DOCUMENTED,
    &nudge::DOCUMENTED,
    &signal::DOCUMENTED,
    &channel_activity::DOCUMENTED,
    &custom_activity::DOCUMENTED,
    &reward::DOCUMENTED,
    &own::FAILING,
    &own::SUSPENDED,
    &own::RECOVERED,
    &own::DEAD,
    &own::BLOCKED,
    &own::EXPIRING,
    &own::CERTIFICATE,
];

/// A type of payload that a sender documents.
#[derive(Debug)]
pub struct Documented {
    /// The type, as events bear it: `nudge`.
    pub name: &'static str,
    /// The name of the [profile](crate::profile) whose documents describe it: `mars`. Of our own it is `tharsis`, which is no
    /// profile: each subscription gets them under its own.
    pub profile: &'static str,
    /// What it tells, in one sentence.
    pub summary: &'static str,
    pub(super) shape: &'static [Field],
    pub(super) facts: fn(&Object<'_>) -> Result<Facts, Invalid>,
    pub(super) example: fn() -> Result<Event, Invalid>,
}

/// The documented type of this name, if it is one.
pub(crate) fn documented(name: &str) -> Option<&'static Documented> {
    CATALOGUE.iter().copied().find(|t| t.name == name)
}

impl Documented {
    /// The documented sample, made by the builder of this type.
    pub fn example(&self) -> Event {
        (self.example)().expect("each sample is built in the tests")
    }

    /// Whether it is one of [our own](alert::is_own), which nobody else publishes.
    pub fn is_own(&self) -> bool {
        alert::is_own(self.name)
    }

    /// The documented sample as it is handed over to be [published](crate::event::Event::parse): in an envelope, unless it
    /// names its type and client itself.
    pub fn published(&self) -> Vec<u8> {
        let event = self.example();
        if self.is_bare() {
            return event.payload().to_vec();
        }
        let client = event.client();
        let mut text =
            format!(r#"{{"type":"{}","client":"{client}","payload":"#, self.name).into_bytes();
        text.extend_from_slice(event.payload());
        text.push(b'}');
        text
    }

    /// The JSON Schema (draft 2020-12) of a payload of this type.
    ///
    /// What holds between several fields is not in it, so publishing has the last word. Fields that it does not name are
    /// allowed.
    pub fn schema(&self) -> Value<'static> {
        self.described()
            .expect("no field is named twice, as the tests see")
            .into()
    }

    fn described(&self) -> Result<Object<'static>, Invalid> {
        let [kind, properties, required] = keywords(self.shape)?;
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        written([
            ("$schema", Some(dialect.into())),
            ("title", Some(self.name.into())),
            ("description", Some(self.summary.into())),
            kind,
            properties,
            required,
        ])
    }

    /// Whether a payload names its type and client itself, and so needs no envelope.
    pub(crate) fn is_bare(&self) -> bool {
        self.shape
            .iter()
            .any(|field| matches!(field.kind, Kind::Type(_)))
    }

    /// Judges a payload and freezes it into an event of the client that it names.
    pub(crate) fn bare(
        &self,
        event_type: EventType,
        payload: &Object<'_>,
    ) -> Result<Event, Invalid> {
        let facts = self.check(payload)?;
        Event::frozen(event_type, client_of(payload)?, facts, payload)
    }

    /// Judges a payload and freezes it into an event of this client, who has to be the one that it names, if it does.
    pub(crate) fn of_client(
        &self,
        event_type: EventType,
        client: ClientId,
        payload: &Object<'_>,
    ) -> Result<Event, Invalid> {
        let facts = self.check(payload)?;
        if self.is_bare() && client_of(payload)? != client {
            return Err(
                Invalid::new("client_mismatch", "is not the client it is published for")
                    .at("clientId"),
            );
        }
        Event::frozen(event_type, client, facts, payload)
    }

    /// As [`Self::of_client`], of what a builder was told: the client stands where an envelope has it.
    pub(super) fn built(
        &self,
        client: Option<&str>,
        payload: &Object<'_>,
    ) -> Result<Event, Invalid> {
        let client = client.ok_or_else(|| check::missing("client"))?;
        let client = client.parse().map_err(|e: Invalid| e.at("client"))?;
        self.of_client(EventType::new(self.name)?, client, payload)
    }

    fn check(&self, payload: &Object<'_>) -> Result<Facts, Invalid> {
        check_shape(self.shape, payload)?;
        (self.facts)(payload)
    }
}

fn client_of(payload: &Object<'_>) -> Result<ClientId, Invalid> {
    Fields(payload)
        .required("clientId", uuid)
        .map(ClientId::from_uuid)
}
