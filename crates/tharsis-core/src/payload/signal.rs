//! How likely a shopper is to leave, and what was seen of the visit.

use super::{
    Documented, Facts,
    shape::{
        ALL, FROM_ZERO, Field,
        Kind::{Integer, Line, Number, Objects},
        optional, required,
    },
    written,
};
use crate::{
    Invalid,
    event::Event,
    json::{Object, Value},
};

/// The type of this payload. InsightArc gives it no name; this one is ours.
pub const TYPE: &str = "signal";

/// How likely a shopper is to leave, and what was seen of the visit.
///
/// All but the relevant events is required; [`Self::event`] says what is missing. It says nothing of who the shopper is.
///
/// ```
/// use tharsis_core::payload::Signal;
///
/// let event = Signal::new()
///     .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
///     .drop_proba(0.95)
///     .performance(1.2)
///     .num_events(10)
///     .num_loops(2)
///     .num_broken_buttons(1)
///     .avg_loops(2.3)
///     .avg_broken_buttons(1.0)
///     .relevant_event("add_to_cart")
///     .event()?;
/// assert!(event.payload().starts_with(br#"{"drop_proba":0.95,"perfomance":1.2,"num_events":10,"#));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signal {
    client_id: Option<String>,
    drop_proba: Option<f64>,
    performance: Option<f64>,
    num_events: Option<u32>,
    num_loops: Option<u32>,
    num_broken_buttons: Option<u32>,
    avg_loops: Option<f64>,
    avg_broken_buttons: Option<f64>,
    relevant_events: Vec<String>,
}

impl Signal {
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

    /// How likely it is that the shopper leaves at the next action: 0 to 1. Required.
    #[must_use]
    pub fn drop_proba(mut self, probability: f64) -> Self {
        self.drop_proba = Some(probability);
        self
    }

    /// A percentage of time spent; on the wire `perfomance`, as it is documented. Required.
    #[must_use]
    pub fn performance(mut self, percentage: f64) -> Self {
        self.performance = Some(percentage);
        self
    }

    /// How many events there were. Required.
    #[must_use]
    pub fn num_events(mut self, count: u32) -> Self {
        self.num_events = Some(count);
        self
    }

    /// How often the shopper went round in a loop. Required.
    #[must_use]
    pub fn num_loops(mut self, count: u32) -> Self {
        self.num_loops = Some(count);
        self
    }

    /// How many broken buttons the shopper met. Required.
    #[must_use]
    pub fn num_broken_buttons(mut self, count: u32) -> Self {
        self.num_broken_buttons = Some(count);
        self
    }

    /// The average of [`Self::num_loops`]. Required.
    #[must_use]
    pub fn avg_loops(mut self, average: f64) -> Self {
        self.avg_loops = Some(average);
        self
    }

    /// The average of [`Self::num_broken_buttons`]. Required.
    #[must_use]
    pub fn avg_broken_buttons(mut self, average: f64) -> Self {
        self.avg_broken_buttons = Some(average);
        self
    }

    /// One more action, or URL of a visited page, that matters.
    #[must_use]
    pub fn relevant_event(mut self, name: impl Into<String>) -> Self {
        self.relevant_events.push(name.into());
        self
    }

    /// Checks it and freezes it into an event.
    ///
    /// # Errors
    /// `missing_field`, `bad_uuid`, `out_of_range`, `number_out_of_range`, `too_long` or `control_character`, each with the
    /// path of the field.
    pub fn event(&self) -> Result<Event, Invalid> {
        DOCUMENTED.built(self.client_id.as_deref(), &self.to_object()?)
    }

    fn to_object(&self) -> Result<Object<'_>, Invalid> {
        let relevant: Result<Vec<_>, _> = self
            .relevant_events
            .iter()
            .map(|name| written([("name", Some((&**name).into()))]).map(Value::Object))
            .collect();
        let relevant = relevant.map(|r| (!r.is_empty()).then_some(r.into()))?;
        let count = |count: Option<u32>| count.map(|count| f64::from(count).into());
        written([
            ("drop_proba", self.drop_proba.map(Value::from)),
            ("perfomance", self.performance.map(Value::from)),
            ("num_events", count(self.num_events)),
            ("num_loops", count(self.num_loops)),
            ("num_broken_buttons", count(self.num_broken_buttons)),
            ("avg_loops", self.avg_loops.map(Value::from)),
            (
                "avg_broken_buttons",
                self.avg_broken_buttons.map(Value::from),
            ),
            ("relevant_events", relevant),
        ])
    }
}

pub(super) static DOCUMENTED: Documented = Documented {
    name: TYPE,
    profile: "insightarc",
    summary: "How likely a shopper is to leave, and what was seen of the visit.",
    shape: &[
        required("drop_proba", Number(0.0..=1.0)),
        required("perfomance", Number(ALL)),
        required("num_events", Integer(FROM_ZERO)),
        required("num_loops", Integer(FROM_ZERO)),
        required("num_broken_buttons", Integer(FROM_ZERO)),
        required("avg_loops", Number(FROM_ZERO)),
        required("avg_broken_buttons", Number(FROM_ZERO)),
        optional("relevant_events", Objects(0, RELEVANT_EVENT)),
    ],
    facts: |_| Ok(Facts::default()),
    example,
};

const RELEVANT_EVENT: &[Field] = &[required("name", Line)];

fn example() -> Result<Event, Invalid> {
    Signal::new()
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .drop_proba(0.95)
        .performance(1.2)
        .num_events(10)
        .num_loops(2)
        .num_broken_buttons(1)
        .avg_loops(2.3)
        .avg_broken_buttons(1.0)
        .relevant_event("add_to_cart")
        .event()
}
