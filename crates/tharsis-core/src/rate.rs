//! How many requests a receiver wants in how long.

use std::{fmt, str::FromStr, time::Duration};

use crate::Invalid;

/// The most requests of one unit of time.
const MOST: u32 = 10_000;

/// How many requests in how long, spread evenly: `10/s`, `300/m`, `5/h`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tharsis_core::rate::Rate;
///
/// let rate: Rate = "300/m".parse()?;
/// assert_eq!(rate.interval(), Duration::from_millis(200));
/// assert_eq!(rate.to_string(), "300/m");
/// assert_eq!("0/s".parse::<Rate>().unwrap_err().code, "bad_rate");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    requests: u32,
    per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
        })
    }
}

impl Rate {
    /// From the beginning of one request to that of the next.
    pub fn interval(self) -> Duration {
        self.per.length() / self.requests
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.per.as_str())
    }
}

impl FromStr for Rate {
    type Err = Invalid;

    /// # Errors
    /// `bad_rate`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || {
            Invalid::new("bad_rate", "is no rate").hint(format!(
                "write how many requests a second, minute or hour, 1 to {MOST}: 10/s, 300/m, 5/h"
            ))
        };
        let (requests, per) = text.split_once('/').ok_or_else(bad)?;
        let is_number = requests.bytes().all(|b| b.is_ascii_digit());
        let requests = requests.parse().ok().filter(|_| is_number);
        Ok(Self {
            requests: requests
                .filter(|n| (1..=MOST).contains(n))
                .ok_or_else(bad)?,
            per: (Per::ALL.into_iter())
                .find(|unit| unit.as_str() == per)
                .ok_or_else(bad)?,
        })
    }
}
