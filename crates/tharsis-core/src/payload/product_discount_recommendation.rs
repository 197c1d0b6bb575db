//! Which products to offer a user, at which discount, and why.

use super::{
    Documented, Facts, Fields,
    check::number,
    identity, label,
    shape::{
        ALL, Field,
        Kind::{self, Identities, Label, Line, Number, Objects, Text, Uuid},
        optional, required,
    },
    written, written_identities,
};
use crate::{
    Invalid,
    event::{Event, EventType},
    json::{Object, Value},
};

/// The `type` of this payload.
pub const TYPE: &str = "product_discount_recommendation";

/// A discount that is a share of the price; the documented kind. Others are allowed.
pub const PERCENTAGE: &str = "percentage";

/// The documented steps of an [`Explanation`]; any other name will do as well.
pub mod step {
    /// How the product ranks for the user.
    pub const PRODUCT_RECOMMENDATION: &str = "product-recommendation";
    /// How engaged the user is.
    pub const USER_ENGAGEMENT_SCORING: &str = "user-engagement-scoring";
    /// How the discount was allocated: weighs ranking, engagement and how expensive the discount is.
    pub const DISCOUNT_ALLOCATION: &str = "discount-allocation";
}

/// Which products to offer a user, at which discount, and why.
///
/// The four ids and at least one identity are required; [`Self::event`] says which one is missing.
///
/// ```
/// use tharsis_core::payload::{
///     ProductDiscountRecommendation, identity,
///     product_discount_recommendation::{Explanation, Prediction, step},
/// };
///
/// let event = ProductDiscountRecommendation::new()
///     .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
///     .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
///     .identity(identity::USER_ID, "3594918")
///     .prediction(
///         Prediction::new("T-WTTBL-1", "TEGO Tank Top for Women - Blue - L")
///             .discount(30.0)
///             .range(10.0, 50.0, 1.0)
///             .explanation(Explanation::new(step::DISCOUNT_ALLOCATION, "within budget", 0.1)),
///     )
///     .event()?;
/// assert_eq!(event.recipient(), Some("280b850d-c28d-4812-8ad9-a164acd96a62"));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProductDiscountRecommendation {
    prediction_id: Option<String>,
    campaign_id: Option<String>,
    client_id: Option<String>,
    marax_id: Option<String>,
    user_identities: Vec<(String, String)>,
    predictions: Vec<Prediction>,
}

/// One product and the discount on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    product_id: String,
    name: String,
    sku: Option<String>,
    kind: String,
    discount: Option<f64>,
    range: Option<(f64, f64, f64)>,
    explanations: Vec<Explanation>,
}

/// Why: one step on the way to the discount and its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    step: String,
    description: String,
    score: f64,
}

impl ProductDiscountRecommendation {
    /// One without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names this prediction for ever: a UUID. Required.
    #[must_use]
    pub fn prediction_id(mut self, id: impl Into<String>) -> Self {
        self.prediction_id = Some(id.into());
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

    /// One product more.
    #[must_use]
    pub fn prediction(mut self, prediction: Prediction) -> Self {
        self.predictions.push(prediction);
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `empty_identities`, `discount_out_of_range`, `discount_off_step`, `range_inverted`,
    /// `out_of_range`, `number_out_of_range`, `too_long`, `empty` or `control_character`, each with the path of the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.bare(EventType::new(TYPE)?, &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let predictions: Result<Vec<_>, _> =
            self.predictions.iter().map(Prediction::to_value).collect();
        written([
            (
                "predictionId",
                self.prediction_id.as_deref().map(Value::from),
            ),
            ("type", Some(TYPE.into())),
            ("campaignId", self.campaign_id.as_deref().map(Value::from)),
            ("clientId", self.client_id.as_deref().map(Value::from)),
            ("maraxId", self.marax_id.as_deref().map(Value::from)),
            (
                "userIdentities",
                Some(written_identities(&self.user_identities)?.into()),
            ),
            ("predictions", Some(predictions?.into())),
        ])
    }
}

impl Prediction {
    /// Of this product, by its id and its name.
    pub fn new(product_id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            product_id: product_id.into(),
            name: name.into(),
            sku: None,
            kind: PERCENTAGE.to_owned(),
            discount: None,
            range: None,
            explanations: Vec::new(),
        }
    }

    /// The product's stock keeping unit.
    #[must_use]
    pub fn sku(mut self, sku: impl Into<String>) -> Self {
        self.sku = Some(sku.into());
        self
    }

    /// The kind of the discount, if it is not [`PERCENTAGE`].
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// How much. Required.
    #[must_use]
    pub fn discount(mut self, discount: f64) -> Self {
        self.discount = Some(discount);
        self
    }

    /// The least and the most that may be offered, and the step from the least on. Required.
    #[must_use]
    pub fn range(mut self, min: f64, max: f64, step: f64) -> Self {
        self.range = Some((min, max, step));
        self
    }

    /// One reason more.
    #[must_use]
    pub fn explanation(mut self, explanation: Explanation) -> Self {
        self.explanations.push(explanation);
        self
    }

    fn to_value(&self) -> Result<Value<'_>, Invalid> {
        let explanations: Result<Vec<_>, _> = self
            .explanations
            .iter()
            .map(Explanation::to_value)
            .collect();
        let explanations = explanations.map(|e| (!e.is_empty()).then_some(e.into()))?;
        written([
            ("product_id", Some((&*self.product_id).into())),
            ("name", Some((&*self.name).into())),
            ("sku", self.sku.as_deref().map(Value::from)),
            ("type", Some((&*self.kind).into())),
            ("discount", self.discount.map(Value::from)),
            ("min", self.range.map(|(min, ..)| min.into())),
            ("max", self.range.map(|(_, max, _)| max.into())),
            ("step", self.range.map(|(.., step)| step.into())),
            ("explanations", explanations),
        ])
        .map(Value::Object)
    }
}

impl Explanation {
    /// A [`step`], what it found, and its score.
    pub fn new(step: impl Into<String>, description: impl Into<String>, score: f64) -> Self {
        Self {
            step: step.into(),
            description: description.into(),
            score,
        }
    }

    fn to_value(&self) -> Result<Value<'_>, Invalid> {
        written([
            ("step", Some((&*self.step).into())),
            ("description", Some((&*self.description).into())),
            ("score", Some(self.score.into())),
        ])
        .map(Value::Object)
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "mars",
    summary: "Which products to offer a user, at which discount, and why.",
    shape: &[
        required("type", Kind::Type(TYPE)),
        required("predictionId", Uuid),
        required("campaignId", Uuid),
        required("clientId", Uuid),
        required("maraxId", Uuid),
        required("userIdentities", Identities),
        required("predictions", Objects(0, PREDICTION)),
    ],
    facts: Facts::of_mars,
    example,
};

const PREDICTION: &[Field] = &[
    required("product_id", Label),
    required("name", Line),
    optional("sku", Line),
    required("type", Label),
    required("discount", Number(ALL)),
    required("min", Number(ALL)),
    required("max", Number(ALL)),
    required("step", Number(ALL)).then(may_be_offered),
    optional("explanations", Objects(0, EXPLANATION)),
];

const EXPLANATION: &[Field] = &[
    required("step", Label),
    required("description", Text),
    required("score", Number(ALL)),
];

fn may_be_offered(prediction: &Object<'_>) -> Result<(), Invalid> {
    let fields = Fields(prediction);
    let kind = fields.required("type", label)?;
    let discount = fields.required("discount", number)?;
    let min = fields.required("min", number)?;
    let max = fields.required("max", number)?;
    let step = fields.required("step", number)?;
    if min > max {
        return Err(Invalid::new("range_inverted", "is larger than max").at("min"));
    }
    if step < 0.0 {
        return Err(Invalid::new("out_of_range", "is negative").at("step"));
    }
    if !(min..=max).contains(&discount) {
        return Err(
            Invalid::new("discount_out_of_range", "lies outside of min and max").at("discount"),
        );
    }
    if kind == PERCENTAGE && !(0.0..=100.0).contains(&discount) {
        return Err(
            Invalid::new("discount_out_of_range", "is no percentage from 0 to 100").at("discount"),
        );
    }
    if !is_on_step(discount, min, step) {
        return Err(Invalid::new(
            "discount_off_step",
            "is not a whole number of steps above min",
        )
        .at("discount"));
    }
    Ok(())
}

/// Whether `discount` is `min` plus a whole number of steps, but for what rounding adds on the way: engines add steps up
/// one by one, and neither 0.1 nor their sum is exact. The noise grows with the largest number taking part.
fn is_on_step(discount: f64, min: f64, step: f64) -> bool {
    const NOISE: f64 = 1e-12;
    if discount == min {
        return true;
    }
    let steps = (discount - min) / step;
    let largest = (discount.abs() / step).max(min.abs() / step).max(1.0);
    (steps - steps.round()).abs() <= NOISE * largest
}

fn example() -> Result<Event, Invalid> {
    ProductDiscountRecommendation::new()
        .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::USER_ID, "3594918")
        .prediction(
            Prediction::new(
                "36011017-0e00-4e29-a054-7a1fbb8b60a2",
                "TEGO Tank Top for Women - Blue - L",
            )
            .sku("T-WTTBL")
            .discount(30.0)
            .range(10.0, 50.0, 1.0)
            .explanation(Explanation::new(
                step::PRODUCT_RECOMMENDATION,
                "ranked first for the user",
                0.5,
            ))
            .explanation(Explanation::new(
                step::USER_ENGAGEMENT_SCORING,
                "seldom here",
                0.5,
            ))
            .explanation(Explanation::new(
                step::DISCOUNT_ALLOCATION,
                "within budget",
                0.1,
            )),
        )
        .event()
}

#[cfg(test)]
mod tests {
    use super::is_on_step;

    #[test]
    fn rounding_is_forgiven_and_nothing_else() {
        let summed = (0..1000).fold(0.0, |sum, _| sum + 0.1);
        for (discount, min, step) in [
            (30.0, 10.0, 1.0),
            (0.3, 0.0, 0.1),
            (0.1 + 0.2, 0.0, 0.1),
            (summed, 0.0, 0.1),
            (1_000_000.07, 1_000_000.0, 0.01),
            (10.0, 10.0, 0.0),
        ] {
            assert!(
                is_on_step(discount, min, step),
                "{discount} from {min} by {step}"
            );
        }
        for (discount, min, step) in [
            (30.5, 10.0, 1.0),
            (10.000_000_000_1, 0.0, 1.0),
            (10.0, 0.0, 3.0),
            (11.0, 10.0, 0.0),
            (f64::MAX, -f64::MAX, 1.0),
        ] {
            assert!(
                !is_on_step(discount, min, step),
                "{discount} from {min} by {step}"
            );
        }
    }
}
