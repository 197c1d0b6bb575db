//! How long lists and `why` take in a long history: a database that is filled in bulk with as many attempts as are asked
//! for, of several subscriptions of two clients over a week.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tharsis::{
    ClientId, EventId, Registry, SubscriptionId, Timestamp,
    delivery::End,
    egress::Policy,
    profile::Profiles,
    store::{DeliveryFilter, DeliveryRow, Status},
    subscription::{Credentials, Draft},
    system_now,
};
use tharsis_store::{Outbox as _, Store, StoreOptions};

use crate::{database::Outbox, payload, report::quantiles, world::Plan};

/// Each event goes to so many subscriptions of its client.
const FAN_OUT: u64 = 4;

const CLIENTS: [&str; 2] = [payload::CLIENT, payload::STRANGER];

/// Which of the subscriptions of each client is paused.
const PAUSED: u64 = 3;

const DAYS: u32 = 7;
const DAY: Duration = Duration::from_secs(86_400);

/// How often each question is asked.
const CALLS: usize = 50;

/// The rows of a page, as `tharsis delivery list` asks for them.
const PAGE: u32 = 50;

pub(crate) async fn measure(plan: &Plan, attempts: u64) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let outbox = plan.database.outbox(folder.path()).await?;
    let options = StoreOptions {
        key_file: Some(outbox.key_file.clone()),
        ..StoreOptions::default()
    };
    let store = Store::open(&outbox.url, &options).await?;
    let subscriptions = subscribe(&store).await?;
    let began = Instant::now();
    let now = system_now();
    let filled = Filling::of(attempts, plan.bytes, now)
        .fill(&outbox, &store)
        .await?;
    let filling = began.elapsed();

    let rows = sample(&store, now).await?;
    let mut lists = Map::new();
    for (name, filter) in filters(&subscriptions, rows[CALLS / 2].id.event, now)? {
        lists.insert(name, list(&store, &filter).await?);
    }
    let (mut why, mut events, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        why.push(timed(store.whereabouts(row.id.event)).await?.0);
        events.push(timed(store.event(row.id.event)).await?.0);
        deliveries.push(timed(store.delivery(row.id)).await?.0);
    }
    Ok(json!({
        "scenario": "lists",
        "database": plan.database.name(),
        "attempts": filled.attempts,
        "unfinished": filled.unfinished,
        "filled_in_s": filling.as_secs(),
        "lists_ms": lists,
        "why_ms": quantiles(why)?,
        "event_ms": quantiles(events)?,
        "delivery_ms": quantiles(deliveries)?,
    }))
}

/// Several of each client, one of them paused.
async fn subscribe(store: &Store) -> anyhow::Result<Vec<SubscriptionId>> {
    let mut ids = Vec::new();
    for client in CLIENTS {
        for n in 0..FAN_OUT {
            let draft = Draft {
                client: client.to_owned(),
                name: format!("hooks {n}"),
                url: "https://hooks.example.com/in".to_owned(),
                ..Draft::default()
            };
            let settings = draft.settings(&Policy::default(), &Profiles::default())?;
            let none = Credentials::default();
            let id = store.add(&settings, &none, system_now()).await?.id;
            if n == PAUSED {
                store.pause(id, system_now()).await?;
            }
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Calls that were made one after the other, each from where the one before ended, and the rows that they brought.
async fn list(store: &Store, filter: &DeliveryFilter) -> anyhow::Result<Value> {
    let (mut spans, mut rows, mut after) = (Vec::new(), 0, None::<String>);
    for _ in 0..CALLS {
        let (took, page) = timed(store.deliveries(filter, after.as_deref(), PAGE)).await?;
        spans.push(took);
        rows += page.items.len();
        after = page.next;
    }
    let mut said = quantiles(spans)?;
    said["rows"] = json!(rows);
    Ok(said)
}

async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<(Duration, T), E> {
    let began = Instant::now();
    let done = work.await?;
    Ok((began.elapsed(), done))
}

/// What people ask for, by a name each.
fn filters(
    subscriptions: &[SubscriptionId],
    event: EventId,
    now: Timestamp,
) -> anyhow::Result<Vec<(String, DeliveryFilter)>> {
    let mut filters = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut DeliveryFilter)| {
        let mut filter = DeliveryFilter::default();
        change(&mut filter);
        filters.push((name.to_owned(), filter));
    };
    add("all", &|_| {});
    let ended = Status::Ended;
    for (word, status) in [
        ("pending", Status::Pending),
        ("retrying", Status::Retrying),
        ("held", Status::Held),
        ("delivered", ended(End::Delivered)),
        ("dead", ended(End::Dead)),
        ("expired", ended(End::Expired)),
        ("refused", ended(End::Refused)),
        ("cancelled", ended(End::Cancelled)),
    ] {
        add(word, &|filter| filter.status = vec![status]);
    }
    let stranger: ClientId = payload::STRANGER.parse()?;
    let dead = ended(End::Dead);
    let absent = Some("none".to_owned());
    add("subscription", &|f| f.subscription = vec![subscriptions[5]]);
    add("client", &|f| f.client = Some(stranger));
    add("type", &|f| f.event_type = vec!["nudge".to_owned()]);
    add("rare_type", &|f| f.event_type = vec!["signal".to_owned()]);
    add("campaign", &|f| f.campaign = Some("7".to_owned()));
    add("rare_campaign", &|f| f.campaign = Some("rare".to_owned()));
    add("no_campaign", &|f| f.campaign.clone_from(&absent));
    add("dead_of_no_campaign", &|f| {
        f.status = vec![dead];
        f.campaign.clone_from(&absent);
    });
    add("held_of_client", &|f| {
        f.status = vec![Status::Held];
        f.client = Some(stranger);
    });
    add("event", &|f| f.event = Some(event));
    add("since_1h", &|f| f.since = Some(now - DAY / 24));
    add("since_5d_until_4d", &|f| {
        f.since = Some(now - DAY * 5);
        f.until = Some(now - DAY * 4);
    });
    add("until_6d_of_no_campaign", &|f| {
        f.until = Some(now - DAY * 6);
        f.campaign.clone_from(&absent);
    });
    add("failed_since_1h", &|f| {
        f.status = vec![dead];
        f.ended_since = Some(now - DAY / 24);
    });
    Ok(filters)
}

/// What lies in the database.
#[derive(Default)]
struct Filled {
    attempts: u64,
    unfinished: u64,
}

/// Events evenly over some days, of which one in ten is the second client's. One delivery in a hundred was not delivered,
/// one in fifty was at the second attempt, one in five hundred is under way.
struct Filling {
    events: u64,
    bytes: usize,
    from: Timestamp,
}

/// Of a thousand deliveries those from one number to another: an attempt, and how it ended.
const ATTEMPTS: &str = "
    (0, 7, 1, 'http_500', 500, NULL), (0, 7, 2, 'http_500', 500, 'dead'),
    (7, 8, 0, 'expired', NULL, 'expired'),
    (8, 9, 0, 'payload_too_large', NULL, 'refused'),
    (9, 10, 0, 'cancelled', NULL, 'cancelled'),
    (10, 30, 1, 'http_503', 503, NULL), (10, 30, 2, 'http_200', 200, 'delivered'),
    (30, 31, 1, 'http_503', 503, NULL),
    (32, 1000, 1, 'http_200', 200, 'delivered')";

impl Filling {
    fn of(attempts: u64, bytes: usize, now: Timestamp) -> Self {
        Self {
            // There are somewhat more attempts than deliveries.
            events: (attempts * 100 / (102 * FAN_OUT)).max(1),
            bytes,
            from: now - DAY * DAYS,
        }
    }

    /// When an event was published, in milliseconds.
    fn at(&self, n: u64) -> u64 {
        let span = u64::try_from((DAY * DAYS).as_millis()).unwrap_or(u64::MAX);
        self.from.as_millis().unsigned_abs() + span / self.events * n
    }

    /// The id of an event.
    fn id(&self, n: u64) -> String {
        format!("{:012x}70008{n:015x}", self.at(n))
    }

    async fn fill(&self, outbox: &Outbox, store: &Store) -> anyhow::Result<Filled> {
        const AT_ONCE: u64 = 250_000;
        if let Store::Postgres(_) = store {
            // Of what lies in the default tables maintenance makes days.
            for day in 0..u64::from(DAYS) {
                let n = self.events * day / u64::from(DAYS);
                outbox.execute(&self.postgres(n, n).concat()).await?;
                store.maintain(system_now()).await?;
            }
            outbox
                .execute("DELETE FROM delivery; DELETE FROM attempt; DELETE FROM event")
                .await?;
        }
        let mut filled = Filled::default();
        for first in (0..self.events).step_by(usize::try_from(AT_ONCE)?) {
            let last = (first + AT_ONCE).min(self.events) - 1;
            let [events, attempts, unfinished] = match store {
                Store::Sqlite(_) => self.sqlite(first, last),
                Store::Postgres(_) => self.postgres(first, last),
            };
            outbox.execute(&events).await?;
            filled.attempts += outbox.execute(&attempts).await?;
            filled.unfinished += outbox.execute(&unfinished).await?;
        }
        Ok(filled)
    }

    /// What events of the number `n` are like, in the SQL of both.
    fn kinds(&self) -> (String, String) {
        let rare = self.events.div_ceil(5);
        (
            "CASE WHEN n % 10000 = 7 THEN 'signal' WHEN n % 3 = 0 THEN 'nudge'
                  ELSE 'product_discount_recommendation' END"
                .to_owned(),
            format!("CASE WHEN n % {rare} = 3 THEN 'rare' ELSE CAST(n % 20 AS text) END"),
        )
    }

    fn payload(&self) -> String {
        payload::text(payload::CLIENT, 0, self.bytes)
    }

    fn sqlite(&self, first: u64, last: u64) -> [String; 3] {
        let [ours, theirs] = CLIENTS.map(|client| client.replace('-', ""));
        let (kind, campaign) = self.kinds();
        let step = self.at(1) - self.at(0);
        let pairs = format!(
            "SELECT e.seq AS event, s.seq AS subscription, e.published_at AS at,
                    ((e.seq * 16 + s.seq) * 2654435761 % 4294967296) / 4294968 AS h
             FROM tharsis_event e
             CROSS JOIN tharsis_subscription s ON s.client = e.client
             WHERE e.seq BETWEEN {first} + 1 AND {last} + 1"
        );
        [
            format!(
                "WITH RECURSIVE number (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM number WHERE n < {last})
                 INSERT INTO tharsis_event (seq, type, client, campaign, recipient, published_at, frozen, payload)
                 SELECT n + 1, {kind}, CASE WHEN n % 10 = 0 THEN unhex('{theirs}') ELSE unhex('{ours}') END, {campaign},
                        'user ' || n % 10000, {} + n * {step}, 1, '{}'
                 FROM number",
                self.at(0),
                self.payload(),
            ),
            format!(
                "WITH a (first, upto, number, code, status, ended) AS (VALUES {ATTEMPTS})
                 INSERT INTO tharsis_attempt (event, subscription, number, at, duration_us, code, status, ended)
                 SELECT p.event, p.subscription, a.number, p.at, 40000, a.code, a.status, a.ended
                 FROM ({pairs}) p
                 CROSS JOIN a ON p.h >= a.first AND p.h < a.upto"
            ),
            format!(
                "INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries)
                 SELECT subscription, 0, at + 864000000, event, h = 30, h = 30 FROM ({pairs}) WHERE h IN (30, 31)"
            ),
        ]
    }

    fn postgres(&self, first: u64, last: u64) -> [String; 3] {
        let [ours, theirs] = CLIENTS;
        let (kind, campaign) = self.kinds();
        let step = self.at(1) - self.at(0);
        let pairs = format!(
            "SELECT e.id AS event, s.seq AS subscription, e.published_at AS at,
                    (hashtext(e.id::text)::bigint + 2147483648 + s.seq * 373) % 1000 AS h
             FROM event e
             JOIN subscription s ON s.client = e.client
             WHERE e.id BETWEEN '{}' AND '{}'",
            self.id(first),
            self.id(last),
        );
        [
            format!(
                "INSERT INTO event (id, type, client, campaign, recipient, published_at, frozen, payload)
                 SELECT (lpad(to_hex({begin} + n * {step}), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
                        {kind}, CASE WHEN n % 10 = 0 THEN '{theirs}'::uuid ELSE '{ours}' END, {campaign},
                        'user ' || n % 10000, to_timestamp(({begin} + n * {step}) / 1000.0), true, '{}'
                 FROM generate_series({first}::bigint, {last}) n;",
                self.payload(),
                begin = self.at(0),
            ),
            format!(
                "INSERT INTO attempt (event, subscription, number, at, duration_us, code, status, ended)
                 SELECT p.event, p.subscription, a.number, p.at, 40000, a.code, a.status, a.ended
                 FROM ({pairs}) p
                 JOIN (VALUES {ATTEMPTS}) a (first, upto, number, code, status, ended)
                   ON p.h >= a.first AND p.h < a.upto;"
            ),
            format!(
                "INSERT INTO delivery (subscription, due_at, seq, event, attempts, tries)
                 SELECT subscription, at + interval '10 days', nextval('seq'), event, (h = 30)::int, (h = 30)::int
                 FROM ({pairs}) p WHERE h IN (30, 31);"
            ),
        ]
    }
}

/// Deliveries of all the time, evenly.
async fn sample(store: &Store, now: Timestamp) -> anyhow::Result<Vec<DeliveryRow>> {
    let mut rows = Vec::new();
    for n in 0..CALLS {
        let mut filter = DeliveryFilter::default();
        filter.until = Some(now - DAY * DAYS * u32::try_from(n)? / u32::try_from(CALLS)?);
        let mut after = None::<String>;
        loop {
            let page = store.deliveries(&filter, after.as_deref(), 1).await?;
            rows.extend(page.items);
            after = page.next;
            if rows.len() > n || after.is_none() {
                break;
            }
        }
    }
    anyhow::ensure!(rows.len() == CALLS, "{} of {CALLS} were found", rows.len());
    Ok(rows)
}
