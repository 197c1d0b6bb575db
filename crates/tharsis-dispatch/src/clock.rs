use std::time::{SystemTime, UNIX_EPOCH};

use tharsis_core::Timestamp;

/// The wall clock. The only place that asks it; everything else is handed the instant.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn system_now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
