//! Campaigns: what stops them, and how they do.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::{ClientId, Invalid, SubscriptionId, Timestamp, erasure::Erasure};

use crate::{Deed, StoreError};

/// A campaign of a client, or one recipient in it. Campaigns of two clients with the same name are two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Campaign {
    /// Whose it is.
    pub client: ClientId,
    /// Its name, as events bear it.
    pub name: String,
    /// One recipient of it; `None` for all.
    pub recipient: Option<String>,
}

/// Why nothing of a campaign is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopState {
    /// It is held until it is resumed.
    Paused,
    /// It ends `cancelled`.
    Cancelled,
}

/// Nothing of this campaign is sent, by the word of an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The store's number of it. One that was lifted and is set anew has another.
    pub seq: i64,
    /// What is not sent.
    pub campaign: Campaign,
    /// What becomes of it.
    pub state: StopState,
    /// Since when.
    pub since: Timestamp,
}

/// How a campaign does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CampaignReport {
    /// Events.
    pub published: u64,
    /// Deliveries that the receiver took.
    pub delivered: u64,
    /// Deliveries that are due, or wait for their time or a retry.
    pub pending: u64,
    /// Deliveries that the campaign's pause holds, or something about their subscription.
    pub held: u64,
    /// Deliveries that have ended so, or will never be sent for that reason.
    pub expired: u64,
    /// Deliveries that have ended so.
    pub cancelled: u64,
    /// Deliveries that have ended so.
    pub refused: u64,
    /// Deliveries that have ended so, by the code of the last outcome.
    pub dead: BTreeMap<String, u64>,
    /// How many were taken in the last minute.
    pub delivered_last_minute: u64,
    /// The subscriptions that took longest to answer in the last hour, the slowest first, at most five.
    pub slowest: Vec<Slow>,
    /// What stops all of it.
    pub stop: Option<Stop>,
    /// Which of its recipients are stopped by themselves.
    pub recipients: Vec<Stop>,
}

/// How long a subscription took to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Slow {
    /// Which.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: String,
    /// How many requests.
    pub attempts: u64,
    /// On average.
    pub mean: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
}

impl StopState {
    /// The word for it in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
        }
    }

    /// The word for it in the audit.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Paused => "campaign.paused",
            Self::Cancelled => "campaign.cancelled",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Paused, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

impl Campaign {
    /// The recipient as tables keep it: empty for all.
    pub(crate) fn recipient_or_all(&self) -> &str {
        self.recipient.as_deref().unwrap_or_default()
    }

    /// What was done to it, for the audit. A recipient is named as its [erasure](Erasure) would be.
    pub(crate) fn deed(&self, action: &'static str) -> Deed {
        let recipient = self.recipient.clone().map(|recipient| {
            let erasure = Erasure::Recipient {
                recipient,
                client: Some(self.client),
            };
            erasure.subject()
        });
        Deed::new(action, &self.name)
            .of(self.client)
            .with(serde_json::json!({ "recipient": recipient }))
    }

    /// Whether it is a recipient of that one.
    pub(crate) fn is_of(&self, all: &Self) -> bool {
        self.client == all.client
            && self.name == all.name
            && self.recipient.is_some()
            && all.recipient.is_none()
    }
}

impl CampaignReport {
    /// So many deliveries more in this state, or events that were published.
    pub(crate) fn add(&mut self, word: &str, code: Option<String>, count: u64) {
        match word {
            "published" => self.published += count,
            "delivered" => self.delivered += count,
            "held" => self.held += count,
            "expired" => self.expired += count,
            "cancelled" => self.cancelled += count,
            "refused" => self.refused += count,
            "dead" => *self.dead.entry(code.unwrap_or_default()).or_default() += count,
            _ => self.pending += count,
        }
    }

    /// What of these stops is of this campaign.
    pub(crate) fn stopped(&mut self, campaign: &Campaign, stops: Vec<Stop>) {
        for stop in stops {
            if stop.campaign == *campaign || campaign.is_of(&stop.campaign) {
                // What ends all of it counts before what holds the recipient that was asked for.
                let counts = self.stop.as_ref().is_none_or(|present| {
                    present.state != StopState::Cancelled
                        && (stop.state == StopState::Cancelled || stop.campaign == *campaign)
                });
                if counts {
                    self.stop = Some(stop);
                }
            } else if stop.campaign.is_of(campaign) {
                self.recipients.push(stop);
            }
        }
    }
}

pub(crate) fn is_cancelled() -> StoreError {
    Invalid::new("campaign_cancelled", "is cancelled")
        .at("campaign")
        .hint("resume it first: what was cancelled stays cancelled, and what comes is sent")
        .into()
}
