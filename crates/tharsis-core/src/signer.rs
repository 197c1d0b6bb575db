//! Making the request of a delivery, signing it, and verifying what was received.

use std::time::Duration;

use bytes::Bytes;

use crate::egress::PayloadUrl;

/// One request, complete: what is signed is what is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `POST`, or `HEAD` for the check.
    pub method: Method,
    /// Where to.
    pub url: PayloadUrl,
    /// Names in lower case; values visible ASCII.
    pub headers: Vec<(&'static str, Box<str>)>,
    /// The body.
    pub body: Bytes,
    /// For everything: DNS, TCP, TLS, request, head and body.
    pub deadline: Duration,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A delivery.
    Post,
    /// A check.
    Head,
}
