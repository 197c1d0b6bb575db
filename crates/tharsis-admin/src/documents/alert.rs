//! What was told.

use serde::Serialize;
use tharsis::store::AlertRecord;
use utoipa::ToSchema;

use super::words;

/// What people and subscriptions were told, or are to be told.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertDocument<'a> {
    #[serde(rename = "type")]
    #[schema(value_type = words::AlertCause)]
    cause: &'static str,
    #[schema(format = "uuid")]
    subscription: String,
    subscription_name: &'a str,
    #[schema(format = "uuid")]
    client: String,
    #[schema(format = DateTime)]
    raised_at: String,
    #[schema(format = DateTime)]
    since: String,
    /// Percent of the way to suspension.
    stage: u8,
    /// Deliveries that it is about.
    count: u64,
    /// The code of the last outcome.
    reason: Option<&'a str>,
    /// `untold`, `told`, `moot` (overtaken before it was told), `nobody` (to tell).
    #[schema(value_type = words::AlertStatus)]
    pub status: &'a str,
    /// How often telling it failed.
    tries: u32,
    /// The event that tells of it to those who listen; null: none does.
    #[schema(format = "uuid")]
    event: Option<String>,
    /// Null: it is its turn.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
}

impl<'a> From<&'a AlertRecord> for AlertDocument<'a> {
    fn from(record: &'a AlertRecord) -> Self {
        let alert = &record.alert;
        let is_untold = record.outcome.is_none();
        Self {
            cause: alert.cause.as_str(),
            subscription: record.subscription.to_string(),
            subscription_name: &record.subscription_name,
            client: record.client.to_string(),
            raised_at: alert.raised_at.to_string(),
            since: alert.since.to_string(),
            stage: alert.stage,
            count: alert.count,
            reason: alert.code.as_deref(),
            status: record.outcome.as_deref().unwrap_or("untold"),
            tries: alert.tries,
            event: alert.event.map(|event| event.to_string()),
            due_at: is_untold.then(|| alert.due_at.to_string()),
            ended_at: record.ended_at.map(|at| at.to_string()),
        }
    }
}
