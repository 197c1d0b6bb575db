use std::{fmt, time::Duration};

use chrono::{DateTime, SecondsFormat};

use crate::Invalid;

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
///
/// It is always handed over, never asked for: core and store hold no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Reads a length of time: whole numbers with their units, largest first: `500ms`, `3s`, `1m30s`, `24h`, `7d`.
///
/// # Errors
/// `bad_duration`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tharsis_core::{format_duration, parse_duration};
///
/// assert_eq!(parse_duration("1m30s")?, Duration::from_secs(90));
/// assert_eq!(format_duration(Duration::from_millis(1_500)), "1s500ms");
/// assert_eq!(parse_duration("90").unwrap_err().code, "bad_duration");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let bad = || {
        Invalid::new("bad_duration", "is no length of time")
            .hint("write a number and its unit: 500ms, 3s, 1m30s, 24h")
    };
    let mut millis: u64 = 0;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit_on) = rest.split_at(digits);
        let letters = unit_on
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(unit_on.len());
        let (unit, after) = unit_on.split_at(letters);
        // What `units` has left are the smaller ones: each unit comes once, in falling order.
        let (_, worth) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        millis = number
            .checked_mul(*worth)
            .and_then(|m| millis.checked_add(m))
            .ok_or_else(bad)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(bad());
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a length of time as [`parse_duration`] reads it; what is finer than a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, worth) in UNITS {
        if rest >= worth {
            text.push_str(&(rest / worth).to_string());
            text.push_str(unit);
            rest %= worth;
        }
    }
    text
}

/// Units of a length of time in milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset; a fraction finer than a millisecond is cut off, and a leap second (`23:59:60`) counts
    /// as the last millisecond of the second before it.
    ///
    /// # Errors
    /// `bad_time` when the text is no such time (30 February, hour 24).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        DateTime::parse_from_rfc3339(text)
            .map(|t| Self(t.timestamp() * 1000 + i64::from(t.timestamp_subsec_millis().min(999))))
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
