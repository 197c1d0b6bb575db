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

/// So many rows of each part are looked at for a page, matching or not: what is found in a few hundredths of a second.
const LOOKED: usize = 2_000;

/// How many rows of each part are looked at for a page of so many.
pub(crate) fn looked(limit: usize) -> usize {
    LOOKED.max(limit.saturating_mul(2))
}

/// How a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends<Pair, Event> {
    /// It is full, and the next one begins after this delivery.
    Full(Pair),
    /// It was searched back to this event, and the next one begins behind it.
    Searched(Event),
    /// There are no more.
    All,
}

impl<Pair: Copy, Event> Ends<Pair, Event> {
    /// Cuts what was found to a page of so many. Where the walk ended at an event, there may be more behind it.
    pub(crate) fn of(found: &mut Vec<Pair>, limit: usize, frontier: Option<Event>) -> Self {
        let is_full = found.len() > limit || (found.len() == limit && frontier.is_some());
        found.truncate(limit);
        match (found.last(), frontier) {
            (Some(last), _) if is_full => Self::Full(*last),
            (_, Some(event)) => Self::Searched(event),
            _ => Self::All,
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
        status: filter
            .status
            .iter()
            .map(|s| s.as_str().to_owned())
            .collect(),
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

/// Up to where a page goes, as text that also says which list it is of, so that it is not used for another one.
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

/// FNV-1a: against mistakes, not against people, since a cursor opens nothing that the filter does not. Times are left out,
/// for `1h` is another instant with the next page.
fn check(filter: &DeliveryFilter, key: &str) -> u64 {
    let timeless = DeliveryFilter {
        since: None,
        until: None,
        ended_since: None,
        ..filter.clone()
    };
    let text = to_text(&timeless).unwrap_or_default();
    text.bytes()
        .chain(key.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_its_last_row_or_behind_what_was_searched() {
        let of = |found: usize, frontier| {
            let mut found: Vec<usize> = (0..found).collect();
            let ends = Ends::of(&mut found, 2, frontier);
            (found.len(), ends)
        };
        assert_eq!(of(3, None), (2, Ends::Full(1)));
        assert_eq!(of(3, Some(9)), (2, Ends::Full(1)));
        assert_eq!(of(2, Some(9)), (2, Ends::Full(1)));
        assert_eq!(of(2, None), (2, Ends::All));
        assert_eq!(of(1, Some(9)), (1, Ends::Searched(9)));
        assert_eq!(of(0, Some(9)), (0, Ends::Searched(9)));
        assert_eq!(of(0, None), (0, Ends::All));
    }

    #[test]
    fn a_greater_page_looks_at_more() {
        assert_eq!(looked(1), LOOKED);
        assert_eq!(looked(LOOKED), 2 * LOOKED);
        assert_eq!(looked(usize::MAX), usize::MAX);
    }
}
