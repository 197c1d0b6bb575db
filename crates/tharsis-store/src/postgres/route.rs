//! From pointers to deliveries, in one statement.

use std::collections::HashMap;

use tharsis_core::{Timestamp, event::Event};
use uuid::Uuid;

use super::{
    PostgresStore, owner,
    pointers::{self, key},
    value::{Instant, text},
};
use crate::{
    Lease, Routed, Shards, StoreError,
    failpoint::{Failpoint, reached},
};

/// Arrays are joined by places in them, and rows of tables found by their keys and taken out by where they lie: so the
/// work grows with what is routed, whatever the planner thinks of the tables.
///
/// Whose pointer goes decides, since one goes once. `$3` and `$4` name the pointers; beside those that are to be frozen
/// or refused stands with what (`$5` to `$14`), and nothing beside the others. `$15` are the subscriptions and `$16` when
/// the first delivery of each is due; `$17` to `$19` the deliveries and `$20` to `$24` those that end at once, by their
/// places in `$4` and `$15`. `$25` are the router's own shards; the owners of others are told by the channel `$26`.
pub(super) const ROUTE: &str = "
    WITH held AS MATERIALIZED (
        SELECT ARRAY(SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2) AS shards
    ), pointer AS MATERIALIZED (
        SELECT g.*, o.tid, o.event
        FROM unnest($3::smallint[], $4::bigint[], $5::text[], $6::uuid[], $7::text[], $8::text[], $9::timestamptz[],
                    $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[]) WITH ORDINALITY
             AS g(shard, seq, type, client, campaign, recipient, not_before, expires_at, payload, code, field, message, place)
        LEFT JOIN LATERAL (
            SELECT o.ctid AS tid, o.event
            FROM outbox o
            WHERE o.shard = g.shard AND o.seq = g.seq AND g.shard = ANY ((SELECT shards FROM held)::smallint[])
            OFFSET 0) o ON true
    ), gone AS (
        DELETE FROM outbox
        WHERE ctid = ANY (ARRAY(SELECT tid FROM pointer WHERE tid IS NOT NULL))
        RETURNING ctid
    ), routed AS MATERIALIZED (
        SELECT p.*,
               CASE WHEN (SELECT count(*) FROM gone) = (SELECT count(tid) FROM pointer)
                         OR p.tid = ANY (ARRAY(SELECT ctid FROM gone))
                    THEN p.event END AS id
        FROM pointer p
    ), events AS MATERIALIZED (
        SELECT array_agg(coalesce(id, '00000000-0000-0000-0000-000000000000') ORDER BY place) AS ids FROM routed
    ), frozen AS (
        INSERT INTO event (id, type, client, campaign, recipient, not_before, expires_at, frozen, payload,
                           refused_code, refused_field, refused_message)
        SELECT r.id, coalesce(r.type, ''), coalesce(r.client, r.id), r.campaign, r.recipient, r.not_before, r.expires_at,
               r.code IS NULL, coalesce(r.payload, ''), r.code, r.field, r.message
        FROM routed r
        WHERE r.id IS NOT NULL AND (r.payload IS NOT NULL OR r.code IS NOT NULL)
        ON CONFLICT (id) DO UPDATE
        SET frozen = excluded.frozen,
            campaign = coalesce(event.campaign, excluded.campaign),
            recipient = coalesce(event.recipient, excluded.recipient),
            not_before = coalesce(event.not_before, excluded.not_before),
            expires_at = least(event.expires_at, excluded.expires_at),
            payload = CASE WHEN excluded.frozen THEN excluded.payload ELSE event.payload END,
            refused_code = excluded.refused_code,
            refused_field = excluded.refused_field,
            refused_message = excluded.refused_message
    ), wanted AS MATERIALIZED (
        SELECT u.subscription, u.due_at, u.place, s.shard, s.removed_at,
               s.seq IS NOT NULL AND s.removed_at IS NULL AS is_there
        FROM unnest($15::bigint[], $16::timestamptz[]) WITH ORDINALITY AS u(subscription, due_at, place)
        LEFT JOIN LATERAL (
            SELECT s.seq, s.shard, s.removed_at FROM subscription s WHERE s.seq = u.subscription FOR KEY SHARE) s ON true
    ), present AS MATERIALIZED (
        SELECT array_agg(is_there ORDER BY place) AS there, bool_and(is_there) AS all_there FROM wanted
    ), delivered AS (
        INSERT INTO delivery (subscription, due_at, seq, event)
        SELECT ($15)[d.subscription], d.due_at, ($4)[d.pointer], (SELECT ids FROM events)[d.pointer]
        FROM unnest($17::integer[], $18::integer[], $19::timestamptz[]) AS d(pointer, subscription, due_at)
        WHERE (SELECT ids FROM events)[d.pointer] <> '00000000-0000-0000-0000-000000000000'
          AND (SELECT there FROM present)[d.subscription]
    ), ended AS (
        INSERT INTO attempt (event, subscription, number, at, duration_us, code, ended, after)
        SELECT e.event, e.subscription, 0, e.at, 0, e.code, e.ended, 0
        FROM (
            SELECT (SELECT ids FROM events)[e.pointer] AS event, ($15)[e.subscription] AS subscription, e.at, e.code, e.ended
            FROM unnest($20::integer[], $21::integer[], $22::timestamptz[], $23::text[], $24::text[])
                 AS e(pointer, subscription, at, ended, code)
            UNION ALL
            SELECT (SELECT ids FROM events)[d.pointer], w.subscription, coalesce(w.removed_at, clock_timestamp()),
                   'subscription_removed', 'cancelled'
            FROM wanted w
            JOIN unnest($17::integer[], $18::integer[]) AS d(pointer, subscription) ON d.subscription = w.place
            WHERE NOT w.is_there AND NOT (SELECT all_there FROM present)) e
        WHERE e.event <> '00000000-0000-0000-0000-000000000000'
        ON CONFLICT DO NOTHING
    ), told AS MATERIALIZED (
        SELECT pg_notify($26::text, string_agg(
                   concat_ws(':', w.shard, w.subscription, floor(extract(epoch FROM w.due_at) * 1000)), ','))
        FROM wanted w
        WHERE w.is_there AND w.due_at IS NOT NULL AND w.shard <> ALL ($25::smallint[])
        GROUP BY (w.place - 1) / 200
    )
    SELECT (SELECT cardinality(shards) FROM held), (SELECT count(*) FROM told)";

pub(super) async fn route(
    store: &PostgresStore,
    lease: &Lease,
    routed: &[Routed],
) -> Result<(), StoreError> {
    owner::check(store, lease)?;
    if routed.is_empty() || lease.owned().is_empty() {
        return Ok(());
    }
    let c = Columns::of(routed, lease.shards);
    let (owned, _): (i32, i64) = sqlx::query_as(ROUTE)
        .bind(lease.worker.as_uuid())
        .bind(lease.epoch)
        .bind(c.shards)
        .bind(c.seqs)
        .bind(c.types)
        .bind(c.clients)
        .bind(c.campaigns)
        .bind(c.recipients)
        .bind(c.not_befores)
        .bind(c.expires_ats)
        .bind(c.payloads)
        .bind(c.codes)
        .bind(c.fields)
        .bind(c.messages)
        .bind(c.subscriptions)
        .bind(c.first_due)
        .bind(c.delivery_pointers)
        .bind(c.delivery_subscriptions)
        .bind(c.delivery_due_ats)
        .bind(c.end_pointers)
        .bind(c.end_subscriptions)
        .bind(c.end_ats)
        .bind(c.ends)
        .bind(c.end_codes)
        .bind(owner::array(lease.owned()))
        .bind(store.0.poke.channel())
        .fetch_one(&mut *store.0.engine.get().await?)
        .await?;
    reached(Failpoint::RouteCommitted);
    if owned == 0 {
        return Err(StoreError::LeaseLost);
    }
    pointers::routed(store, routed.iter().map(|one| one.seq));
    Ok(())
}

/// What routing decided, as the statement reads it. Places begin with 1.
#[derive(Default)]
struct Columns<'a> {
    shards: Vec<i16>,
    seqs: Vec<i64>,
    types: Vec<Option<&'a str>>,
    clients: Vec<Option<Uuid>>,
    campaigns: Vec<Option<&'a str>>,
    recipients: Vec<Option<&'a str>>,
    not_befores: Vec<Option<Instant>>,
    expires_ats: Vec<Option<Instant>>,
    payloads: Vec<Option<&'a str>>,
    codes: Vec<Option<&'a str>>,
    fields: Vec<Option<&'a str>>,
    messages: Vec<Option<String>>,
    subscriptions: Vec<i64>,
    first_due: Vec<Option<Instant>>,
    delivery_pointers: Vec<i32>,
    delivery_subscriptions: Vec<i32>,
    delivery_due_ats: Vec<Instant>,
    end_pointers: Vec<i32>,
    end_subscriptions: Vec<i32>,
    end_ats: Vec<Instant>,
    ends: Vec<&'a str>,
    end_codes: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    /// In what is surplus nothing is routed.
    fn of(routed: &'a [Routed], shards: Shards) -> Self {
        let routed = routed.iter().filter(|one| shards.contains(key(one.seq).0));
        let mut columns = Self::default();
        let mut places = HashMap::new();
        let any_unfrozen = routed.clone().any(|one| one.frozen.is_some());
        for (one, pointer) in routed.zip(1..) {
            let (shard, seq) = key(one.seq);
            columns.shards.push(shard.0.into());
            columns.seqs.push(seq);
            if any_unfrozen {
                columns.freeze(one);
            }
            for to in &one.to {
                let subscription = columns.subscription(&mut places, to.subscription);
                match to.ends {
                    None => columns.deliver(pointer, subscription, to.due_at),
                    Some((end, code)) => {
                        columns.end_pointers.push(pointer);
                        columns.end_subscriptions.push(subscription);
                        columns.end_ats.push(to.due_at.into());
                        columns.ends.push(end.as_str());
                        columns.end_codes.push(code);
                    }
                }
            }
        }
        columns
    }

    /// What the publisher gave in columns goes before what the payload says, and of two expiries the earlier counts.
    fn freeze(&mut self, one: &'a Routed) {
        let event: Option<&Event> = one.frozen.as_ref().and_then(|f| f.as_deref().ok());
        let why = one.frozen.as_ref().and_then(|f| f.as_ref().err());
        self.types.push(event.map(|e| e.event_type().as_str()));
        self.clients.push(event.map(|e| *e.client().as_uuid()));
        self.campaigns.push(event.and_then(Event::campaign));
        self.recipients.push(event.and_then(Event::recipient));
        let instant = |at: Option<Timestamp>| at.map(Instant);
        self.not_befores
            .push(instant(event.and_then(Event::not_before)));
        self.expires_ats
            .push(instant(event.and_then(Event::expires_at)));
        self.payloads
            .push(event.and_then(|e| std::str::from_utf8(e.payload()).ok()));
        self.codes.push(why.map(|why| why.code));
        self.fields.push(why.and_then(|why| why.field.as_deref()));
        self.messages
            .push(why.map(|why| text(&why.message).into_owned()));
    }

    fn subscription(&mut self, places: &mut HashMap<i64, i32>, number: i64) -> i32 {
        *places.entry(number).or_insert_with(|| {
            self.subscriptions.push(number);
            self.first_due.push(None);
            i32::try_from(self.subscriptions.len()).unwrap_or(i32::MAX)
        })
    }

    fn deliver(&mut self, pointer: i32, subscription: i32, due_at: Timestamp) {
        self.delivery_pointers.push(pointer);
        self.delivery_subscriptions.push(subscription);
        self.delivery_due_ats.push(due_at.into());
        let place = usize::try_from(subscription - 1).unwrap_or(usize::MAX);
        if let Some(first) = self.first_due.get_mut(place) {
            let earlier = first.map_or(due_at, |Instant(at)| at.min(due_at));
            *first = Some(Instant(earlier));
        }
    }
}
