//! When a failed delivery is tried again.
//!
//! The schedule is a table, it must outlive the process, and its randomness is handed over; libraries for retrying
//! (`backon` among them) hold a schedule in memory for as long as one call lasts, so they have no place here.

use std::{fmt, str::FromStr, time::Duration};

use chrono::NaiveDateTime;

use crate::{
    Invalid, Timestamp,
    time::{format_duration, parse_duration},
};

/// The most retries that a policy may have.
pub const MAX_RETRIES: usize = 20;

/// The longest delay before a retry, and the longest that a receiver's `Retry-After` is honoured: 24 hours.
pub const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often and after how long a failed delivery is tried again.
///
/// The default is the documented one: 3 retries, after 5 s, 1 min and 10 min, each ±20 %. Written as a list, or as
/// `8x5s..1h`: eight retries, the first after 5 s, each after twice as long as the one before, but none after longer than
/// 1 h.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tharsis_core::retry::RetryPolicy;
///
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.to_string(), "5s,1m,10m");
/// assert_eq!(policy.delay(0, u16::MAX / 2 + 1).map(|d| d.as_secs()), Some(5));
/// assert_eq!(policy.delay(3, 0), None);
///
/// let doubled: RetryPolicy = "5x10s..1m".parse()?;
/// assert_eq!(doubled.to_string(), "10s,20s,40s,1m,1m");
///
/// let never: RetryPolicy = "none".parse()?;
/// assert!(never.delays().is_empty());
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    delays: Vec<Duration>,
    window: Option<Duration>,
}

impl RetryPolicy {
    /// At most 20 retries ([`MAX_RETRIES`]), each after 1 ms to 24 h ([`MAX_DELAY`]). An empty list retries nothing.
    ///
    /// # Errors
    /// `too_many_retries`, `retry_delay_out_of_range`.
    pub fn new(delays: Vec<Duration>) -> Result<Self, Invalid> {
        if delays.len() > MAX_RETRIES {
            return Err(Invalid::new(
                "too_many_retries",
                format!("there are more than {MAX_RETRIES} retries"),
            ));
        }
        if let Some(at) = delays
            .iter()
            .position(|d| !(Duration::from_millis(1)..=MAX_DELAY).contains(d))
        {
            return Err(
                Invalid::new("retry_delay_out_of_range", "is not between 1 ms and 24 h")
                    .at(format!("[{at}]")),
            );
        }
        Ok(Self {
            delays,
            window: None,
        })
    }

    /// The same within a window: a retry is not waited for that would make a delivery wait for longer than this, all its
    /// retries together. The time that it is held does not count.
    #[must_use]
    pub fn within(self, window: Option<Duration>) -> Self {
        Self { window, ..self }
    }

    /// For how long a delivery may wait for its retries, if there is a limit.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// The delay before each retry, in order.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }

    /// How long to wait when one more attempt has failed after `tries` failed ones of the same budget: `tries` is 0 when
    /// it was the first. `None` when the retries are used up.
    ///
    /// `random` spreads the delay evenly over ±20 %: 0 is 80 %, `u16::MAX` is 120 %.
    pub fn delay(&self, tries: u32, random: u16) -> Option<Duration> {
        let delay = self.delays.get(usize::try_from(tries).ok()?)?;
        Some(spread(*delay, random))
    }
}

/// `delay` ±20 %: four fifths of it, and up to two fifths more.
pub(crate) fn spread(delay: Duration, random: u16) -> Duration {
    // No product overflows: a day is 86,400 s, a `Duration` holds 2^64 s.
    delay * 4 / 5 + delay * 2 / 5 * u32::from(random) / u32::from(u16::MAX)
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            delays: [5, 60, 600].map(Duration::from_secs).into(),
            window: None,
        }
    }
}

/// `5s,1m,10m`; `none` for no retry. The window is not told.
impl fmt::Display for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.delays.is_empty() {
            return f.write_str("none");
        }
        for (i, delay) in self.delays.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(&format_duration(*delay))?;
        }
        Ok(())
    }
}

impl FromStr for RetryPolicy {
    type Err = Invalid;

    /// # Errors
    /// `bad_duration` with the place in the list, `bad_retry`, and those of [`Self::new`].
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.trim() == "none" {
            return Self::new(Vec::new());
        }
        if let Some((number, lengths)) = text.trim().split_once('x') {
            return doubled(number, lengths).and_then(Self::new);
        }
        text.split(',')
            .enumerate()
            .map(|(i, delay)| parse_duration(delay.trim()).map_err(|e| e.at(format!("[{i}]"))))
            .collect::<Result<_, _>>()
            .and_then(Self::new)
    }
}

/// So many delays, each twice as long as the one before, from the first length on up to the second.
fn doubled(number: &str, lengths: &str) -> Result<Vec<Duration>, Invalid> {
    let bad = || {
        Invalid::new("bad_retry", "is no schedule").hint(
            "write the delays, 5s,1m,10m, or how many and from what to what, each twice the one before: 8x5s..1h",
        )
    };
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    let number: usize = number.parse().ok().filter(|_| is_number).ok_or_else(bad)?;
    let (first, longest) = lengths.split_once("..").ok_or_else(bad)?;
    let (first, longest) = (parse_duration(first)?, parse_duration(longest)?);
    if first > longest {
        return Err(bad());
    }
    let delays = std::iter::successors(Some(first), |delay| Some(delay.saturating_mul(2)));
    // One more than there may be, so that it is refused.
    let number = number.min(MAX_RETRIES + 1);
    Ok(delays
        .take(number)
        .map(|delay| delay.min(longest))
        .collect())
}

/// How long a receiver asks us to wait: a number of seconds, or a date in one of the three forms of HTTP (RFC 9110,
/// 10.2.3 and 5.6.7). Anything else is no wish. A date that has passed asks for no wait.
///
/// More seconds than any number holds are as many as it does; the caller bounds them.
pub fn retry_after(field: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = [
        "%a, %d %b %Y %H:%M:%S GMT", // IMF-fixdate
        "%A, %d-%b-%y %H:%M:%S GMT", // RFC 850
        "%a %b %e %H:%M:%S %Y",      // asctime
    ]
    .iter()
    .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(Timestamp::from_millis(date.and_utc().timestamp_millis()).since(now))
}
