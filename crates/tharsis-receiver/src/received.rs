use std::{borrow::Cow, net::SocketAddr};

use bytes::Bytes;
use http::{
    HeaderMap, Method,
    header::{CONTENT_TYPE, HeaderName},
};
use serde::{Serialize, Serializer, ser::SerializeMap, ser::SerializeStruct};
use tharsis_core::Timestamp;
use url::form_urlencoded;

/// One request as it came in.
///
/// Serialises to the line that `tharsis listen` prints: `at`, `method`, `path`, `headers`, `body` as text, `data`,
/// `verified` (`true`, `false`, or `null` where nothing was there to verify with), `reason`.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// When its last byte had been read.
    pub at: Timestamp,
    /// Where its connection came from. It is not in the line.
    pub peer: SocketAddr,
    /// `POST`, or `HEAD` for a check.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The fields of its head.
    pub headers: HeaderMap,
    /// The bytes of its body.
    pub body: Bytes,
    /// Whether its signature is right; `None` where the receiver has no secret to tell, or the request is a HEAD.
    pub verified: Option<bool>,
    /// Why it is not.
    pub reason: Option<String>,
}

impl Received {
    /// The decoded value of the first field of a form; `None` where it is no form.
    pub fn data(&self) -> Option<String> {
        let content_type = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return None;
        }
        let (_, value) = form_urlencoded::parse(&self.body).next()?;
        Some(value.into_owned())
    }
}

impl Serialize for Received {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Received", 8)?;
        line.serialize_field("at", &self.at.to_string())?;
        line.serialize_field("method", self.method.as_str())?;
        line.serialize_field("path", &self.path)?;
        line.serialize_field("headers", &Fields(&self.headers))?;
        line.serialize_field("body", &String::from_utf8_lossy(&self.body))?;
        line.serialize_field("data", &self.data())?;
        line.serialize_field("verified", &self.verified)?;
        line.serialize_field("reason", &self.reason)?;
        line.end()
    }
}

/// A field that came several times is one text, its values joined by a comma (RFC 9110, section 5.3).
struct Fields<'a>(&'a HeaderMap);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            map.serialize_entry(name.as_str(), &joined(self.0, name))?;
        }
        map.end()
    }
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next().unwrap_or_default();
    values.fold(first, |all, value| Cow::Owned(format!("{all}, {value}")))
}
