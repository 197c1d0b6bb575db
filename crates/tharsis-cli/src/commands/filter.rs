//! Which deliveries: the filters that `delivery list` and `replay` share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tharsis::{
    ClientId, EventId, Invalid, SubscriptionId, Timestamp,
    delivery::End,
    parse_duration,
    store::{DeliveryFilter, Status},
};

/// Several filters restrict together; one that is given several times takes any of its values.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which deliveries")]
pub(crate) struct Filter {
    /// In this state; may be given several times
    #[arg(long, value_name = "STATUS")]
    status: Vec<StatusWord>,

    /// For this subscription; may be given several times
    #[arg(long, value_name = "UUID")]
    subscription: Vec<SubscriptionId>,

    /// On behalf of this client
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,

    /// Of events of this type; may be given several times
    #[arg(long, value_name = "TYPE")]
    event_type: Vec<String>,

    /// Of this campaign
    #[arg(long, value_name = "TEXT")]
    campaign: Option<String>,

    /// Of this event
    #[arg(long, value_name = "UUID")]
    event: Option<EventId>,

    /// Of events published since then: `90s`, `15m`, `1h`, `7d`, or a time such as 2026-01-31T12:30:00Z
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,

    /// Of events published before then, given in the same way
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,

    /// Ended after an attempt since then, given in the same way: `dead`, unless --status says otherwise
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    failed_since: Option<When>,
}

impl Filter {
    /// Whether it restricts nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.at(Timestamp::default()) == DeliveryFilter::default()
    }

    /// The subscription, where there is one and no other.
    pub(crate) fn only(&self) -> Option<SubscriptionId> {
        match self.subscription[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The filter with its times counted from `now`.
    pub(crate) fn at(&self, now: Timestamp) -> DeliveryFilter {
        let mut filter = DeliveryFilter::default();
        filter.status = self.status.iter().map(|word| word.status()).collect();
        filter.subscription.clone_from(&self.subscription);
        filter.client = self.client;
        filter.event_type.clone_from(&self.event_type);
        filter.campaign.clone_from(&self.campaign);
        filter.event = self.event;
        filter.since = self.since.map(|when| when.at(now));
        filter.until = self.until.map(|when| when.at(now));
        filter.ended_since = self.failed_since.map(|when| when.at(now));
        if filter.ended_since.is_some() && filter.status.is_empty() {
            filter.status = vec![Status::Ended(End::Dead)];
        }
        filter
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StatusWord {
    /// Not attempted yet
    Pending,
    /// Failed, and to be tried again
    Retrying,
    /// Its subscription is paused or suspended, or the receiver fails
    Held,
    /// The receiver took it
    Delivered,
    /// Its retries are used up, or its receiver is gone
    Dead,
    /// Its event's time had passed
    Expired,
    /// It could not be sent as it is
    Refused,
    /// An admin ended it
    Cancelled,
}

impl StatusWord {
    fn status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Retrying => Status::Retrying,
            Self::Held => Status::Held,
            Self::Delivered => Status::Ended(End::Delivered),
            Self::Dead => Status::Ended(End::Dead),
            Self::Expired => Status::Ended(End::Expired),
            Self::Refused => Status::Ended(End::Refused),
            Self::Cancelled => Status::Ended(End::Cancelled),
        }
    }
}

/// An instant, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Ago(Duration),
    At(Timestamp),
}

impl When {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.contains('T') {
            return Timestamp::parse(text).map(Self::At);
        }
        parse_duration(text).map(Self::Ago).map_err(|_| {
            Invalid::new("bad_time", "is neither a span nor a time")
                .hint("write it like 15m, 1h, 7d or 2026-01-31T12:30:00Z")
        })
    }

    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now - span,
            Self::At(at) => at,
        }
    }
}
