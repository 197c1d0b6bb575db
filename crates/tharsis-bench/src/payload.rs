//! Events of a given size.

use anyhow::Context;
use tharsis::Event;

/// The client that everything is published for.
pub(crate) const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";

/// Another one.
pub(crate) const STRANGER: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fd";

/// So many recipients take turns.
const RECIPIENTS: usize = 10_000;

/// One of many clients, spread over the shards.
pub(crate) fn client(n: usize) -> String {
    format!("36011017-0e00-4e29-a054-{n:012x}")
}

/// The `n`th prediction, filled up to about `bytes`.
pub(crate) fn event(n: usize, bytes: usize) -> anyhow::Result<Event> {
    event_of(CLIENT, n, bytes)
}

/// The same of another client.
pub(crate) fn event_of(client: &str, n: usize, bytes: usize) -> anyhow::Result<Event> {
    Event::parse(text(client, n, bytes).as_bytes()).context("the benchmark's own event")
}

/// The `n`th prediction as text.
pub(crate) fn text(client: &str, n: usize, bytes: usize) -> String {
    let mut text = format!(
        concat!(
            r#"{{"predictionId":"a8a3b30a-f5f3-408e-b5b7-{:012x}","type":"product_discount_recommendation","#,
            r#""campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"{}","#,
            r#""maraxId":"280b850d-c28d-4812-8ad9-{:012x}","userIdentities":{{"userId":"3594918"}},"#,
            r#""predictions":[{{"product_id":"36011017-0e00-4e29-a054-7a1fbb8b60a2","#,
            r#""name":"TEGO Tank Top for Women - Blue - L","sku":"T-WTTBL","type":"percentage","discount":30,"#,
            r#""min":10,"max":50,"step":1,"explanations":[{{"step":"product-recommendation","description":""#
        ),
        n + 1,
        client,
        n % RECIPIENTS
    );
    let tail = r#"","score":0.5}]}]}"#;
    let missing = bytes.saturating_sub(text.len() + tail.len());
    text.extend(
        "ranking of the product for the user; "
            .chars()
            .cycle()
            .take(missing),
    );
    text.push_str(tail);
    text
}
