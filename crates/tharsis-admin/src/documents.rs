//! The JSON documents of the API and of the program's `--json`. Times are RFC 3339 in UTC.

mod alert;
mod campaign;
mod catalogue;
mod preview;
mod remaining;
mod subscription;
mod token;
mod trying;
mod why;
pub(crate) mod words;
mod worker;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use tharsis::{
    Invalid, format_duration,
    health::Health,
    json,
    store::{AttemptRecord, AuditRecord, DeliveryRow, EventRecord, Refusal, Replay},
    subscription::{Held, Subscription},
    text::{excerpt, inert},
};
use utoipa::ToSchema;

pub use alert::AlertDocument;
pub use campaign::{
    CampaignChangedDocument, CampaignDocument, CampaignReportDocument, delivered_per_second,
};
pub use catalogue::{DescribedDocument, EventTypeDocument, OutcomeDocument};
pub use preview::PreviewDocument;
pub use remaining::RemainingDocument;
pub use subscription::{MadeSubscriptionDocument, ReceiverDocument, RemovedDocument};
pub use token::{MadeTokenDocument, TokenDocument};
pub use trying::{FilterTestDocument, JudgedDocument, TestDocument};
pub use why::WhyDocument;
pub use worker::WorkerDocument;

/// A subscription. Of its secret there is a fingerprint alone, of its headers the names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub struct SubscriptionDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "uuid")]
    client: String,
    name: &'a str,
    #[schema(format = "uri")]
    url: &'a str,
    profile: &'a str,
    /// Empty: all that the profile knows.
    events: Vec<&'a str>,
    content_type: &'a str,
    /// The total deadline of a request: a span such as `3s` or `1m30s`.
    timeout: String,
    /// The delays before retries, `5s,1m,10m`; or `none`.
    retry: String,
    /// Null: as long as the retries take.
    retry_window: Option<String>,
    /// Failures in a row that open it; null: it never opens.
    breaker: Option<u32>,
    /// Null: never.
    suspend_after: Option<String>,
    /// Who is told when it fails, beside those of the configuration.
    alert_mail: Vec<&'a str>,
    /// One message for each cause at most this often: a span.
    alert_every: String,
    /// Requests under way at once.
    max_in_flight: u32,
    /// Requests that may begin in how long, such as `10/s`; null: as many as it takes.
    rate: Option<String>,
    /// `strict`, `recipient` or `key:PATH`; null: none waits for another.
    order: Option<String>,
    #[schema(value_type = Option<words::OnDead>)]
    on_dead: Option<&'static str>,
    /// The largest body, in bytes.
    payload_limit: usize,
    /// Deliveries of one request; null under a profile that knows no batches.
    batch_items: Option<u32>,
    /// How long the first of them waits for others: a span.
    linger: Option<String>,
    /// What the profile asks for.
    profile_settings: &'a BTreeMap<String, String>,
    /// Empty: all.
    fields: Vec<&'a str>,
    filter: Option<&'a str>,
    /// Whether requests carry `traceparent`.
    traceparent: bool,
    /// Names alone.
    headers: &'a [String],
    #[schema(value_type = words::SubscriptionState)]
    state: &'static str,
    /// Why it is suspended.
    reason: Option<&'a str>,
    /// What of that which was held it is about to go on with: latest, none.
    #[schema(value_type = Option<words::Held>)]
    resuming: Option<&'static str>,
    health: HealthDocument<'a>,
    secret_fingerprint: Option<&'a str>,
    #[schema(format = DateTime)]
    secret_set_at: Option<String>,
    /// What verifies its requests, where they are signed with the private key of a pair.
    public_key: Option<&'a str>,
    /// Until when a former secret signs beside the present one.
    #[schema(format = DateTime)]
    overlap_until: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Another one after each change.
    version: u64,
}

/// How its receiver does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthDocument<'a> {
    #[schema(value_type = words::Condition)]
    condition: &'static str,
    /// Null: it has never been anything else.
    #[schema(format = DateTime)]
    since: Option<String>,
    cause: Option<&'a str>,
    #[schema(format = DateTime)]
    failing_since: Option<String>,
    #[schema(format = DateTime)]
    probe_at: Option<String>,
}

impl<'a> From<&'a Health> for HealthDocument<'a> {
    fn from(health: &'a Health) -> Self {
        Self {
            condition: health.condition.as_str(),
            since: health.since.map(|at| at.to_string()),
            cause: health.cause.as_deref(),
            failing_since: health.failing_since.map(|at| at.to_string()),
            probe_at: health.probe_at.map(|at| at.to_string()),
        }
    }
}

impl<'a> From<&'a Subscription> for SubscriptionDocument<'a> {
    fn from(subscription: &'a Subscription) -> Self {
        let settings = &subscription.settings;
        Self {
            id: subscription.id.to_string(),
            client: settings.client.to_string(),
            name: &settings.name,
            url: settings.url.given(),
            profile: &settings.profile.name,
            events: settings.events.iter().map(|event| event.as_str()).collect(),
            content_type: &settings.content_type,
            timeout: format_duration(settings.timeout),
            retry: settings.retry.to_string(),
            retry_window: settings.retry.window().map(format_duration),
            breaker: settings.limits.breaker,
            suspend_after: settings.limits.suspend_after.map(format_duration),
            alert_mail: (settings.alerts.mail.iter())
                .map(|address| address.as_str())
                .collect(),
            alert_every: format_duration(settings.alerts.every),
            max_in_flight: settings.max_in_flight,
            rate: settings.rate.map(|rate| rate.to_string()),
            order: settings.order.as_ref().map(|order| order.by.to_string()),
            on_dead: settings.order.as_ref().map(|order| order.on_dead.as_str()),
            payload_limit: settings.payload_limit,
            batch_items: settings.batch.map(|batch| batch.items),
            linger: settings.batch.map(|batch| format_duration(batch.linger)),
            profile_settings: &settings.profile_settings,
            fields: settings.fields.paths().collect(),
            filter: settings.filter.as_ref().map(|filter| filter.text()),
            traceparent: settings.traceparent,
            headers: &subscription.headers,
            state: subscription.state.as_str(),
            reason: subscription.state.reason(),
            resuming: subscription.resuming.map(Held::as_str),
            health: HealthDocument::from(&subscription.health),
            secret_fingerprint: subscription.secret_fingerprint.as_deref(),
            secret_set_at: subscription.secret_set_at.map(|at| at.to_string()),
            public_key: subscription.public_key.as_deref(),
            overlap_until: subscription.overlap_until.map(|at| at.to_string()),
            created_at: subscription.created_at.to_string(),
            updated_at: subscription.updated_at.to_string(),
            version: subscription.version,
        }
    }
}

/// A delivery as lists tell it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryDocument<'a> {
    /// `EVENT/SUBSCRIPTION`.
    id: String,
    #[schema(format = "uuid")]
    event: String,
    #[schema(format = "uuid")]
    subscription: String,
    subscription_name: &'a str,
    #[schema(format = "uuid")]
    client: String,
    event_type: &'a str,
    campaign: Option<&'a str>,
    #[schema(value_type = words::DeliveryStatus)]
    status: &'static str,
    attempts: u32,
    /// The code of the last outcome.
    reason: Option<&'a str>,
    #[schema(format = DateTime)]
    published_at: String,
    #[schema(format = DateTime)]
    last_attempt_at: Option<String>,
    #[schema(format = DateTime)]
    due_at: Option<String>,
}

impl<'a> From<&'a DeliveryRow> for DeliveryDocument<'a> {
    fn from(row: &'a DeliveryRow) -> Self {
        Self {
            id: row.id.to_string(),
            event: row.id.event.to_string(),
            subscription: row.id.subscription.to_string(),
            subscription_name: &row.subscription_name,
            client: row.client.to_string(),
            event_type: &row.event_type,
            campaign: row.campaign.as_deref(),
            status: row.status.as_str(),
            attempts: row.attempts,
            reason: row.code.as_deref(),
            published_at: row.published_at.to_string(),
            last_attempt_at: row.last_at.map(|at| at.to_string()),
            due_at: row.due_at.map(|at| at.to_string()),
        }
    }
}

/// An attempt, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptDocument<'a> {
    /// 0 is an end without a request.
    number: u32,
    #[schema(format = DateTime)]
    at: String,
    duration_ms: u64,
    /// The code of the outcome.
    reason: &'a str,
    status: Option<u16>,
    detail: Option<&'a str>,
    /// The beginning of the answer's body, made inert.
    excerpt: Option<String>,
    #[schema(value_type = Option<words::DeliveryEnd>)]
    end: Option<&'static str>,
    #[schema(format = DateTime)]
    due_at: Option<String>,
}

impl<'a> From<&'a AttemptRecord> for AttemptDocument<'a> {
    fn from(record: &'a AttemptRecord) -> Self {
        let attempt = &record.attempt;
        Self {
            number: attempt.number,
            at: attempt.at.to_string(),
            duration_ms: millis(attempt.duration),
            reason: &attempt.code,
            status: attempt.status,
            detail: attempt.detail.as_deref(),
            excerpt: (!attempt.excerpt.is_empty()).then(|| excerpt(&attempt.excerpt, usize::MAX)),
            end: record.end.map(|end| end.as_str()),
            due_at: record.due_at.map(|at| at.to_string()),
        }
    }
}

/// An event with the state of each of its deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[schema(format = "uuid")]
    client: String,
    campaign: Option<&'a str>,
    recipient: Option<&'a str>,
    #[schema(format = DateTime)]
    published_at: String,
    #[schema(format = DateTime)]
    not_before: Option<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    routed: bool,
    /// Why it could not be frozen.
    refused: Option<Fault>,
    /// As it is sent; as text where it cannot be frozen.
    #[schema(value_type = Value)]
    payload: Payload,
    deliveries: Vec<DeliveryDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Payload {
    Json(Box<RawValue>),
    Text(String),
}

impl From<&[u8]> for Payload {
    fn from(payload: &[u8]) -> Self {
        // What was inserted by SQL and is not routed yet may be anything.
        let text = json::parse(payload)
            .ok()
            .and_then(|value| String::from_utf8(value.to_vec()).ok());
        text.and_then(|text| RawValue::from_string(text).ok())
            .map_or_else(|| Self::Text(excerpt(payload, usize::MAX)), Self::Json)
    }
}

impl<'a> From<&'a EventRecord> for EventDocument<'a> {
    fn from(event: &'a EventRecord) -> Self {
        Self {
            id: event.id.to_string(),
            event_type: &event.event_type,
            client: event.client.to_string(),
            campaign: event.campaign.as_deref(),
            recipient: event.recipient.as_deref(),
            published_at: event.published_at.to_string(),
            not_before: event.not_before.map(|at| at.to_string()),
            expires_at: event.expires_at.map(|at| at.to_string()),
            routed: event.routed,
            refused: event.refused.as_ref().map(refusal),
            payload: Payload::from(&*event.payload),
            deliveries: event
                .deliveries
                .iter()
                .map(DeliveryDocument::from)
                .collect(),
        }
    }
}

/// A replay, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub struct ReplayDocument {
    #[schema(format = "uuid")]
    id: String,
    /// Null: it is of no client alone.
    #[schema(format = "uuid")]
    client: Option<String>,
    #[schema(value_type = words::ReplayState)]
    state: &'static str,
    #[schema(value_type = words::ReplayKey)]
    key: &'static str,
    rate: Option<String>,
    expected: Option<u64>,
    examined: u64,
    replayed: u64,
    skipped: u64,
    unfinished: u64,
    #[schema(format = "uuid")]
    held_for: Vec<String>,
    is_held: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
}

impl From<&Replay> for ReplayDocument {
    fn from(replay: &Replay) -> Self {
        Self {
            id: replay.id.to_string(),
            client: replay.client.map(|client| client.to_string()),
            state: replay.state.as_str(),
            key: replay.key.as_str(),
            rate: replay.rate.map(|rate| rate.to_string()),
            expected: replay.expected,
            examined: replay.examined,
            replayed: replay.replayed,
            skipped: replay.skipped,
            unfinished: replay.unfinished,
            held_for: replay.held_for.iter().map(ToString::to_string).collect(),
            is_held: replay.is_held,
            created_at: replay.created_at.to_string(),
            finished_at: replay.finished_at.map(|at| at.to_string()),
        }
    }
}

/// In whole milliseconds.
pub fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The JSON of an error, the same wherever one appears.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fault {
    /// Stable, snake case: what programs match on.
    pub code: String,
    /// The place, where there is one.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// `field: message`, inert.
    pub fn sentence(&self) -> String {
        match &self.field {
            Some(field) => format!("{}: {}", inert(field), inert(&self.message)),
            None => inert(&self.message).into_owned(),
        }
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Self {
            code: invalid.code.to_owned(),
            field: invalid.field,
            message: invalid.message.into_owned(),
            hint: invalid.hint.map(std::borrow::Cow::into_owned),
        }
    }
}

/// A line of the audit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditDocument<'a> {
    #[schema(format = DateTime)]
    at: String,
    actor: &'a str,
    /// From where, where it was asked over a network.
    address: Option<&'a str>,
    #[schema(format = "uuid")]
    client: Option<String>,
    action: &'a str,
    subject: &'a str,
    detail: serde_json::Value,
}

impl<'a> From<&'a AuditRecord> for AuditDocument<'a> {
    fn from(entry: &'a AuditRecord) -> Self {
        Self {
            at: entry.at.to_string(),
            actor: &entry.actor,
            address: entry.address.as_deref(),
            client: entry.client.map(|client| client.to_string()),
            action: &entry.action,
            subject: &entry.subject,
            detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
        }
    }
}

/// Why an event could not be frozen, as an error.
pub fn refusal(refusal: &Refusal) -> Fault {
    Fault {
        code: refusal.code.clone(),
        field: refusal.field.clone(),
        message: refusal.message.clone(),
        hint: None,
    }
}
