//! Campaigns: what stops them, how they do, and the owner letting go or ending what they have in lanes.

use std::{collections::BTreeSet, time::Duration};

use sqlx::{FromRow, Row as _, SqliteConnection, SqliteExecutor, sqlite::SqliteRow};
use tharsis_core::{ClientId, SubscriptionId, Timestamp};

use super::{
    SqliteStore, audit, command, registry, release,
    subscription::unreadable,
    value::{Id, Millis, blob, corrupt, expect_changed, json},
};
use crate::{
    By, Campaign, CampaignReport, Slow, Stop, StopState, StoreError, campaign::is_cancelled,
    failpoint,
};

impl FromRow<'_, SqliteRow> for Stop {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(client) = row.try_get(1)?;
        let recipient: String = row.try_get(3)?;
        let state: &str = row.try_get(4)?;
        let Millis(since) = row.try_get(5)?;
        Ok(Self {
            seq: row.try_get(0)?,
            campaign: Campaign {
                client: ClientId::from_uuid(client),
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
            "SELECT seq, client, campaign, recipient, state, since FROM tharsis_campaign_stop ",
            $which,
            " ORDER BY seq"
        )
    };
}

/// What is stopped.
pub(super) async fn stops(conn: impl SqliteExecutor<'_>) -> Result<Vec<Stop>, StoreError> {
    Ok(sqlx::query_as(stops!("")).fetch_all(conn).await?)
}

async fn find(
    conn: &mut SqliteConnection,
    campaign: &Campaign,
) -> Result<Option<Stop>, StoreError> {
    let found = sqlx::query_as(stops!(
        "WHERE client = ?1 AND campaign = ?2 AND recipient = ?3"
    ));
    Ok(found
        .bind(blob(campaign.client.as_uuid()))
        .bind(&campaign.name)
        .bind(campaign.recipient_or_all())
        .fetch_optional(conn)
        .await?)
}

/// Stops it. What is cancelled is ended by the owners; what is paused they find as they go.
pub(super) async fn stop(
    store: &SqliteStore,
    campaign: &Campaign,
    state: StopState,
    by: By<'_>,
) -> Result<Stop, StoreError> {
    let now = by.at;
    let mut write = store.0.writer.begin().await?;
    match find(&mut write, campaign).await? {
        Some(stop) if stop.state == state => return Ok(stop),
        Some(_) if state == StopState::Paused => return Err(is_cancelled()),
        _ => {}
    }
    sqlx::query(
        "INSERT INTO tharsis_campaign_stop (client, campaign, recipient, state, since)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (client, campaign, recipient) DO UPDATE SET state = excluded.state, since = excluded.since",
    )
    .bind(blob(campaign.client.as_uuid()))
    .bind(&campaign.name)
    .bind(campaign.recipient_or_all())
    .bind(state.as_str())
    .bind(now.as_millis())
    .execute(&mut *write)
    .await?;
    if state == StopState::Cancelled {
        ask(&mut write, "cancel_campaign", campaign, now).await?;
    }
    let stop = find(&mut write, campaign).await?;
    audit::write(&mut write, by, &campaign.deed(state.action())).await?;
    registry::bump(&mut write).await?;
    write.commit(failpoint::REGISTRY).await?;
    store.wrote();
    stop.ok_or_else(|| corrupt("a stop that was just written"))
}

/// Lifts its stop, and asks the owners to let go what it held.
pub(super) async fn resume(
    store: &SqliteStore,
    campaign: &Campaign,
    by: By<'_>,
) -> Result<Option<Stop>, StoreError> {
    let now = by.at;
    let mut write = store.0.writer.begin().await?;
    let Some(stop) = find(&mut write, campaign).await? else {
        return Ok(None);
    };
    let lifted = sqlx::query("DELETE FROM tharsis_campaign_stop WHERE seq = ?1")
        .bind(stop.seq)
        .execute(&mut *write)
        .await?
        .rows_affected();
    expect_changed("a stop", 1, lifted)?;
    ask(&mut write, "resume_campaign", campaign, now).await?;
    audit::write(&mut write, by, &campaign.deed("campaign.resumed")).await?;
    registry::bump(&mut write).await?;
    write.commit(failpoint::REGISTRY).await?;
    store.wrote();
    Ok(Some(stop))
}

/// A command for each subscription of the client. One that lets go begins after the live lane.
async fn ask(
    conn: &mut SqliteConnection,
    kind: &str,
    campaign: &Campaign,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_command
             (kind, subscription, asked_at, campaign, recipient, last_event, cursor_lane, cursor_due_at)
         SELECT ?1, s.seq, ?2, ?3, ?4, (SELECT coalesce(max(seq), 0) FROM tharsis_event),
                iif(?1 = 'resume_campaign', 0, -1), 9223372036854775807
         FROM tharsis_subscription s
         WHERE s.client = ?5 AND s.removed_at IS NULL",
    )
    .bind(kind)
    .bind(now.as_millis())
    .bind(&campaign.name)
    .bind(campaign.recipient_or_all())
    .bind(blob(campaign.client.as_uuid()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a paused campaign, or a paused recipient in it, is that of the event `e`.
macro_rules! is_paused {
    () => {
        "EXISTS (
             SELECT 1
             FROM tharsis_campaign_stop p
             WHERE p.client = e.client AND p.campaign = e.campaign AND p.recipient IN ('', e.recipient)
               AND p.state = 'paused')"
    };
}
pub(super) use is_paused;

/// The next rows of a lane for a command (`?1`), from where the chunk before came to, and whether it is about them. The
/// cursor is bound: as columns of another table it would not be searched for.
pub(super) const NEXT: &str = concat!(
    "SELECT d.lane, d.due_at, d.event,
            e.campaign = c.campaign AND (c.recipient = '' OR e.recipient = c.recipient)
            AND CASE c.kind WHEN 'cancel_campaign' THEN e.seq <= c.last_event
                            ELSE d.lane = 1 AND NOT ",
    is_paused!(),
    "       END IS TRUE
     FROM tharsis_command c
     CROSS JOIN tharsis_delivery d ON d.subscription = ?3 AND (d.lane, d.due_at, d.event) > (?4, ?5, ?6)
          AND d.lane <= iif(c.kind = 'resume_campaign', 1, 3)
     CROSS JOIN tharsis_event e ON e.seq = d.event
     WHERE c.seq = ?1
     ORDER BY d.lane, d.due_at, d.event
     LIMIT ?2"
);

/// What is due goes before all that waits longer.
pub(super) const LET_GO: &str = "
    UPDATE tharsis_delivery
    SET lane = 0
    WHERE (event, subscription) IN (
        SELECT r.value ->> 0, r.value ->> 1 FROM jsonb_each(?1) r)";

/// `lane, due_at, event`, and whether the command is about it.
type Next = (i64, i64, i64, Option<bool>);

/// One chunk of a command about a campaign. Returns whether that was all.
pub(super) async fn carry_out(
    conn: &mut SqliteConnection,
    (command, subscription): (i64, i64),
    is_cancel: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (lane, due_at, event): (i64, i64, i64) = sqlx::query_as(
        "SELECT cursor_lane, cursor_due_at, cursor_event FROM tharsis_command WHERE seq = ?1",
    )
    .bind(command)
    .fetch_one(&mut *conn)
    .await?;
    let next: Vec<Next> = sqlx::query_as(NEXT)
        .bind(command)
        .bind(command::CHUNK)
        .bind(subscription)
        .bind(lane)
        .bind(due_at)
        .bind(event)
        .fetch_all(&mut *conn)
        .await?;
    let pairs: BTreeSet<(i64, i64)> = (next.iter())
        .filter(|(.., is_meant)| *is_meant == Some(true))
        .map(|(_, _, event, _)| (*event, subscription))
        .collect();
    if is_cancel {
        command::cancel(conn, &pairs, "campaign_cancelled", now).await?;
    } else {
        let gone = sqlx::query(LET_GO)
            .bind(json(&pairs)?)
            .execute(&mut *conn)
            .await?
            .rows_affected();
        expect_changed("a campaign that is let go", pairs.len() as u64, gone)?;
    }
    if !pairs.is_empty() {
        release::begin_again(conn, subscription).await?;
    }
    if let Some((lane, due_at, event, _)) = next.last() {
        sqlx::query(
            "UPDATE tharsis_command SET cursor_lane = ?2, cursor_due_at = ?3, cursor_event = ?4 WHERE seq = ?1",
        )
        .bind(command)
        .bind(lane)
        .bind(due_at)
        .bind(event)
        .execute(conn)
        .await?;
    }
    Ok(u32::try_from(next.len()).is_ok_and(|count| count < command::CHUNK))
}

pub(super) async fn clients(
    store: &SqliteStore,
    campaign: &str,
) -> Result<Vec<ClientId>, StoreError> {
    let clients: Vec<(Id,)> = sqlx::query_as(
        "SELECT client FROM tharsis_event WHERE campaign = ?1
         UNION
         SELECT client FROM tharsis_campaign_stop WHERE campaign = ?1
         ORDER BY 1",
    )
    .bind(campaign)
    .fetch_all(&store.0.lists)
    .await?;
    Ok(clients
        .into_iter()
        .map(|(Id(client),)| ClientId::from_uuid(client))
        .collect())
}

/// The events of a campaign, by its client, its name and perhaps a recipient.
macro_rules! of_campaign {
    () => {
        "e.client = ?1 AND e.campaign = ?2 AND (?3 IS NULL OR e.recipient = ?3)"
    };
}

macro_rules! clock {
    () => {
        "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
    };
}

pub(super) const STATES: &str = concat!(
    "SELECT word, code, count(*)
     FROM (
         SELECT 'published' AS word, NULL AS code FROM tharsis_event e WHERE ",
    of_campaign!(),
    "    UNION ALL
         SELECT CASE WHEN e.expires_at <= ",
    clock!(),
    "                THEN 'expired'
                     WHEN d.lane IN (1, 2)
                              OR EXISTS (SELECT 1 FROM tharsis_delivery k
                                         WHERE k.subscription = d.subscription AND k.lane = 2
                                           AND k.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT 1 FROM tharsis_subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END)
                          OR d.subscription IN (SELECT subscription FROM tharsis_subscription_state)
                          OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                                     WHERE h.subscription = d.subscription AND h.condition = 'open')
                          OR d.subscription IN (SELECT value FROM json_each(?4))
                          OR ",
    is_paused!(),
    "                THEN 'held'
                     ELSE 'pending' END,
                NULL
         FROM tharsis_event e
         CROSS JOIN tharsis_delivery d ON d.event = e.seq
         WHERE ",
    of_campaign!(),
    "    UNION ALL
         SELECT a.ended, CASE a.ended WHEN 'dead' THEN a.code END
         FROM tharsis_event e
         CROSS JOIN tharsis_attempt a ON a.event = e.seq
         WHERE a.ended IS NOT NULL
           AND a.number = (
               SELECT number
               FROM tharsis_attempt
               WHERE event = a.event AND subscription = a.subscription
               ORDER BY coalesce(after, number) DESC, number
               LIMIT 1)
           AND NOT EXISTS (
               SELECT 1 FROM tharsis_delivery d WHERE d.event = a.event AND d.subscription = a.subscription)
           AND ",
    of_campaign!(),
    ")
     GROUP BY word, code"
);

pub(super) const LAST_MINUTE: &str = concat!(
    "SELECT count(*)
     FROM tharsis_event e
     CROSS JOIN tharsis_attempt a ON a.event = e.seq
     WHERE a.ended = 'delivered' AND a.at > ",
    clock!(),
    " - 60000 AND ",
    of_campaign!()
);

pub(super) const SLOWEST: &str = concat!(
    "SELECT s.id, s.name, count(*), CAST(avg(t.duration_us) AS INTEGER),
            min(t.duration_us) FILTER (WHERE t.place * 100 >= t.of * 95) AS p95
     FROM (
         SELECT a.subscription, a.duration_us,
                row_number() OVER (PARTITION BY a.subscription ORDER BY a.duration_us) AS place,
                count(*) OVER (PARTITION BY a.subscription) AS of
         FROM tharsis_event e
         CROSS JOIN tharsis_attempt a ON a.event = e.seq
         WHERE a.number > 0 AND a.at > ",
    clock!(),
    " - 3600000 AND ",
    of_campaign!(),
    ") t
     CROSS JOIN tharsis_subscription s ON s.seq = t.subscription
     GROUP BY s.seq
     ORDER BY p95 DESC, 4 DESC
     LIMIT 5"
);

pub(super) async fn report(
    store: &SqliteStore,
    campaign: &Campaign,
) -> Result<CampaignReport, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let unreadable = unreadable(&mut read, store.reader(), Some(campaign.client)).await?;
    let mut report = CampaignReport::default();
    let client = || blob(campaign.client.as_uuid());
    let states: Vec<(String, Option<String>, u64)> = sqlx::query_as(STATES)
        .bind(client())
        .bind(&campaign.name)
        .bind(&campaign.recipient)
        .bind(json(&unreadable)?)
        .fetch_all(&mut *read)
        .await?;
    for (word, code, count) in states {
        report.add(&word, code, count);
    }
    report.delivered_last_minute = sqlx::query_scalar(LAST_MINUTE)
        .bind(client())
        .bind(&campaign.name)
        .bind(&campaign.recipient)
        .fetch_one(&mut *read)
        .await?;
    let slowest: Vec<(Id, String, u64, u64, u64)> = sqlx::query_as(SLOWEST)
        .bind(client())
        .bind(&campaign.name)
        .bind(&campaign.recipient)
        .fetch_all(&mut *read)
        .await?;
    report.slowest = slowest
        .into_iter()
        .map(|(Id(id), name, attempts, mean, p95)| Slow {
            subscription: SubscriptionId::from_uuid(id),
            name,
            attempts,
            mean: Duration::from_micros(mean),
            p95: Duration::from_micros(p95),
        })
        .collect();
    report.stopped(campaign, stops(&mut *read).await?);
    Ok(report)
}
