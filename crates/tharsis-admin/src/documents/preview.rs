//! What a replay would take.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::preview::Preview;

/// What a replay would take, before it does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayPreview)]
pub struct PreviewDocument<'a> {
    /// At most so many.
    count: u64,
    /// At least so long, where that can be said.
    seconds: Option<u64>,
    /// By the state in which they ended.
    ends: BTreeMap<&'static str, u64>,
    /// By the subscription that gets them, most first.
    subscriptions: Vec<ShareDocument<'a>>,
    /// Some of them.
    sample: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayShare)]
struct ShareDocument<'a> {
    #[schema(format = "uuid")]
    id: String,
    name: &'a str,
    count: u64,
}

impl<'a> From<&'a Preview> for PreviewDocument<'a> {
    fn from(preview: &'a Preview) -> Self {
        Self {
            count: preview.count,
            seconds: preview.takes().map(|span| span.as_secs()),
            ends: (preview.ends.iter())
                .map(|(end, count)| (end.as_str(), *count))
                .collect(),
            subscriptions: (preview.subscriptions.iter())
                .map(|share| ShareDocument {
                    id: share.id.to_string(),
                    name: &share.name,
                    count: share.count,
                })
                .collect(),
            sample: preview.sample.iter().map(ToString::to_string).collect(),
        }
    }
}
