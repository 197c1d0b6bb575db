//! Filters as text, the same in both databases: for the row of a replay, and for the cursors of lists.

use serde::{Deserialize, Serialize};
use tharsis_core::{ClientId, EventId, Invalid, Timestamp, delivery::End};

use crate::{DeliveryFilter, Status, StoreError, error::corrupt};

/// Where what matches can lie: in the outbox, or in the history with one kind of end or the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) unfinished: bool,
    pub(crate) undelivered: bool,
    pub(crate) delivered: bool,
}

impl Parts {
    pub(crate) fn of(filter: &DeliveryFilter) -> Self {
        let any = |test: fn(Status) -> bool| {
            filter.status.is_empty() || filter.status.iter().any(|status| test(*status))
        };
        Self {
            // What has expired there is told as such.
            unfinished: filter.ended_since.is_none()
                && any(|s| {
                    matches!(s, Status::Ended(End::Expired)) || !matches!(s, Status::Ended(_))
                }),
            undelivered: any(|s| matches!(s, Status::Ended(end) if end != End::Delivered)),
            delivered: any(|s| s == Status::Ended(End::Delivered)),
        }
    }
}

/// A filter as the row of a replay keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct FilterRow {
    status: Vec<String>,
    subscription: Vec<String>,
    client: Option<String>,
    event_type: Vec<String>,
    campaign: Option<String>,
    event: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    ended_since: Option<i64>,
}

pub(crate) fn to_text(filter: &DeliveryFilter) -> Result<String, StoreError> {
    let row = FilterRow {
        status: filter.status.iter().map(|s| s.word().to_owned()).collect(),
        subscription: filter
            .subscription
            .iter()
            .map(ToString::to_string)
            .collect(),
        client: filter.client.map(|id| id.to_string()),
        event_type: filter.event_type.clone(),
        campaign: filter.campaign.clone(),
        event: filter.event.map(|id| id.to_string()),
        since: filter.since.map(Timestamp::as_millis),
        until: filter.until.map(Timestamp::as_millis),
        ended_since: filter.ended_since.map(Timestamp::as_millis),
    };
    serde_json::to_string(&row).map_err(StoreError::database)
}

pub(crate) fn from_text(text: &str) -> Result<DeliveryFilter, StoreError> {
    let row: FilterRow = serde_json::from_str(text).map_err(corrupt)?;
    Ok(DeliveryFilter {
        status: row
            .status
            .iter()
            .map(|word| Status::parse(word).ok_or_else(|| corrupt(format!("the status {word}"))))
            .collect::<Result<_, _>>()?,
        subscription: row
            .subscription
            .iter()
            .map(|id| id.parse().map_err(corrupt))
            .collect::<Result<_, _>>()?,
        client: row
            .client
            .map(|id| id.parse::<ClientId>().map_err(corrupt))
            .transpose()?,
        event_type: row.event_type,
        campaign: row.campaign,
        event: row
            .event
            .map(|id| id.parse::<EventId>().map_err(corrupt))
            .transpose()?,
        since: row.since.map(Timestamp::from_millis),
        until: row.until.map(Timestamp::from_millis),
        ended_since: row.ended_since.map(Timestamp::from_millis),
    })
}

/// The last row of a page, as text that also says which list it is of, so that it is not used for another one.
pub(crate) fn seal_cursor(filter: &DeliveryFilter, key: &str) -> String {
    format!("{key}{:016x}", check(filter, key))
}

/// The key that the text was sealed with.
///
/// # Errors
/// `bad_cursor` for what [`seal_cursor`] did not write for this very filter.
pub(crate) fn open_cursor<'a>(filter: &DeliveryFilter, text: &'a str) -> Result<&'a str, Invalid> {
    text.len()
        .checked_sub(16)
        .and_then(|at| text.split_at_checked(at))
        .map(|(key, _)| key)
        .filter(|key| seal_cursor(filter, key) == text)
        .ok_or_else(bad_cursor)
}

pub(crate) fn bad_cursor() -> Invalid {
    Invalid::new("bad_cursor", "is no cursor of this list")
        .at("after")
        .hint("take it from the page before, with the same filter")
}

/// FNV-1a: against mistakes, not against people, since a cursor opens nothing that the filter does not.
fn check(filter: &DeliveryFilter, key: &str) -> u64 {
    let text = to_text(filter).unwrap_or_default();
    text.bytes()
        .chain(key.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
