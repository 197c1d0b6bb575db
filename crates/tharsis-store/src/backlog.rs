//! Clients whose backlog is full: what they publish is refused until it has gone down.

use std::time::Duration;

use tharsis_core::{ClientId, Invalid, Timestamp};

use crate::StoreError;

/// A client of which no more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullBacklog {
    /// Whose backlog it is.
    pub client: ClientId,
    /// Since when.
    pub since: Timestamp,
}

const CODE: &str = "backlog_full";

/// So long it counts as full that was so when it was looked at last: where nobody delivers any more, nobody is refused.
pub(crate) const COUNTS: Duration = Duration::from_secs(60);

/// Which clients are to be written down as full, or again, and which are so no more: those of which a tenth is free. They come
/// with how much of them waits, and until when they count as full.
pub(crate) fn turns(
    weighed: impl Iterator<Item = (ClientId, u64, Option<Timestamp>)>,
    limit: Option<u64>,
    now: Timestamp,
) -> Vec<(ClientId, bool)> {
    weighed
        .filter_map(|(client, waiting, until)| {
            let is_full = match (limit, until) {
                (None, _) => false,
                (Some(limit), None) => waiting >= limit,
                (Some(limit), Some(_)) => waiting > limit.saturating_sub((limit / 10).max(1)),
            };
            let is_fresh = until.is_some_and(|until| until > now + COUNTS / 2);
            let is_to_write = if is_full { !is_fresh } else { until.is_some() };
            is_to_write.then_some((client, is_full))
        })
        .collect()
}

pub(crate) fn refusal() -> Invalid {
    Invalid::new(CODE, "has a full backlog: too much of it is not delivered yet")
        .at("client")
        .hint("publish it again later; `tharsis doctor` and `tharsis subscription list` tell what is in the way, and engine.backlog_limit how much may wait")
}

/// Whether events were refused for that.
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    matches!(error, StoreError::Invalid(invalid) if invalid.code == CODE)
}

/// Whether a database refused an event so: by what its function, or its trigger, says.
pub(crate) fn is_full(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|refusal| refusal.message().ends_with(CODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_full_is_so_until_a_tenth_is_free() {
        let client: ClientId = "b4aeba4e-a4c0-4896-866a-000000000001"
            .parse()
            .expect("a UUID");
        let now = Timestamp::from_millis(1_700_000_000_000);
        let turned = |waiting, until, limit| {
            let turns = turns([(client, waiting, until)].into_iter(), limit, now);
            turns.first().map(|(_, is_full)| *is_full)
        };
        let turn =
            |waiting, is_full: bool, limit| turned(waiting, is_full.then_some(now + COUNTS), limit);
        // It is written down again before it counts no more.
        assert_eq!(turned(100, Some(now + COUNTS / 2), Some(100)), Some(true));
        assert_eq!(turned(100, Some(now - COUNTS), Some(100)), Some(true));
        for (waiting, is_full, limit, turned) in [
            (99, false, Some(100), None),
            (100, false, Some(100), Some(true)),
            (100, true, Some(100), None),
            (91, true, Some(100), None),
            (90, true, Some(100), Some(false)),
            (1, true, Some(1), None),
            (0, true, Some(1), Some(false)),
            (1_000, true, None, Some(false)),
            (1_000, false, None, None),
        ] {
            assert_eq!(
                turn(waiting, is_full, limit),
                turned,
                "{waiting} {is_full} {limit:?}"
            );
        }
    }
}
