//! Campaigns: what stops them, how they do, and the owner letting go or ending what they have in lanes.

use std::time::Duration;

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{ClientId, SubscriptionId, Timestamp};
use uuid::Uuid;

use super::{
    PostgresStore, audit,
    command::CHUNK,
    history::look_by_keys,
    release,
    subscription::unreadable,
    value::{Instant, corrupt, expect_changed, text},
};
use crate::{
    By, Campaign, CampaignReport, Shard, Slow, Stop, StopState, StoreError, campaign::is_cancelled,
    failpoint,
};

impl FromRow<'_, PgRow> for Stop {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let recipient: String = row.try_get(3)?;
        let state: &str = row.try_get(4)?;
        let Instant(since) = row.try_get(5)?;
        Ok(Self {
            seq: row.try_get(0)?,
            campaign: Campaign {
                client: ClientId::from_uuid(row.try_get(1)?),
                name: row.try_get(2)?,
                recipient: Some(recipient).filter(|recipient| !recipient.is_empty()),
            },
            state: StopState::parse(state)
                .ok_or_else(|| sqlx::Error::Decode(format!("the state {state}").into()))?,
            since,
        })
    }
}

macro_rules! stops {
    ($which:literal) => {
        concat!(
            "SELECT seq, client, campaign, recipient, state, since FROM campaign_stop ",
            $which,
            " ORDER BY seq"
        )
    };
}

/// What is stopped.
pub(super) async fn stops(conn: &mut PgConnection) -> Result<Vec<Stop>, StoreError> {
    Ok(sqlx::query_as(stops!("")).fetch_all(conn).await?)
}

async fn find(conn: &mut PgConnection, campaign: &Campaign) -> Result<Option<Stop>, StoreError> {
    let found = sqlx::query_as(stops!(
        "WHERE client = $1 AND campaign = $2 AND recipient = $3"
    ));
    Ok(found
        .bind(campaign.client.as_uuid())
        .bind(text(&campaign.name))
        .bind(text(campaign.recipient_or_all()))
        .fetch_optional(conn)
        .await?)
}

/// Stops it. What is cancelled is ended by the owners; what is paused they find as they go.
pub(super) async fn stop(
    store: &PostgresStore,
    campaign: &Campaign,
    state: StopState,
    by: By<'_>,
) -> Result<Stop, StoreError> {
    let now = by.at;
    let mut write = store.turn().await?;
    match find(&mut write, campaign).await? {
        Some(stop) if stop.state == state => {
            write.roll_back().await?;
            return Ok(stop);
        }
        Some(_) if state == StopState::Paused => {
            write.roll_back().await?;
            return Err(is_cancelled());
        }
        _ => {}
    }
    sqlx::query(
        "INSERT INTO campaign_stop (client, campaign, recipient, state, since)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (client, campaign, recipient) DO UPDATE SET state = excluded.state, since = excluded.since",
    )
    .bind(campaign.client.as_uuid())
    .bind(text(&campaign.name))
    .bind(text(campaign.recipient_or_all()))
    .bind(state.as_str())
    .bind(Instant(now))
    .execute(&mut *write)
    .await?;
    if state == StopState::Cancelled {
        ask(&mut write, "cancel_campaign", campaign, now).await?;
    }
    let stop = find(&mut write, campaign).await?;
    audit::write(&mut write, by, &campaign.deed(state.action())).await?;
    write.commit(failpoint::REGISTRY).await?;
    stop.ok_or_else(|| corrupt("a stop that was just written"))
}

/// Lifts its stop, and asks the owners to let go what it held.
pub(super) async fn resume(
    store: &PostgresStore,
    campaign: &Campaign,
    by: By<'_>,
) -> Result<Option<Stop>, StoreError> {
    let now = by.at;
    let mut write = store.turn().await?;
    let Some(stop) = find(&mut write, campaign).await? else {
        write.roll_back().await?;
        return Ok(None);
    };
    // Waits for what is going aside because of it at this moment: it is there to be let go from here on.
    let lifted = sqlx::query("DELETE FROM campaign_stop WHERE seq = $1")
        .bind(stop.seq)
        .execute(&mut *write)
        .await?
        .rows_affected();
    expect_changed("a stop", 1, lifted)?;
    ask(&mut write, "resume_campaign", campaign, now).await?;
    audit::write(&mut write, by, &campaign.deed("campaign.resumed")).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(Some(stop))
}

/// A command for each subscription of the client. One that lets go begins with what lies aside.
async fn ask(
    conn: &mut PgConnection,
    kind: &str,
    campaign: &Campaign,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO command (shard, kind, subscription, asked_at, campaign, recipient, until, cursor_lane)
         SELECT s.shard, $1, s.seq, $2, $3, $4, clock_timestamp(), CASE $1 WHEN 'resume_campaign' THEN 1 ELSE -1 END
         FROM subscription s
         WHERE s.client = $5 AND s.removed_at IS NULL",
    )
    .bind(kind)
    .bind(Instant(now))
    .bind(text(&campaign.name))
    .bind(text(campaign.recipient_or_all()))
    .bind(campaign.client.as_uuid())
    .execute(conn)
    .await?;
    Ok(())
}

/// The next rows of a lane for a command (`$1`, `$2`), from where the chunk before came to; of those that it is about
/// (`chosen`) the ones that nobody else is at are `locked`. The command comes as far as it left nothing out.
macro_rules! chunk {
    ($about:literal, $change:literal) => {
        concat!(
            "WITH next AS MATERIALIZED (
                 SELECT d.*, c.campaign, c.recipient, c.until
                 FROM command c
                 CROSS JOIN LATERAL (
                     SELECT ctid AS place, lane, due_at, seq, event
                     FROM delivery
                     WHERE subscription = c.subscription
                       AND (lane, due_at, seq) > (c.cursor_lane, c.cursor_due_at, c.cursor_seq)
                       AND lane <= CASE c.kind WHEN 'resume_campaign' THEN 1 ELSE 3 END
                     ORDER BY lane, due_at, seq
                     LIMIT $3) d
                 WHERE c.shard = $1 AND c.seq = $2
             ), chosen AS MATERIALIZED (
                 SELECT n.place, n.lane, n.due_at, n.seq
                 FROM next n
                 CROSS JOIN LATERAL (
                     SELECT client, campaign, recipient, published_at FROM event WHERE id = n.event OFFSET 0) e
                 WHERE e.campaign = n.campaign AND (n.recipient = '' OR e.recipient = n.recipient) AND ",
            $about,
            "), locked AS MATERIALIZED (
                 SELECT ctid AS place
                 FROM delivery
                 WHERE ctid = ANY (ARRAY(SELECT place FROM chosen))
                 FOR UPDATE SKIP LOCKED
             ), left_out AS MATERIALIZED (
                 SELECT lane, due_at, seq
                 FROM chosen
                 WHERE place <> ALL (ARRAY(SELECT place FROM locked))
                 ORDER BY lane, due_at, seq
                 LIMIT 1
             ), come_to AS MATERIALIZED (
                 SELECT n.lane, n.due_at, n.seq
                 FROM next n
                 WHERE NOT EXISTS (
                     SELECT FROM left_out l WHERE (l.lane, l.due_at, l.seq) <= (n.lane, n.due_at, n.seq))
                 ORDER BY n.lane DESC, n.due_at DESC, n.seq DESC
                 LIMIT 1
             ), moved AS (
                 UPDATE command
                 SET (cursor_lane, cursor_due_at, cursor_seq) = (SELECT lane, due_at, seq FROM come_to)
                 WHERE shard = $1 AND seq = $2 AND EXISTS (SELECT FROM come_to)
             ), taken AS (
                 DELETE FROM delivery WHERE ctid = ANY (ARRAY(SELECT place FROM locked)) RETURNING *
             ), done AS (",
            $change,
            ") SELECT (SELECT count(*) FROM next), EXISTS (SELECT FROM left_out)"
        )
    };
}

/// What is due goes before all that waits longer.
pub(super) const LET_GO: &str = chunk!(
    "n.lane = 1 AND NOT EXISTS (
         SELECT
         FROM campaign_stop p
         WHERE p.client = e.client AND p.campaign = e.campaign AND p.recipient IN ('', e.recipient)
           AND p.state = 'paused')",
    "INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
     SELECT subscription, 0, due_at, seq, event, attempts, tries, replay, waited, order_key FROM taken WHERE $4 IS NOT NULL"
);

pub(super) const END: &str = chunk!(
    "e.published_at <= n.until",
    "INSERT INTO attempt (event, subscription, number, at, duration_us, code, ended, after)
     SELECT event, subscription, 0, $4, 0, 'campaign_cancelled', 'cancelled', attempts
     FROM taken
     ON CONFLICT (event, subscription, number) DO UPDATE
     SET at = excluded.at, duration_us = 0, code = excluded.code, status = NULL, ended = excluded.ended,
         after = excluded.after, due_at = NULL, detail = NULL, excerpt = NULL, replay = NULL"
);

/// One chunk of a command about a campaign, which is gone with the last one.
pub(super) async fn carry_out(
    conn: &mut PgConnection,
    shard: Shard,
    seq: i64,
    is_cancel: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (looked_at, is_left): (i64, bool) = sqlx::query_as(if is_cancel { END } else { LET_GO })
        .bind(i16::from(shard.0))
        .bind(seq)
        .bind(i64::from(CHUNK))
        .bind(Instant(now))
        .fetch_one(&mut *conn)
        .await?;
    let subscription: i64 =
        sqlx::query_scalar("SELECT subscription FROM command WHERE shard = $1 AND seq = $2")
            .bind(i16::from(shard.0))
            .bind(seq)
            .fetch_one(&mut *conn)
            .await?;
    release::begin_again(conn, subscription).await?;
    if looked_at < i64::from(CHUNK) && !is_left {
        sqlx::query("DELETE FROM command WHERE shard = $1 AND seq = $2")
            .bind(i16::from(shard.0))
            .bind(seq)
            .execute(conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn clients(
    store: &PostgresStore,
    campaign: &str,
) -> Result<Vec<ClientId>, StoreError> {
    let clients: Vec<Uuid> = sqlx::query_scalar(
        "SELECT client FROM event WHERE campaign = $1
         UNION
         SELECT client FROM campaign_stop WHERE campaign = $1
         ORDER BY 1",
    )
    .bind(text(campaign))
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?;
    Ok(clients.into_iter().map(ClientId::from_uuid).collect())
}

/// The events of a campaign, by its client, its name and perhaps a recipient.
macro_rules! of_campaign {
    () => {
        "e.client = $1 AND e.campaign = $2 AND ($3 IS NULL OR e.recipient = $3)"
    };
}

pub(super) const STATES: &str = concat!(
    "SELECT word, code, count(*)
     FROM (
         SELECT 'published' AS word, NULL::text AS code FROM event e WHERE ",
    of_campaign!(),
    "    UNION ALL
         SELECT CASE WHEN e.expires_at <= clock_timestamp() THEN 'expired'
                     WHEN d.lane IN (1, 2)
                              OR EXISTS (SELECT FROM delivery k
                                         WHERE k.subscription = d.subscription AND k.lane = 2
                                           AND k.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT FROM subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END)
                          OR d.subscription IN (SELECT subscription FROM subscription_state)
                          OR EXISTS (SELECT FROM subscription_health h
                                     WHERE h.subscription = d.subscription AND h.condition = 'open')
                          OR d.subscription = ANY ($4)
                          OR EXISTS (
                              SELECT
                              FROM campaign_stop p
                              WHERE p.client = e.client AND p.campaign = e.campaign
                                AND p.recipient IN ('', e.recipient) AND p.state = 'paused') THEN 'held'
                     ELSE 'pending' END,
                NULL
         FROM event e
         CROSS JOIN LATERAL (SELECT d.lane, d.subscription, d.order_key FROM delivery d WHERE d.event = e.id OFFSET 0) d
         WHERE ",
    of_campaign!(),
    "    UNION ALL
         SELECT l.ended, CASE l.ended WHEN 'dead' THEN l.code END
         FROM event e
         CROSS JOIN LATERAL (
             SELECT DISTINCT ON (a.subscription) a.subscription, a.ended, a.code
             FROM attempt a
             WHERE a.event = e.id
             ORDER BY a.subscription, coalesce(a.after, a.number) DESC, a.number) l
         WHERE l.ended IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM delivery d WHERE d.event = e.id AND d.subscription = l.subscription OFFSET 0)
           AND ",
    of_campaign!(),
    ") s
     GROUP BY word, code"
);

pub(super) const LAST_MINUTE: &str = concat!(
    "SELECT count(*)
     FROM event e
     CROSS JOIN LATERAL (
         SELECT a.number
         FROM attempt a
         WHERE a.event = e.id AND a.ended = 'delivered' AND a.at > clock_timestamp() - interval '1 minute'
         OFFSET 0) a
     WHERE ",
    of_campaign!()
);

pub(super) const SLOWEST: &str = concat!(
    "SELECT s.id, s.name, count(*), avg(t.duration_us)::bigint,
            min(t.duration_us) FILTER (WHERE t.place * 100 >= t.of * 95) AS p95
     FROM (
         SELECT a.subscription, a.duration_us,
                row_number() OVER (PARTITION BY a.subscription ORDER BY a.duration_us) AS place,
                count(*) OVER (PARTITION BY a.subscription) AS of
         FROM event e
         CROSS JOIN LATERAL (
             SELECT a.subscription, a.duration_us
             FROM attempt a
             WHERE a.event = e.id AND a.number > 0 AND a.at > clock_timestamp() - interval '1 hour'
             OFFSET 0) a
         WHERE ",
    of_campaign!(),
    ") t
     JOIN subscription s ON s.seq = t.subscription
     GROUP BY s.seq
     ORDER BY p95 DESC, 4 DESC
     LIMIT 5"
);

pub(super) async fn report(
    store: &PostgresStore,
    campaign: &Campaign,
) -> Result<CampaignReport, StoreError> {
    let mut read = look_by_keys(store).await?;
    let unreadable = unreadable(&mut read, store.reader()?, Some(campaign.client)).await?;
    let recipient = campaign.recipient.as_deref().map(text);
    let mut report = CampaignReport::default();
    let states: Vec<(String, Option<String>, i64)> = sqlx::query_as(STATES)
        .bind(campaign.client.as_uuid())
        .bind(text(&campaign.name))
        .bind(recipient.as_deref())
        .bind(unreadable)
        .fetch_all(&mut *read)
        .await?;
    for (word, code, count) in states {
        report.add(&word, code, count.unsigned_abs());
    }
    let last_minute: i64 = sqlx::query_scalar(LAST_MINUTE)
        .bind(campaign.client.as_uuid())
        .bind(text(&campaign.name))
        .bind(recipient.as_deref())
        .fetch_one(&mut *read)
        .await?;
    report.delivered_last_minute = last_minute.unsigned_abs();
    let slowest: Vec<(Uuid, String, i64, i64, i64)> = sqlx::query_as(SLOWEST)
        .bind(campaign.client.as_uuid())
        .bind(text(&campaign.name))
        .bind(recipient.as_deref())
        .fetch_all(&mut *read)
        .await?;
    report.slowest = slowest
        .into_iter()
        .map(|(id, name, attempts, mean, p95)| Slow {
            subscription: SubscriptionId::from_uuid(id),
            name,
            attempts: attempts.unsigned_abs(),
            mean: Duration::from_micros(mean.unsigned_abs()),
            p95: Duration::from_micros(p95.unsigned_abs()),
        })
        .collect();
    report.stopped(campaign, stops(&mut read).await?);
    read.roll_back().await?;
    Ok(report)
}
