//! What a user has earned: coins or coupons.

use super::{
    Documented, Facts, plain,
    shape::{
        FROM_ZERO, Field,
        Kind::{Integer, Label, Line, Number, Object as Fields, Objects, OrNull, Time},
        optional, required,
    },
    written,
};
use crate::{
    Invalid, Timestamp,
    event::Event,
    json::{Object, Value},
};

/// The type of this payload.
pub const TYPE: &str = "reward.earned";

/// What a user has earned: one reward or several.
///
/// Task and user of the event are those of its first reward.
///
/// ```
/// use tharsis_core::{Timestamp, payload::{Reward, reward::{Coupon, CouponType, Instance}}};
///
/// let event = Reward::new()
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .reward(
///         Instance::new()
///             .id("8d6f4a52-7f3c-4f44-9df6-0a4f5a3d2c11")
///             .reward_id("r-10-off")
///             .reward_name("10 Rs Off")
///             .nudge_id("u-77")
///             .ext_id("3594918")
///             .task_id("monsoon")
///             .quantity(1)
///             .coupon(Coupon::new("ABCD", CouponType::Flat, 20.0))
///             .created_at(Timestamp::parse("2024-07-04T12:53:58.129Z")?),
///     )
///     .event()?;
/// assert_eq!(event.campaign(), Some("monsoon"));
/// assert_eq!(event.recipient(), Some("3594918"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reward {
    client_id: Option<String>,
    rewards: Vec<Instance>,
}

/// One reward that was earned: coins or a coupon, so many times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Instance {
    id: Option<String>,
    reward_id: Option<String>,
    reward_name: Option<String>,
    nudge_id: Option<String>,
    ext_id: Option<String>,
    task_id: Option<String>,
    quantity: Option<u32>,
    coin: Option<f64>,
    coupon: Option<Coupon>,
    created_at: Option<String>,
}

/// A code that lowers a price.
#[derive(Debug, Clone, PartialEq)]
pub struct Coupon {
    code: String,
    discount: f64,
    kind: CouponType,
    expiry_at: Option<String>,
}

/// What the discount of a [`Coupon`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CouponType {
    /// An amount; on the wire 1.
    Flat,
    /// A share of the price; on the wire 2.
    Percentage,
}

impl Reward {
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

    /// One reward more. At least one.
    #[must_use]
    pub fn reward(mut self, reward: Instance) -> Self {
        self.rewards.push(reward);
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `coin_or_coupon`, `out_of_range`, `number_out_of_range`, `too_long`, `empty` or
    /// `control_character`, each with the path of the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.built(self.client_id.as_deref(), &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let rewards: Result<Vec<_>, _> = self.rewards.iter().map(Instance::to_value).collect();
        written([("rewards", Some(rewards?.into()))])
    }
}

impl Instance {
    /// One without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names this reward of this user for ever. Required.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The definition of which it is an instance. Required.
    #[must_use]
    pub fn reward_id(mut self, id: impl Into<String>) -> Self {
        self.reward_id = Some(id.into());
        self
    }

    /// What the definition is called. Required.
    #[must_use]
    pub fn reward_name(mut self, name: impl Into<String>) -> Self {
        self.reward_name = Some(name.into());
        self
    }

    /// The user, as the sender names it. Required.
    #[must_use]
    pub fn nudge_id(mut self, id: impl Into<String>) -> Self {
        self.nudge_id = Some(id.into());
        self
    }

    /// The user, as the customer names it. Required.
    #[must_use]
    pub fn ext_id(mut self, id: impl Into<String>) -> Self {
        self.ext_id = Some(id.into());
        self
    }

    /// The campaign it was earned in. Required.
    #[must_use]
    pub fn task_id(mut self, id: impl Into<String>) -> Self {
        self.task_id = Some(id.into());
        self
    }

    /// How many units were won, from 1. Required.
    #[must_use]
    pub fn quantity(mut self, units: u32) -> Self {
        self.quantity = Some(units);
        self
    }

    /// A coin of this value. This or [`Self::coupon`].
    #[must_use]
    pub fn coin(mut self, value: f64) -> Self {
        self.coin = Some(value);
        self
    }

    /// A coupon. This or [`Self::coin`].
    #[must_use]
    pub fn coupon(mut self, coupon: Coupon) -> Self {
        self.coupon = Some(coupon);
        self
    }

    /// When this instance was created. Required.
    #[must_use]
    pub fn created_at(mut self, at: Timestamp) -> Self {
        self.created_at = Some(at.to_string());
        self
    }

    fn to_value(&self) -> Result<Value<'_>, Invalid> {
        let coin = self
            .coin
            .map(|value| written([("value", Some(value.into()))]))
            .transpose()?;
        let coupon = self.coupon.as_ref().map(Coupon::to_object).transpose()?;
        written([
            ("id", self.id.as_deref().map(Value::from)),
            ("reward_id", self.reward_id.as_deref().map(Value::from)),
            ("reward_name", self.reward_name.as_deref().map(Value::from)),
            ("nudge_id", self.nudge_id.as_deref().map(Value::from)),
            ("ext_id", self.ext_id.as_deref().map(Value::from)),
            ("task_id", self.task_id.as_deref().map(Value::from)),
            ("quantity", self.quantity.map(|q| f64::from(q).into())),
            ("coin", coin.map(Value::from)),
            ("coupon", coupon.map(Value::from)),
            ("created_at", self.created_at.as_deref().map(Value::from)),
        ])
        .map(Value::Object)
    }
}

impl Coupon {
    /// Of this code and this discount, which does not expire.
    pub fn new(code: impl Into<String>, kind: CouponType, discount: f64) -> Self {
        Self {
            code: code.into(),
            discount,
            kind,
            expiry_at: None,
        }
    }

    /// When it expires, as the shop writes it.
    #[must_use]
    pub fn expiry_at(mut self, at: impl Into<String>) -> Self {
        self.expiry_at = Some(at.into());
        self
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let kind = match self.kind {
            CouponType::Flat => 1.0,
            CouponType::Percentage => 2.0,
        };
        let expiry_at = self.expiry_at.as_deref().map_or(Value::Null, Value::from);
        written([
            ("code", Some((&*self.code).into())),
            ("discount", Some(self.discount.into())),
            ("type", Some(kind.into())),
            ("expiry_at", Some(expiry_at)),
        ])
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "nudge",
    summary: "What a user has earned: coins or coupons.",
    shape: &[required("rewards", Objects(1, REWARD))],
    facts,
    example,
};

const REWARD: &[Field] = &[
    required("id", Label),
    required("reward_id", Label),
    required("reward_name", Line),
    required("nudge_id", Label),
    required("ext_id", Label),
    required("task_id", Label),
    required("quantity", Integer(1.0..=f64::INFINITY)),
    optional("coin", Fields(&[required("value", Number(FROM_ZERO))])),
    optional("coupon", Fields(COUPON)).then(is_coin_or_coupon),
    required("created_at", Time),
];

const COUPON: &[Field] = &[
    required("code", Label),
    required("discount", Number(FROM_ZERO)),
    required("type", Integer(1.0..=2.0)),
    required("expiry_at", OrNull(&Line)),
];

fn is_coin_or_coupon(reward: &Object<'_>) -> Result<(), Invalid> {
    match (reward.get("coin"), reward.get("coupon")) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (None, None) => Err(Invalid::new(
            "coin_or_coupon",
            "has neither coin nor coupon",
        )),
        (Some(_), Some(_)) => Err(Invalid::new("coin_or_coupon", "has both coin and coupon")
            .hint("make them two rewards")),
    }
}

fn facts(payload: &Object<'_>) -> Result<Facts, Invalid> {
    let first = match payload.get("rewards") {
        Some(Value::Array(rewards)) => rewards.first(),
        _ => None,
    };
    Ok(Facts {
        campaign: first.and_then(|reward| plain(reward.get("task_id"))),
        recipient: first.and_then(|reward| plain(reward.get("ext_id"))),
        expires_at: None,
    })
}

fn example() -> Result<Event, Invalid> {
    Reward::new()
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .reward(
            Instance::new()
                .id("1b7a3d0e-55b1-4c55-8d0c-3f5f0a6f8a10")
                .reward_id("7a1c9e64-0f0b-4b4e-9a53-5f3a2f1c7d22")
                .reward_name("10 Rs Off")
                .nudge_id("c3d9a5b8-2e7f-4f6a-8f5e-6b1d0e9a4c33")
                .ext_id("3594918")
                .task_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
                .quantity(10)
                .coin(1.0)
                .created_at(Timestamp::parse("2024-07-04T12:53:58.129Z")?),
        )
        .event()
}
