//! What a user did elsewhere: an activity that the customer defined.

use super::{
    Documented,
    activity::{Params, facts, written_params},
    shape::{
        ALL, Field,
        Kind::{Any, Label, Line, Number, Object as Fields, OrNull},
        optional, required,
    },
    written,
};
use crate::{
    Invalid,
    event::Event,
    json::{self, Object, Value},
};

/// The type of this payload.
pub const TYPE: &str = "custom_activity";

/// The documented `channel`.
pub const CHANNEL: &str = "custom_activity";

/// What a user did elsewhere: an activity that the customer defined.
///
/// `webhook_name`, `asset_name` and `asset_id` belong to the subscription that is told, so they are null here and filled in
/// with each request.
///
/// ```
/// use tharsis_core::{json, payload::CustomActivity};
///
/// let event = CustomActivity::new()
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .attribute("CITY", "Thane&Kalyan")
///     .payload_param("items", json::parse(br#"[{"name_s":"Tank Top","price_s":9990.91}]"#)?)
///     .activity_id(103.0)
///     .foreign_key("9999999997")
///     .journey_name("Win back")
///     .event()?;
/// assert_eq!(event.campaign(), Some("Win back"));
/// assert_eq!(event.recipient(), Some("9999999997"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CustomActivity {
    client_id: Option<String>,
    custom_params: Params,
    att_params: Params,
    msgid: Option<String>,
    payload_params: Params,
    activity_source: Option<String>,
    ts: Option<f64>,
    activity_id: Option<f64>,
    foreign_key: Option<String>,
    identity: Option<String>,
    guid: Option<String>,
    journey_name: Option<String>,
}

impl CustomActivity {
    /// One without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tenant on whose behalf it is published: a UUID. Required; it does not go out.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
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

    /// The id of the message.
    #[must_use]
    pub fn msgid(mut self, id: impl Into<String>) -> Self {
        self.msgid = Some(id.into());
        self
    }

    /// One more parameter that was passed with the activity.
    #[must_use]
    pub fn payload_param(
        mut self,
        name: impl Into<String>,
        value: impl Into<Value<'static>>,
    ) -> Self {
        self.payload_params.push((name.into(), value.into()));
        self
    }

    /// Where it happened: `web`.
    #[must_use]
    pub fn activity_source(mut self, source: impl Into<String>) -> Self {
        self.activity_source = Some(source.into());
        self
    }

    /// When it happened, in the digits of the sender: 181212120708.
    #[must_use]
    pub fn ts(mut self, digits: f64) -> Self {
        self.ts = Some(digits);
        self
    }

    /// Which activity it is, by its number.
    #[must_use]
    pub fn activity_id(mut self, number: f64) -> Self {
        self.activity_id = Some(number);
        self
    }

    /// The user, by the primary key in the panel.
    #[must_use]
    pub fn foreign_key(mut self, key: impl Into<String>) -> Self {
        self.foreign_key = Some(key.into());
        self
    }

    /// The user, by another name.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// The device or browser.
    #[must_use]
    pub fn guid(mut self, guid: impl Into<String>) -> Self {
        self.guid = Some(guid.into());
        self
    }

    /// The journey that came to this activity.
    #[must_use]
    pub fn journey_name(mut self, name: impl Into<String>) -> Self {
        self.journey_name = Some(name.into());
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `json_duplicate_key`, `number_out_of_range`, `too_long` or `control_character`, each with
    /// the path of the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.built(self.client_id.as_deref(), &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let params = |name, params| written_params(name, params).map(|value| (name, Some(value)));
        let text = |text| Option::<&String>::map(text, |text| (&**text).into());
        let event_params = written([
            ("activity_source", text(self.activity_source.as_ref())),
            ("ts", self.ts.map(Value::from)),
            ("activity_id", self.activity_id.map(Value::from)),
            ("foreignkey", text(self.foreign_key.as_ref())),
            ("identity", text(self.identity.as_ref())),
            ("asset_name", Some(Value::Null)),
            ("asset_id", Some(Value::Null)),
            ("guid", text(self.guid.as_ref())),
        ])?;
        written([
            ("channel", Some(CHANNEL.into())),
            params("custom_params", &self.custom_params)?,
            params("att_params", &self.att_params)?,
            ("msgid", text(self.msgid.as_ref())),
            ("webhook_name", Some(Value::Null)),
            params("payload_params", &self.payload_params)?,
            ("event_params", Some(event_params.into())),
            ("journey_name", text(self.journey_name.as_ref())),
        ])
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "smartech",
    summary: "What a user did elsewhere: an activity that the customer defined.",
    shape: &[
        required("channel", Label),
        required("custom_params", Fields(&[optional("automationid", Any)])),
        required("att_params", Fields(&[])),
        optional("msgid", Line),
        optional("webhook_name", OrNull(&Line)),
        required("payload_params", Fields(&[])),
        required("event_params", Fields(EVENT_PARAMS)),
        optional("journey_name", Any),
    ],
    facts,
    example,
};

const EVENT_PARAMS: &[Field] = &[
    optional("activity_source", Line),
    optional("ts", Number(ALL)),
    optional("activity_id", Number(ALL)),
    optional("foreignkey", Any),
    optional("identity", Any),
    optional("asset_name", OrNull(&Line)),
    optional("asset_id", OrNull(&Line)),
    optional("guid", Line),
];

fn example() -> Result<Event, Invalid> {
    CustomActivity::new()
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .attribute("CITY", "Thane&Kalyan")
        .attribute("STATE", "Maharashtra11")
        .msgid("103")
        .payload_param(
            "items",
            json::parse(
                br#"[{"dateofpurchase_sm":"2018-12-06 17:11:30","category_s":"lifestyle","prqt_s":1,"prid_s":157,"name_s":"Tank Top","bydemand_s":"yes","price_s":9990.91}]"#,
            )?,
        )
        .activity_source("web")
        .ts(181_212_120_708.0)
        .activity_id(103.0)
        .foreign_key("9999999997")
        .identity("9999999997")
        .guid("4f0c7d52-9c0e-4b0b-8f43-2f7d9a1e6b55")
        .journey_name("Bought once")
        .event()
}
