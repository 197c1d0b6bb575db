//! A subscription as one line of a file: what an admin would type, and nothing secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tharsis::subscription::{Draft, Settings};

/// The fields of a [`Draft`], by their names.
#[derive(Debug, Serialize, Deserialize)]
#[serde(remote = "Draft", deny_unknown_fields)]
struct Fields {
    client: String,
    name: String,
    url: String,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    retry: Option<String>,
    #[serde(default)]
    retry_window: Option<String>,
    #[serde(default)]
    breaker: Option<String>,
    #[serde(default)]
    suspend_after: Option<String>,
    #[serde(default)]
    alert_mail: Vec<String>,
    #[serde(default)]
    alert_every: Option<String>,
    #[serde(default)]
    max_in_flight: Option<u32>,
    #[serde(default)]
    rate: Option<String>,
    #[serde(default)]
    order: Option<String>,
    #[serde(default)]
    on_dead: Option<String>,
    #[serde(default)]
    payload_limit: Option<usize>,
    #[serde(default)]
    batch_items: Option<u32>,
    #[serde(default)]
    linger: Option<String>,
    #[serde(default)]
    profile_settings: BTreeMap<String, String>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    traceparent: bool,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Portable(#[serde(with = "Fields")] pub(super) Draft);

impl From<&Settings> for Portable {
    fn from(settings: &Settings) -> Self {
        Self(Draft::from(settings))
    }
}
