//! What a user did with a message: opened it, clicked on it.

use super::{
    Documented,
    activity::{Params, facts, written_params},
    shape::{
        Kind::{Any, Label, Object as Fields},
        optional, required,
    },
    written,
};
use crate::{
    Invalid,
    event::Event,
    json::{Object, Value},
};

/// The type of this payload.
pub const TYPE: &str = "channel_activity";

/// The documented names of webhooks; any other name will do as well. Those that the documents do not spell out follow the
/// pattern of those that they do.
pub mod webhook {
    /// An e-mail was opened.
    pub const EMAIL_OPEN: &str = "EMAIL_OPEN";
    /// A link in an e-mail was clicked. Also seen as `Email_CLICK`.
    pub const EMAIL_CLICK: &str = "EMAIL_CLICK";
    /// An e-mail came back.
    pub const EMAIL_BOUNCE: &str = "EMAIL_BOUNCE";
    /// A text message arrived.
    pub const SMS_DELIVERED: &str = "SMS_DELIVERED";
    /// A link in a text message was clicked.
    pub const SMS_CLICK: &str = "SMS_CLICK";
    /// A push message of the browser was shown.
    pub const BPN_VIEW: &str = "BPN_VIEW";
    /// A push message of the browser was clicked.
    pub const BPN_CLICK: &str = "BPN_CLICK";
    /// A push message of the app was shown.
    pub const APN_VIEW: &str = "APN_VIEW";
    /// A push message of the app was clicked.
    pub const APN_CLICK: &str = "APN_CLICK";
}

/// The documented values of `channel` in the custom parameters; any other will do as well.
pub mod channel {
    /// E-mail.
    pub const EMAIL: &str = "email";
    /// Text messages.
    pub const SMS: &str = "sms";
    /// Push messages of the browser.
    pub const BPN: &str = "bpn";
    /// Push messages of the app. Also seen as `APN`.
    pub const APN: &str = "apn";
}

/// What a user did with a message: opened it, clicked on it.
///
/// ```
/// use tharsis_core::payload::{ChannelActivity, channel_activity::{channel, webhook}};
///
/// let event = ChannelActivity::new(webhook::SMS_CLICK)
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .foreign_key("9999999997")
///     .link_id(-1.0)
///     .custom_param("automationid", "169")
///     .custom_param("channel", channel::SMS)
///     .attribute("AGE_BUCKET_APR17", "25 To <30_Yr")
///     .event()?;
/// assert_eq!(event.campaign(), Some("169"));
/// assert_eq!(event.recipient(), Some("9999999997"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelActivity {
    client_id: Option<String>,
    webhook_name: String,
    event_params: Params,
    custom_params: Params,
    att_params: Params,
}

impl ChannelActivity {
    /// Of the [`webhook`] of this name.
    pub fn new(webhook_name: impl Into<String>) -> Self {
        Self {
            client_id: None,
            webhook_name: webhook_name.into(),
            event_params: Params::new(),
            custom_params: Params::new(),
            att_params: Params::new(),
        }
    }

    /// The tenant on whose behalf it is published: a UUID. Required; it does not go out.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// The user, by the primary key in the panel.
    #[must_use]
    pub fn foreign_key(self, key: impl Into<String>) -> Self {
        self.event_param("foreignkey", key.into())
    }

    /// The link that was clicked, by its number.
    #[must_use]
    pub fn link_id(self, number: f64) -> Self {
        self.event_param("linkid", number)
    }

    /// One more parameter of the event.
    #[must_use]
    pub fn event_param(
        mut self,
        name: impl Into<String>,
        value: impl Into<Value<'static>>,
    ) -> Self {
        self.event_params.push((name.into(), value.into()));
        self
    }

    /// One more of what the journey chose to pass.
    #[must_use]
    pub fn custom_param(
        mut self,
        name: impl Into<String>,
        value: impl Into<Value<'static>>,
    ) -> Self {
        self.custom_params.push((name.into(), value.into()));
        self
    }

    /// One more attribute of the user.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value<'static>>) -> Self {
        self.att_params.push((name.into(), value.into()));
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `json_duplicate_key`, `number_out_of_range`, `too_long`, `empty` or `control_character`, each with the path of
    /// the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.built(self.client_id.as_deref(), &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let params = |name, params| written_params(name, params).map(|value| (name, Some(value)));
        written([
            ("webhook_name", Some((&*self.webhook_name).into())),
            params("event_params", &self.event_params)?,
            params("custom_params", &self.custom_params)?,
            params("att_params", &self.att_params)?,
        ])
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "smartech",
    summary: "What a user did with a message: opened it, clicked on it.",
    shape: &[
        required("webhook_name", Label),
        required(
            "event_params",
            Fields(&[optional("foreignkey", Any), optional("linkid", Any)]),
        ),
        required(
            "custom_params",
            Fields(&[
                optional("automationid", Any),
                optional("link", Any),
                optional("channel", Any),
                optional("leadscore", Any),
            ]),
        ),
        required("att_params", Fields(&[])),
    ],
    facts,
    example,
};

fn example() -> Result<Event, Invalid> {
    ChannelActivity::new(webhook::SMS_CLICK)
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .foreign_key("9999999997")
        .link_id(-1.0)
        .custom_param("automationid", "169")
        .custom_param("link", "http://www.example.com")
        .custom_param("channel", channel::SMS)
        .custom_param("leadscore", "s2")
        .attribute("MBR_DOBIRTH", "23-12-88")
        .attribute("AGE_BUCKET_APR17", "25 To <30_Yr")
        .attribute("MARIAL_STATUS", "S")
        .attribute("CAMPAINGENAME", "CP Oct")
        .event()
}
