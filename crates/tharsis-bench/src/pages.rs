//! How long each page of the dashboard takes, and how large it is, where a day of deliveries lies behind it.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value, json};
use tharsis::{
    ClientId, DeliveryId, Registry as _, ReplayId, Timestamp,
    delivery::End,
    store::{By, DeliveryFilter, Figures, ReplayChoice, ReplayDraft, Status, TokenDraft, Traffic},
    system_now,
    token::{Grant, Role as TokenRole, Token},
};
use tharsis_store::{Outbox as _, Store, StoreOptions};

use crate::{
    browser::Browser,
    filling::{CLIENTS, FAN_OUT, Filling, subscribe},
    report::quantiles,
    role::Role,
    work::Work,
    world::{self, Plan},
};

/// What the longest of all calls of a page may take, in milliseconds.
const MOST_MILLIS: u64 = 200;

/// What a page may be at most, in bytes.
const MOST_BYTES: usize = 100_000;

/// How often each page is asked for.
const CALLS: usize = 20;

/// Between two calls, for a token may ask a hundred times a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Of a thousand deliveries so many are under way, as after an hour in which receivers failed.
const WAITING: u64 = 100;

/// Subscriptions of each client, of which most get nothing: as many as there are to choose from.
const SUBSCRIPTIONS: u64 = 50;

/// Tokens, by turns for all clients and for one.
const TOKENS: u8 = 30;

const REPLAYS: usize = 10;

/// The minutes of the day.
const MINUTES: u32 = 24 * 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Attempts of each client in a minute.
const ATTEMPTS: u64 = 300;

/// A campaign of the first client, with one in eighteen of its events.
const CAMPAIGN: &str = "7";

/// What is asked beside the pages as they are.
const ASKED: [&str; 10] = [
    "/?over=24h",
    "/deliveries?status=pending",
    "/deliveries?status=held",
    "/deliveries?status=dead&since=24h",
    "/deliveries?campaign=7",
    "/deliveries?subscription={subscription}",
    "/subscriptions/{id}/filter?filter=event.predictions.exists(p%2C+p.discount+%3E+20)",
    "/events?campaign=7",
    "/replays/new?status=dead&look=1",
    "/replays/new?since=24h&look=1",
];

/// Pages of no client alone, for those who see all of them.
const OF_ALL: [&str; 2] = ["/settings/workers", "/settings/keys"];

/// Each page with a token for all clients and with one of the first client, and whether all kept within the bounds.
pub(crate) async fn measure(plan: &Plan, deliveries: u64) -> anyhow::Result<(Value, bool)> {
    // Nothing delivers: it is there for its certificate.
    let (outside, _receiver) = world::received(plan, Duration::ZERO).await?;
    let outbox = &outside.outbox;
    let options = StoreOptions {
        key_file: Some(outbox.key_file.clone()),
        ..StoreOptions::default()
    };
    let store = Store::open(&outbox.url, &options).await?;
    subscribe(&store, 0..FAN_OUT).await?;
    let began = Instant::now();
    let now = system_now();
    let filling = Filling {
        events: (deliveries / FAN_OUT).max(1),
        bytes: plan.bytes,
        until: now,
        days: 1,
        waiting: WAITING,
    };
    let filled = filling.fill(outbox, &store).await?;
    let took = began.elapsed();
    subscribe(&store, FAN_OUT..SUBSCRIPTIONS).await?;
    count_minutes(&store, now).await?;
    let (of_all, of_one) = tokens(&store).await?;
    let named = Named::of(&store).await?;

    let arguments = Work::arguments(&outside, usize::try_from(plan.in_flight)?, &[]);
    let mut server = Role::start(["serve".into()].into_iter().chain(arguments))?;
    let address = server.hear().await?;
    let all = Browser::sign_in(&address, &of_all).await?;
    let one = Browser::sign_in(&address, &of_one).await?;
    let (mut seen_by_all, mut seen_by_one) = (Map::new(), Map::new());
    let mut is_within = true;
    for page in asked() {
        let path = named.path(page);
        let (said, is_kept) = ask(&all, &path).await?;
        seen_by_all.insert(page.to_owned(), said);
        is_within &= is_kept;
        if OF_ALL.contains(&page) {
            continue;
        }
        let (said, is_kept) = ask(&one, &path).await?;
        seen_by_one.insert(page.to_owned(), said);
        is_within &= is_kept;
    }
    server.end().await?;
    let report = json!({
        "scenario": "pages",
        "database": plan.database.name(),
        "deliveries": filling.events * FAN_OUT,
        "attempts": filled.attempts,
        "unfinished": filled.unfinished,
        "filled_in_s": took.as_secs(),
        "calls": CALLS,
        "bound_ms": MOST_MILLIS,
        "bound_bytes": MOST_BYTES,
        "all_clients": seen_by_all,
        "one_client": seen_by_one,
        "within_bound": is_within,
    });
    Ok((report, is_within))
}

/// Every page of the table that is shown, and some of them asked for something.
fn asked() -> Vec<&'static str> {
    let pages = tharsis_admin::pages().into_iter();
    let shown = pages.filter(|page| page.method == "GET");
    shown.map(|page| page.path).chain(ASKED).collect()
}

/// How long its calls took, one after the other, and how large it was; and whether it kept within the bounds.
async fn ask(browser: &Browser, path: &str) -> anyhow::Result<(Value, bool)> {
    let (mut spans, mut bytes) = (Vec::new(), 0);
    for _ in 0..CALLS {
        let page = browser.get(path).await?;
        spans.push(page.took);
        bytes = bytes.max(page.bytes);
        tokio::time::sleep(PAUSE).await;
    }
    let longest = spans.iter().max().copied().unwrap_or_default();
    let is_within = longest <= Duration::from_millis(MOST_MILLIS) && bytes <= MOST_BYTES;
    let mut said = quantiles(spans)?;
    said["bytes"] = json!(bytes);
    said["within_bound"] = json!(is_within);
    Ok((said, is_within))
}

/// What pages are about that are of one thing: all of the first client.
struct Named {
    client: ClientId,
    delivery: DeliveryId,
    replay: ReplayId,
}

impl Named {
    /// The newest delivery that is dead, and the last of some replays that nobody works off.
    async fn of(store: &Store) -> anyhow::Result<Self> {
        let client: ClientId = CLIENTS[0].parse()?;
        let mut filter = DeliveryFilter::default();
        filter.client = Some(client);
        filter.status = vec![Status::Ended(End::Dead)];
        let page = store.deliveries(&filter, None, 1).await?;
        let dead = page.items.first().context("none is dead")?;
        let draft = ReplayDraft::new(ReplayChoice::Filter(filter));
        let mut replay = store.replay(&draft, system_now()).await?.id;
        for _ in 1..REPLAYS {
            replay = store.replay(&draft, system_now()).await?.id;
        }
        Ok(Self {
            client,
            delivery: dead.id,
            replay,
        })
    }

    /// Where a page of the table is.
    fn path(&self, page: &str) -> String {
        let DeliveryId {
            event,
            subscription,
        } = self.delivery;
        let id = match page.split('/').nth(1) {
            Some("campaigns") => CAMPAIGN.to_owned(),
            Some("events") => event.to_string(),
            Some("replays") => self.replay.to_string(),
            _ => subscription.to_string(),
        };
        let path = (page.replace("{id}", &id))
            .replace("{event}", &event.to_string())
            .replace("{subscription}", &subscription.to_string());
        // A campaign's name does not say whose it is.
        match page.starts_with("/campaigns/") {
            true => format!("{path}?client={}", self.client),
            false => path,
        }
    }
}

/// Tokens that may do everything: the first one for all clients, and the first one for one of them.
async fn tokens(store: &Store) -> anyhow::Result<(Token, Token)> {
    let client: ClientId = CLIENTS[0].parse()?;
    for n in 0..TOKENS {
        let draft = TokenDraft {
            name: format!("bench {n}"),
            grant: Grant {
                role: TokenRole::Admin,
                client: (!n.is_multiple_of(2)).then_some(client),
            },
            expires_at: None,
        };
        let by = By::new("bench", system_now());
        store.add_token(&token(n), &draft, by).await?;
    }
    Ok((token(0), token(1)))
}

fn token(n: u8) -> Token {
    Token::generate([n; 32])
}

/// Figures of the day, as workers would have counted them.
async fn count_minutes(store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let began = |n: u32| Traffic::start_of_minute(now) - MINUTE * n;
    let mut counted: Vec<(ClientId, Traffic)> = Vec::new();
    for client in CLIENTS {
        let client: ClientId = client.parse()?;
        counted.extend((0..MINUTES).map(|n| (client, counted_in(Traffic::minute(began(n))))));
    }
    for some in counted.chunks(500) {
        let figures = Figures {
            minutes: some.to_vec(),
            ..Figures::default()
        };
        store.add_figures(&figures).await?;
    }
    let snapshot = store.snapshot().await?;
    for (subscription, _) in snapshot.targets {
        let quarters = (0..MINUTES).step_by(15);
        let figures = Figures {
            quarters: (quarters.map(|n| counted_in(Traffic::quarter(began(n)))))
                .map(|quarter| (subscription, quarter))
                .collect(),
            ..Figures::default()
        };
        store.add_figures(&figures).await?;
    }
    // To look how much waits takes longer.
    for n in (0..MINUTES).step_by(10) {
        store.note_depth(began(n)).await?;
    }
    Ok(())
}

/// One attempt in a hundred failed, and was its delivery's last.
fn counted_in(mut traffic: Traffic) -> Traffic {
    for n in 0..ATTEMPTS {
        let is_delivered = !n.is_multiple_of(100);
        traffic.attempted(Duration::from_millis(n), is_delivered);
        traffic.ended(match is_delivered {
            true => End::Delivered,
            false => End::Dead,
        });
    }
    traffic
}

#[cfg(test)]
mod tests {
    use tharsis::{EventId, SubscriptionId};

    use super::*;

    #[test]
    fn each_page_is_asked_for_by_what_there_is() {
        let at = Timestamp::from_millis(1);
        let named = Named {
            client: ClientId::new(at, [1; 10]),
            delivery: DeliveryId {
                event: EventId::new(at, [2; 10]),
                subscription: SubscriptionId::new(at, [3; 10]),
            },
            replay: ReplayId::new(at, [4; 10]),
        };
        for page in asked() {
            let path = named.path(page);
            assert!(!path.contains(['{', '}', ' ']), "{path}");
        }
        let campaign = named.path("/campaigns/{id}");
        assert_eq!(campaign, format!("/campaigns/7?client={}", named.client));
    }
}
