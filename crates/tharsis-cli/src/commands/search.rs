//! Lists whose pages are short where little matches: a command goes on by itself for a while.

use std::time::Duration;

use tharsis::{
    Registry,
    store::{DeliveryFilter, DeliveryRow, Page, StoreError},
};

/// How long somebody waits for what may not be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Deliveries that match, up to so many. Where they are rare, it looks back for some seconds and says how far it came.
pub(crate) async fn deliveries(
    registry: &impl Registry,
    filter: &DeliveryFilter,
    after: Option<String>,
    limit: u32,
) -> Result<Page<DeliveryRow>, StoreError> {
    tharsis_admin::search::deliveries(registry, filter, after, limit, PATIENCE).await
}
