//! `[profiles.NAME]`: senders that somebody declares.

use std::collections::BTreeMap;

use serde::Deserialize;
use tharsis::profile::{Declaration, Profiles};

use crate::output::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub(super) struct ProfileTable {
    content_type: Option<String>,
    encoding: Option<String>,
    form_field: Option<String>,
    signature_header: Option<String>,
    signed: Option<String>,
    algorithm: Option<String>,
    key: Option<String>,
    prefix: Option<String>,
    digest: Option<String>,
    timestamp_prefix: Option<String>,
    separator: Option<String>,
    headers: BTreeMap<String, String>,
    check: Option<String>,
    success: Option<String>,
    timeout: Option<String>,
    most_retries: Option<usize>,
    payload_limit: Option<usize>,
    events: Vec<String>,
    batch_items: Option<u32>,
    linger: Option<String>,
}

/// Every key of a declared profile, in `profiles.NAME`.
pub(super) const PROFILE_KEYS: [&str; 20] = [
    "content_type",
    "encoding",
    "form_field",
    "signature_header",
    "signed",
    "algorithm",
    "key",
    "prefix",
    "digest",
    "timestamp_prefix",
    "separator",
    "headers",
    "check",
    "success",
    "timeout",
    "most_retries",
    "payload_limit",
    "events",
    "batch_items",
    "linger",
];

/// Those that come with the program and those that are declared, each tried out with a sample.
pub(super) fn profiles(declared: BTreeMap<String, ProfileTable>) -> Result<Profiles, Failure> {
    let refused = |invalid| Failure::from(invalid).into_usage();
    let declared = declared
        .into_iter()
        .map(|(name, table)| table.declaration().profile(&name))
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    Profiles::default().with(declared).map_err(refused)
}

impl ProfileTable {
    pub(super) fn declaration(self) -> Declaration {
        Declaration {
            content_type: self.content_type,
            encoding: self.encoding,
            form_field: self.form_field,
            signature_header: self.signature_header,
            signed: self.signed,
            algorithm: self.algorithm,
            key: self.key,
            prefix: self.prefix,
            digest: self.digest,
            timestamp_prefix: self.timestamp_prefix,
            separator: self.separator,
            headers: self.headers.into_iter().collect(),
            check: self.check,
            success: self.success,
            timeout: self.timeout,
            most_retries: self.most_retries,
            payload_limit: self.payload_limit,
            events: self.events,
            batch_items: self.batch_items,
            linger: self.linger,
        }
    }
}
