//! A message for one user, worth something until it expires.

use super::{
    Documented, Facts, Fields, identity,
    shape::{
        Field,
        Kind::{self, Identities, Label, Line, Text, Time, Uuid},
        optional, required,
    },
    time, written, written_identities,
};
use crate::{
    Invalid, Timestamp,
    event::{Event, EventType},
    json::{Object, Value},
};

/// The `type` of this payload.
pub const TYPE: &str = "nudge";

/// The documented `status`: nobody has acted on it yet. Others are allowed.
pub const PRISTINE: &str = "pristine";
/// The documented `trigger`: a time was reached. Others are allowed.
pub const TIME: &str = "time";
/// The documented `channel`: a push message. Others are allowed.
pub const PUSH: &str = "push";

/// A message for one user, worth something until it expires.
///
/// The four ids, at least one identity, both times and the content are required; [`Self::event`] says which one is missing.
///
/// ```
/// use tharsis_core::{Timestamp, payload::{Nudge, identity, nudge::Content}};
///
/// let event = Nudge::new()
///     .nudge_user_id("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11")
///     .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
///     .identity(identity::CLEVERTAP_ID, "3594918")
///     .queued_at(Timestamp::parse("2020-01-24T11:59:59.546Z")?)
///     .expires_at(Timestamp::parse("2020-01-24T13:59:59.546Z")?)
///     .content(Content::new("Still thinking?", "It is 20 % off today").click_action("MainActivity"))
///     .about("product_viewed")
///     .event()?;
/// assert_eq!(event.expires_at(), Some(Timestamp::parse("2020-01-24T13:59:59.546Z")?));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Nudge {
    nudge_user_id: Option<String>,
    campaign_id: Option<String>,
    client_id: Option<String>,
    marax_id: Option<String>,
    user_identities: Vec<(String, String)>,
    status: String,
    trigger: String,
    channel: String,
    queued_at: Option<String>,
    expires_at: Option<String>,
    content: Option<Content>,
    event: Option<String>,
}

/// What the user gets to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    title: String,
    body: String,
    image: Option<String>,
    click_action: Option<String>,
    text_colour: Option<String>,
}

impl Default for Nudge {
    fn default() -> Self {
        Self::new()
    }
}

impl Nudge {
    /// A pristine push message, sent because a time was reached; without any other field.
    pub fn new() -> Self {
        Self {
            nudge_user_id: None,
            campaign_id: None,
            client_id: None,
            marax_id: None,
            user_identities: Vec::new(),
            status: PRISTINE.to_owned(),
            trigger: TIME.to_owned(),
            channel: PUSH.to_owned(),
            queued_at: None,
            expires_at: None,
            content: None,
            event: None,
        }
    }

    /// Names this nudge for ever: a UUID. Required.
    #[must_use]
    pub fn nudge_user_id(mut self, id: impl Into<String>) -> Self {
        self.nudge_user_id = Some(id.into());
        self
    }

    /// The campaign it is part of: a UUID. Required.
    #[must_use]
    pub fn campaign_id(mut self, id: impl Into<String>) -> Self {
        self.campaign_id = Some(id.into());
        self
    }

    /// The tenant on whose behalf it is published: a UUID. Required.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// The user, as Mars names it: a UUID. Required.
    #[must_use]
    pub fn marax_id(mut self, id: impl Into<String>) -> Self {
        self.marax_id = Some(id.into());
        self
    }

    /// The user, as another system names it; [`identity`] lists the documented kinds. At least one.
    #[must_use]
    pub fn identity(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.user_identities.push((kind.into(), id.into()));
        self
    }

    /// What has become of it, if it is not [`PRISTINE`].
    #[must_use]
    pub fn status(mut self, status: impl Into<String>) -> Self {
        self.status = status.into();
        self
    }

    /// What set it off, if it was not the [`TIME`].
    #[must_use]
    pub fn trigger(mut self, trigger: impl Into<String>) -> Self {
        self.trigger = trigger.into();
        self
    }

    /// How it reaches the user, if it is not by [`PUSH`].
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// When it was queued. It delays nothing. Required.
    #[must_use]
    pub fn queued_at(mut self, at: Timestamp) -> Self {
        self.queued_at = Some(at.to_offset_string());
        self
    }

    /// From then on it is worthless and no longer sent; later than [`Self::queued_at`]. Required.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at.to_offset_string());
        self
    }

    /// What the user gets to see. Required.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = Some(content);
        self
    }

    /// The name of what the user did: `product_viewed`.
    #[must_use]
    pub fn about(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `empty_identities`, `bad_time`, `expiry_before_queue`, `too_long`, `empty` or
    /// `control_character`, each with the path of the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.bare(EventType::new(TYPE)?, &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let content = self.content.as_ref().map(Content::to_object).transpose()?;
        let event = self
            .event
            .as_deref()
            .map(|name| written([("name", Some(name.into()))]))
            .transpose()?;
        written([
            (
                "nudgeUserId",
                self.nudge_user_id.as_deref().map(Value::from),
            ),
            ("type", Some(TYPE.into())),
            ("campaignId", self.campaign_id.as_deref().map(Value::from)),
            ("clientId", self.client_id.as_deref().map(Value::from)),
            ("maraxId", self.marax_id.as_deref().map(Value::from)),
            (
                "userIdentities",
                Some(written_identities(&self.user_identities)?.into()),
            ),
            ("status", Some((&*self.status).into())),
            ("trigger", Some((&*self.trigger).into())),
            ("channel", Some((&*self.channel).into())),
            (
                "nudgeQueueDateTime",
                self.queued_at.as_deref().map(Value::from),
            ),
            (
                "nudgeExpiryDateTime",
                self.expires_at.as_deref().map(Value::from),
            ),
            ("content", content.map(Value::from)),
            ("event", event.map(Value::from)),
        ])
    }
}

impl Content {
    /// Title and body.
    pub fn new(title: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            body: body.into(),
            image: None,
            click_action: None,
            text_colour: None,
        }
    }

    /// The address of a picture.
    #[must_use]
    pub fn image(mut self, url: impl Into<String>) -> Self {
        self.image = Some(url.into());
        self
    }

    /// What opens when the user taps it.
    #[must_use]
    pub fn click_action(mut self, action: impl Into<String>) -> Self {
        self.click_action = Some(action.into());
        self
    }

    /// The colour of the text: `#FFFFFF`.
    #[must_use]
    pub fn text_colour(mut self, colour: impl Into<String>) -> Self {
        self.text_colour = Some(colour.into());
        self
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        written([
            ("title", Some((&*self.title).into())),
            ("body", Some((&*self.body).into())),
            ("image", self.image.as_deref().map(Value::from)),
            ("clickAction", self.click_action.as_deref().map(Value::from)),
            ("textColour", self.text_colour.as_deref().map(Value::from)),
        ])
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "mars",
    summary: "A message for one user, worth something until it expires.",
    shape: &[
        required("type", Kind::Type(TYPE)),
        required("nudgeUserId", Uuid),
        required("campaignId", Uuid),
        required("clientId", Uuid),
        required("maraxId", Uuid),
        required("userIdentities", Identities),
        required("status", Label),
        required("trigger", Label),
        required("channel", Label),
        required("nudgeQueueDateTime", Time),
        required("nudgeExpiryDateTime", Time).then(expires_later),
        required("content", Kind::Object(CONTENT)),
        optional("event", Kind::Object(&[required("name", Label)])),
    ],
    facts,
    example,
};

const CONTENT: &[Field] = &[
    required("title", Line),
    required("body", Text),
    optional("image", Line),
    optional("clickAction", Line),
    optional("textColour", Line),
];

fn expires_later(nudge: &Object<'_>) -> Result<(), Invalid> {
    if expiry(nudge)? <= Fields(nudge).required("nudgeQueueDateTime", time)? {
        return Err(
            Invalid::new("expiry_before_queue", "is not after nudgeQueueDateTime")
                .at("nudgeExpiryDateTime"),
        );
    }
    Ok(())
}

fn facts(nudge: &Object<'_>) -> Result<Facts, Invalid> {
    Ok(Facts {
        expires_at: Some(expiry(nudge)?),
        ..Facts::of_mars(nudge)?
    })
}

fn expiry(nudge: &Object<'_>) -> Result<Timestamp, Invalid> {
    Fields(nudge).required("nudgeExpiryDateTime", time)
}

fn example() -> Result<Event, Invalid> {
    Nudge::new()
        .nudge_user_id("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::CLEVERTAP_ID, "3594918")
        .identity(identity::USER_ID, "280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::EMAIL, "testuser@example.com")
        .queued_at(Timestamp::parse("2020-01-24T11:59:59.546Z")?)
        .expires_at(Timestamp::parse("2020-01-24T13:59:59.546Z")?)
        .content(
            Content::new("Still thinking?", "It is 20 % off today")
                .image("https://cdn.example.com/t.png")
                .click_action("MainActivity")
                .text_colour("#FFFFFF"),
        )
        .about("product_viewed")
        .event()
}
