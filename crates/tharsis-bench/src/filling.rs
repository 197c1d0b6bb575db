//! A history that is filled in bulk, by SQL: to publish and deliver it would take too long.

use std::{ops::Range, time::Duration};

use tharsis::{
    Registry as _, SubscriptionId, Timestamp,
    egress::Policy,
    profile::Profiles,
    subscription::{Credentials, Draft},
    system_now,
};
use tharsis_store::{Outbox as _, Store};

use crate::{database::Outbox, payload};

/// Each event goes to so many subscriptions of its client.
pub(crate) const FAN_OUT: u64 = 4;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The two whose events they are.
pub(crate) const CLIENTS: [&str; 2] = [payload::CLIENT, payload::STRANGER];

/// Which of the subscriptions of each client is paused.
const PAUSED: u64 = 3;

/// Subscriptions of each client by these numbers, one of them paused.
pub(crate) async fn subscribe(
    store: &Store,
    numbers: Range<u64>,
) -> anyhow::Result<Vec<SubscriptionId>> {
    let mut ids = Vec::new();
    for client in CLIENTS {
        for n in numbers.clone() {
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

/// What lies in the database.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) attempts: u64,
    pub(crate) unfinished: u64,
}

/// Events evenly over some days, of which one in ten is the second client's. One delivery in a hundred was not delivered,
/// one in fifty was at the second attempt.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) events: u64,
    /// Of each payload, about.
    pub(crate) bytes: usize,
    /// When the days end.
    pub(crate) until: Timestamp,
    pub(crate) days: u32,
    /// Of a thousand deliveries so many are under way, half of them after an attempt: at most 970.
    pub(crate) waiting: u64,
}

/// Of the thousand, the first that is under way.
const FIRST: u64 = 30;

impl Filling {
    fn span(&self) -> Duration {
        DAY * self.days
    }

    /// Of a thousand deliveries those that are under way after an attempt end with the one number, all that are under way
    /// with the other.
    fn under_way(&self) -> (u64, u64) {
        (FIRST + self.waiting / 2, FIRST + self.waiting)
    }

    /// Of a thousand deliveries those from one number to another: an attempt, and how it ended.
    fn attempts(&self) -> String {
        let (tried, waiting) = self.under_way();
        format!(
            "(0, 7, 1, 'http_500', 500, NULL), (0, 7, 2, 'http_500', 500, 'dead'),
             (7, 8, 0, 'expired', NULL, 'expired'),
             (8, 9, 0, 'payload_too_large', NULL, 'refused'),
             (9, 10, 0, 'cancelled', NULL, 'cancelled'),
             (10, {FIRST}, 1, 'http_503', 503, NULL), (10, {FIRST}, 2, 'http_200', 200, 'delivered'),
             ({FIRST}, {tried}, 1, 'http_503', 503, NULL),
             ({waiting}, 1000, 1, 'http_200', 200, 'delivered')"
        )
    }

    /// When an event was published, in milliseconds.
    fn at(&self, n: u64) -> u64 {
        let span = u64::try_from(self.span().as_millis()).unwrap_or(u64::MAX);
        let from = self.until - self.span();
        from.as_millis().unsigned_abs() + span / self.events * n
    }

    /// The id of an event.
    fn id(&self, n: u64) -> String {
        format!("{:012x}70008{n:015x}", self.at(n))
    }

    /// Into an outbox that has nothing but the subscriptions.
    pub(crate) async fn fill(&self, outbox: &Outbox, store: &Store) -> anyhow::Result<Filled> {
        const AT_ONCE: u64 = 250_000;
        if let Store::Postgres(_) = store {
            // Of what lies in the default tables maintenance makes days.
            for day in 0..u64::from(self.days) {
                let n = self.events * day / u64::from(self.days);
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
        let ((tried, waiting), attempts) = (self.under_way(), self.attempts());
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
                "WITH a (first, upto, number, code, status, ended) AS (VALUES {attempts})
                 INSERT INTO tharsis_attempt (event, subscription, number, at, duration_us, code, status, ended)
                 SELECT p.event, p.subscription, a.number, p.at, 40000, a.code, a.status, a.ended
                 FROM ({pairs}) p
                 CROSS JOIN a ON p.h >= a.first AND p.h < a.upto"
            ),
            format!(
                "INSERT INTO tharsis_delivery (subscription, lane, due_at, event, attempts, tries)
                 SELECT subscription, 0, at + 864000000, event, h < {tried}, h < {tried}
                 FROM ({pairs})
                 WHERE h >= {FIRST} AND h < {waiting}"
            ),
        ]
    }

    fn postgres(&self, first: u64, last: u64) -> [String; 3] {
        let ((tried, waiting), attempts) = (self.under_way(), self.attempts());
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
                 JOIN (VALUES {attempts}) a (first, upto, number, code, status, ended)
                   ON p.h >= a.first AND p.h < a.upto;"
            ),
            format!(
                "INSERT INTO delivery (subscription, due_at, seq, event, attempts, tries)
                 SELECT subscription, at + interval '10 days', nextval('seq'), event, (h < {tried})::int, (h < {tried})::int
                 FROM ({pairs}) p WHERE h >= {FIRST} AND h < {waiting};"
            ),
        ]
    }
}
