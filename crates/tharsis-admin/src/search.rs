//! Lists whose pages are short where little matches: whoever asks goes on by itself for a while.

use std::time::{Duration, Instant};

use tharsis::{
    Registry,
    store::{DeliveryFilter, DeliveryRow, Page, StoreError},
};

/// The most rows that one question to the database brings.
const PAGE: u32 = 200;

/// Deliveries that match, up to so many. Where they are rare, it looks back for so long and says how far it came.
///
/// # Errors
/// `bad_cursor`; when the database fails.
pub async fn deliveries(
    registry: &impl Registry,
    filter: &DeliveryFilter,
    after: Option<String>,
    limit: u32,
    patience: Duration,
) -> Result<Page<DeliveryRow>, StoreError> {
    let began = Instant::now();
    let mut list = Page {
        items: Vec::new(),
        next: after,
        searched_until: None,
    };
    loop {
        let wanted = limit - u32::try_from(list.items.len()).unwrap_or(limit);
        let page = registry
            .deliveries(filter, list.next.as_deref(), wanted.min(PAGE))
            .await?;
        list.items.extend(page.items);
        (list.next, list.searched_until) = (page.next, page.searched_until);
        let is_given_up = list.searched_until.is_some() && began.elapsed() > patience;
        if list.next.is_none() || list.items.len() >= limit as usize || is_given_up {
            return Ok(list);
        }
    }
}
