//! What is documented: types of events, and outcomes.

use serde::Serialize;
use tharsis::{
    delivery::{Fault, codes::Code},
    payload::Documented,
};
use utoipa::ToSchema;

use super::{Payload, words};

/// A type of event that a sender documents, or that is one of our own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventType)]
pub struct EventTypeDocument {
    r#type: &'static str,
    profile: &'static str,
    summary: &'static str,
}

impl From<&'static Documented> for EventTypeDocument {
    fn from(documented: &'static Documented) -> Self {
        Self {
            r#type: documented.name,
            profile: documented.profile,
            summary: documented.summary,
        }
    }
}

/// The same, with a sample and the JSON Schema of its payload.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DescribedEventType)]
pub struct DescribedDocument {
    #[serde(flatten)]
    line: EventTypeDocument,
    /// As it is handed over to be published; one of our own as it is sent.
    #[schema(value_type = Object)]
    example: Payload,
    #[schema(value_type = Object)]
    schema: Payload,
}

impl From<&'static Documented> for DescribedDocument {
    fn from(documented: &'static Documented) -> Self {
        Self {
            line: documented.into(),
            example: Payload::from(&*documented.published()),
            schema: Payload::from(&*documented.schema().to_vec()),
        }
    }
}

/// What can come of a delivery, and what follows from it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outcome)]
pub struct OutcomeDocument<'a> {
    code: &'a str,
    /// Whose doing it is: an attempt is counted where it is not ours.
    #[schema(value_type = Option<words::OutcomeFault>)]
    fault: Option<&'static str>,
    #[schema(value_type = words::OutcomeThen)]
    then: &'static str,
    meaning: &'static str,
    advice: &'static str,
}

impl<'a> OutcomeDocument<'a> {
    /// A code, and what is known of it or of its family.
    pub fn of(code: &'a str, known: &Code) -> Self {
        Self {
            code,
            fault: known.fault().map(|fault| match fault {
                Fault::None => "none",
                Fault::Theirs => "theirs",
                Fault::Ours => "ours",
            }),
            then: known.then.as_str(),
            meaning: known.meaning,
            advice: known.advice,
        }
    }
}
