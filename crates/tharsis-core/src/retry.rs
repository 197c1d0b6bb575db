//! When a failed delivery is tried again.

use std::time::Duration;

/// How often and after how long a failed delivery is tried again.
///
/// The default is the documented one: 3 retries, after 5 s, 1 min and 10 min, each ±20 %.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    delays: Vec<Duration>,
}

impl RetryPolicy {
    /// The delay before each retry, in order.
    pub fn delays(&self) -> &[Duration] {
        &self.delays
    }
}
