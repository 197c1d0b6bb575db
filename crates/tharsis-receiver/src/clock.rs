use std::time::SystemTime;

use tharsis_core::Timestamp;

/// The wall clock, for `at` and the validity of leaf certificates. The only place of this crate that asks it.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in milliseconds.
pub(crate) fn timestamp() -> Timestamp {
    let since = now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
