use std::{fmt, time::Duration};

use chrono::{DateTime, SecondsFormat};

use crate::Invalid;

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
///
/// It is always handed over, never asked for: core and store hold no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset; a fraction finer than a millisecond is cut off.
    ///
    /// # Errors
    /// `bad_time` when the text is no such time (30 February, hour 24).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        DateTime::parse_from_rfc3339(text)
            .map(|t| Self(t.timestamp_millis()))
            .map_err(|_| {
                Invalid::new("bad_time", "is not a time as RFC 3339 writes it")
                    .hint("write it like 2026-01-31T12:30:00.000+00:00")
            })
    }

    /// The time between an earlier instant and this one; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Milliseconds and `+00:00`, as the payloads of Mars write it: `2020-01-24T11:59:59.546+00:00`.
    pub fn to_offset_string(self) -> String {
        self.rfc3339(false)
    }

    fn rfc3339(self, z: bool) -> String {
        DateTime::from_timestamp_millis(self.0).map_or_else(
            || format!("{} ms", self.0),
            |t| t.to_rfc3339_opts(SecondsFormat::Millis, z),
        )
    }
}

/// Milliseconds and `Z`: `2020-01-24T11:59:59.546Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339(true))
    }
}

/// Saturates at the ends of time.
impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// Saturates at the ends of time.
impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}
