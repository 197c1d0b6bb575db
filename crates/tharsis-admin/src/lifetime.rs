use std::{fmt, str::FromStr, time::Duration};

use tharsis::{Invalid, Timestamp, format_duration, parse_duration};

/// How long a token lets somebody in, a year unless it is said; `none` is for as long as nobody revokes it.
///
/// # Examples
/// ```
/// use tharsis::Timestamp;
/// use tharsis_admin::Lifetime;
///
/// let now = Timestamp::from_millis(0);
/// let week: Lifetime = "7d".parse()?;
/// assert_eq!(week.end(now).map(|end| end.to_string()).as_deref(), Some("1970-01-08T00:00:00.000Z"));
/// assert_eq!("none".parse::<Lifetime>()?.end(now), None);
/// # Ok::<(), tharsis::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(Option<Duration>);

impl Lifetime {
    /// From then on it lets nobody in.
    pub fn end(self, now: Timestamp) -> Option<Timestamp> {
        self.0.map(|span| now + span)
    }
}

impl Default for Lifetime {
    fn default() -> Self {
        Self(Some(Duration::from_secs(365 * 24 * 60 * 60)))
    }
}

impl FromStr for Lifetime {
    type Err = Invalid;

    /// # Errors
    /// `bad_duration`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self(None)),
            span => parse_duration(span).map(|span| Self(Some(span))),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(span) => f.write_str(&format_duration(span)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_read() {
        assert_eq!(Lifetime::default().to_string(), "365d");
        for text in ["none", "365d", "12h", "1m30s"] {
            let lifetime: Lifetime = text.parse().expect("a span");
            assert_eq!(lifetime.to_string(), text);
        }
        for wrong in ["", "None", "90", "forever"] {
            let refused = wrong.parse::<Lifetime>().expect_err("no span");
            assert_eq!(refused.code, "bad_duration");
        }
    }
}
