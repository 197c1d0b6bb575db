//! What a response says, and as much of its body as is looked at.

use std::time::Duration;

use http::{HeaderMap, header};
use reqwest::Response;
use tharsis_core::{
    delivery::{Outcome, classify},
    profile::Success,
};
use url::Url;

/// Read to the end for the sake of the connection, no further: a longer body costs the receiver its connection.
const MAX_READ: usize = 64 * 1024;

/// Kept for people to read.
const MAX_EXCERPT: usize = 4 * 1024;

/// No date or number of seconds is longer.
const MAX_RETRY_AFTER: usize = 64;

/// A response whose head is there. From here on the outcome is known.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    retry_after: Option<Box<[u8]>>,
    location: Option<String>,
    excerpt: Vec<u8>,
}

impl Answer {
    pub(super) fn of(response: &Response) -> Self {
        let status = response.status().as_u16();
        Self {
            status,
            retry_after: retry_after(response.headers()),
            location: (300..400)
                .contains(&status)
                .then(|| location(response.headers())),
            excerpt: Vec::new(),
        }
    }

    /// Reads the body as far as it is worth it. A connection whose body was not read to its end is closed when the
    /// response is dropped. That a body breaks off changes nothing any more.
    pub(super) async fn read(&mut self, response: &mut Response) {
        let mut read = 0;
        while read <= MAX_READ
            && let Ok(Some(chunk)) = response.chunk().await
        {
            read += chunk.len();
            let room = MAX_EXCERPT - self.excerpt.len();
            self.excerpt
                .extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    }

    pub(super) fn outcome(self, duration: Duration) -> Outcome {
        let (code, fault) = classify(self.status, Success::Any2xx);
        Outcome {
            code,
            fault,
            status: Some(self.status),
            retry_after: self.retry_after,
            excerpt: self.excerpt,
            detail: self.location,
            duration,
            certificate: None,
        }
    }
}

/// A field that may come once and came twice says nothing (RFC 9110, section 5.3).
fn retry_after(headers: &HeaderMap) -> Option<Box<[u8]>> {
    let mut values = headers.get_all(header::RETRY_AFTER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            let bytes = value.as_bytes();
            Some(bytes[..bytes.len().min(MAX_RETRY_AFTER)].into())
        }
        _ => None,
    }
}

/// Where a redirect leads, without the path, which may be what lets somebody in. It is told, never followed.
fn location(headers: &HeaderMap) -> String {
    let Some(value) = headers.get(header::LOCATION) else {
        return "no location given".to_owned();
    };
    let target = std::str::from_utf8(value.as_bytes())
        .ok()
        .and_then(|text| Url::parse(text).ok());
    match target {
        Some(url) => match url.host_str() {
            Some(host) => format!("redirects to {}://{host}/…", url.scheme()),
            None => format!("redirects to {}:…", url.scheme()),
        },
        None => "redirects to another path".to_owned(),
    }
}
