use std::time::Duration;

use tharsis::{
    Event, Invalid, Timestamp,
    payload::{
        Nudge, ProductDiscountRecommendation, identity,
        nudge::Content,
        product_discount_recommendation::{Explanation, Prediction, step},
    },
};

/// The two clients on whose behalf is published.
pub(super) const CLIENTS: [&str; 2] = [
    "36011017-0e00-4e29-a054-7a1fbb8b60a2",
    "b4aeba4e-a4c0-4896-866a-56f8bcb372fc",
];

const CAMPAIGN: &str = "5a0e8f6c-7d43-4c53-9a35-0b5f3f1f8c11";

const PRODUCTS: [&str; 4] = [
    "Tank Top for Women - Blue - L",
    "Laufschuh „Föhn“, Größe 42",
    "日傘 – UV カット",
    "Crème brûlée set 🍮",
];

/// So many events, by turns predictions and nudges, for one client and the other.
pub(super) fn all(count: usize, now: Timestamp) -> Result<Vec<Event>, Invalid> {
    (0..count)
        .map(|n| {
            if n % 2 == 0 {
                prediction(n)
            } else {
                nudge(n, now)
            }
        })
        .collect()
}

/// The client of the n-th event: two of each kind in turn.
fn client(n: usize) -> &'static str {
    CLIENTS[n / 2 % CLIENTS.len()]
}

fn prediction(n: usize) -> Result<Event, Invalid> {
    let small = u32::try_from(n % 41).unwrap_or_default();
    let prediction = |product: &str| {
        Prediction::new(format!("P-{n}"), product)
            .sku(format!("SKU-{:05}", n % 977))
            .discount(f64::from(10 + small))
            .range(10.0, 50.0, 1.0)
            .explanation(Explanation::new(
                step::PRODUCT_RECOMMENDATION,
                "ranks high for this user",
                0.5,
            ))
            .explanation(Explanation::new(
                step::USER_ENGAGEMENT_SCORING,
                "came back this week",
                f64::from(small) / 100.0,
            ))
            .explanation(Explanation::new(
                step::DISCOUNT_ALLOCATION,
                "within the budget of the campaign",
                0.1,
            ))
    };
    ProductDiscountRecommendation::new()
        .prediction_id(id(n))
        .campaign_id(CAMPAIGN)
        .client_id(client(n))
        .marax_id(id(n % 500 + 1_000_000))
        .identity(identity::USER_ID, (3_594_918 + n).to_string())
        .prediction(prediction(PRODUCTS[n / 2 % PRODUCTS.len()]))
        .prediction(prediction(PRODUCTS[(n / 2 + 1) % PRODUCTS.len()]))
        .event()
}

fn nudge(n: usize, now: Timestamp) -> Result<Event, Invalid> {
    Nudge::new()
        .nudge_user_id(id(n))
        .campaign_id(CAMPAIGN)
        .client_id(client(n))
        .marax_id(id(n % 500 + 1_000_000))
        .identity(identity::CLEVERTAP_ID, (3_594_918 + n).to_string())
        .queued_at(now)
        .expires_at(now + Duration::from_secs(2 * 60 * 60))
        .content(
            Content::new("Still thinking?", PRODUCTS[n / 2 % PRODUCTS.len()])
                .click_action("MainActivity"),
        )
        .about("product_viewed")
        .event()
}

/// A UUID that is different for each number; in an outbox of its own it need not be random.
fn id(n: usize) -> String {
    format!("7de0a000-0000-4000-8000-{n:012x}")
}
