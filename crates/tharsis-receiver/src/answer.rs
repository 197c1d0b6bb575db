use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// How a receiver answers. The default is an empty 200 at once.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of an answer.
    pub status: StatusCode,
    /// Fields beside those that HTTP itself needs: `location`, `retry-after`, …
    pub headers: HeaderMap,
    /// The body of every answer but to HEAD.
    pub body: Bytes,
    /// How long it waits, after it has read the request, before it answers.
    pub delay: Duration,
    /// So many requests, not counting HEAD, are answered `fail_status` first.
    pub fail_first: u32,
    /// The status of these; 503 by default.
    pub fail_status: StatusCode,
    /// The status of an answer to HEAD; 200 by default.
    pub head: StatusCode,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            fail_first: 0,
            fail_status: StatusCode::SERVICE_UNAVAILABLE,
            head: StatusCode::OK,
        }
    }
}

impl Answer {
    /// An empty answer of this status.
    pub fn status(status: StatusCode) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }
}

/// An answer in use, with the failures that are still to come.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) answer: Answer,
    failures_left: AtomicU32,
}

impl Serving {
    pub(crate) fn new(answer: Answer) -> Self {
        let failures_left = AtomicU32::new(answer.fail_first);
        Self {
            answer,
            failures_left,
        }
    }

    /// The status of the next answer; uses up one of the failures to come.
    pub(crate) fn next_status(&self, is_head: bool) -> StatusCode {
        if is_head {
            return self.answer.head;
        }
        if self.failures_left.load(Ordering::Relaxed) == 0 {
            return self.answer.status;
        }
        let used_up = self
            .failures_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_err();
        if used_up {
            self.answer.status
        } else {
            self.answer.fail_status
        }
    }
}

/// The answers of a receiver: one for each path that has its own, one for all others.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) paths: Vec<(String, Serving)>,
    pub(crate) others: Serving,
}

impl Answers {
    pub(crate) fn to(&self, path: &str) -> &Serving {
        self.paths
            .iter()
            .find(|(own, _)| own == path)
            .map_or(&self.others, |(_, serving)| serving)
    }
}
