//! How a campaign does.

use std::collections::BTreeMap;

use serde::Serialize;
use tharsis::store::{Campaign, CampaignReport, Slow, Stop};
use utoipa::ToSchema;

use super::{millis, words};

/// A campaign, or one recipient of it, and whether it is stopped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Campaign)]
pub struct CampaignDocument<'a> {
    #[schema(format = "uuid")]
    client: String,
    campaign: &'a str,
    /// Null: all of it.
    recipient: Option<&'a str>,
    #[schema(value_type = words::CampaignState)]
    state: &'static str,
    /// Null: it runs.
    #[schema(format = DateTime)]
    since: Option<String>,
}

impl<'a> CampaignDocument<'a> {
    /// With what stops it.
    pub fn of(campaign: &'a Campaign, stop: Option<&Stop>) -> Self {
        Self {
            client: campaign.client.to_string(),
            campaign: &campaign.name,
            recipient: campaign.recipient.as_deref(),
            state: stop.map_or("running", |stop| stop.state.as_str()),
            since: stop.map(|stop| stop.since.to_string()),
        }
    }
}

/// What pausing, resuming or cancelling one made of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CampaignChanged)]
pub struct CampaignChangedDocument<'a> {
    #[serde(flatten)]
    campaign: CampaignDocument<'a>,
    /// Whether a process delivers now; else the next `tharsis run` carries it out.
    owned: bool,
}

impl<'a> CampaignChangedDocument<'a> {
    /// With what stops it from now on.
    pub fn of(campaign: &'a Campaign, stop: Option<&Stop>, owned: bool) -> Self {
        Self {
            campaign: CampaignDocument::of(campaign, stop),
            owned,
        }
    }
}

/// What became of it so far.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CampaignReport)]
pub struct CampaignReportDocument<'a> {
    #[serde(flatten)]
    campaign: CampaignDocument<'a>,
    /// Events; all that follow are deliveries.
    published: u64,
    delivered: u64,
    pending: u64,
    held: u64,
    expired: u64,
    cancelled: u64,
    refused: u64,
    /// By the code of the last outcome.
    dead: &'a BTreeMap<String, u64>,
    delivered_last_minute: u64,
    delivered_per_second: f64,
    /// By what 95 of 100 requests took, in the last hour.
    slowest: Vec<SlowDocument<'a>>,
    /// Those that are stopped by themselves.
    recipients: Vec<CampaignDocument<'a>>,
}

impl<'a> CampaignReportDocument<'a> {
    /// Of this campaign.
    pub fn of(campaign: &'a Campaign, report: &'a CampaignReport) -> Self {
        Self {
            campaign: CampaignDocument::of(campaign, report.stop.as_ref()),
            published: report.published,
            delivered: report.delivered,
            pending: report.pending,
            held: report.held,
            expired: report.expired,
            cancelled: report.cancelled,
            refused: report.refused,
            dead: &report.dead,
            delivered_last_minute: report.delivered_last_minute,
            delivered_per_second: delivered_per_second(report),
            slowest: report.slowest.iter().map(SlowDocument::from).collect(),
            recipients: (report.recipients.iter())
                .map(|stop| CampaignDocument::of(&stop.campaign, Some(stop)))
                .collect(),
        }
    }
}

/// How many were taken a second, in the last minute.
#[expect(
    clippy::cast_precision_loss,
    reason = "deliveries of one minute are few enough"
)]
pub fn delivered_per_second(report: &CampaignReport) -> f64 {
    report.delivered_last_minute as f64 / 60.0
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SlowSubscription)]
struct SlowDocument<'a> {
    #[schema(format = "uuid")]
    subscription: String,
    name: &'a str,
    requests: u64,
    mean_ms: u64,
    p95_ms: u64,
}

impl<'a> From<&'a Slow> for SlowDocument<'a> {
    fn from(slow: &'a Slow) -> Self {
        Self {
            subscription: slow.subscription.to_string(),
            name: &slow.name,
            requests: slow.attempts,
            mean_ms: millis(slow.mean),
            p95_ms: millis(slow.p95),
        }
    }
}
