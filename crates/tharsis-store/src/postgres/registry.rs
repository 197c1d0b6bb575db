//! Writes to the registry. Each is one transaction that bumps the revision.
//!
//! Those to subscriptions bump it first: so they line up there, and each reads what the one before it wrote. Publishers
//! touch nothing of this, and a router only a row's key.

use sqlx::PgConnection;
use tharsis_core::{
    ClientId, DeliveryId, EventId, ReplayId, SubscriptionId, Timestamp, TokenId,
    erasure::Erasure,
    health::RESUMED,
    secret::Secret,
    subscription::{Credentials, Held, Settings, Subscription, header::OwnHeader, name_key},
    token::Token,
};

use super::{
    PostgresStore, alert, audit, campaign, command,
    connect::Write,
    erasure,
    error::explain,
    gauges, health, history, key, minute, owner, partition, release, replay, retention, settled,
    subscription, survey, token, unfinished,
    value::{Instant, expect_changed},
    whereabouts,
};
use crate::{
    AlertRecord, Anew, AuditRecord, By, Campaign, CampaignReport, CommandAccepted, DeliveryDetail,
    DeliveryFilter, DeliveryRow, Depth, Erased, EventRecord, Gauges, KeyRecord, KeyRotated,
    Outlived, Page, Registry, Removed, Replaced, Replay, ReplayChoice, ReplayDraft, Retention,
    Settled, Stop, StopState, StoreError, Survey, Tally, TokenDraft, TokenRecord, Traffic,
    TransitionRecord, Unfinished, Whereabouts,
    audit::Deed,
    failpoint,
    health::{CHANGED, is_held, is_probed_first, is_to_be_asked_anew, not_held},
    key::nonce,
    replay::Order,
    subscription::{
        SettingsRow, header_id, header_row, may_follow, name_taken, secret_row, signed_until,
        stays_as_it_is,
    },
};

impl Registry for PostgresStore {
    async fn add<'a>(
        &self,
        settings: &Settings,
        credentials: &Credentials,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        let by = by.into();
        let now = by.at;
        settings.accepts(credentials.secret.as_ref())?;
        settings.accepts_headers(&credentials.headers)?;
        let id = SubscriptionId::new(now, self.random_id_bytes()?);
        let row = SettingsRow::of(settings)?;
        let mut write = self.turn().await?;
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO subscription
                 (id, client, name, name_key, url, profile, events, content_type, timeout_ms, retry,
                  max_in_flight, created_at, updated_at, payload_limit, batch_items, linger_ms, profile_settings,
                  fields, filter, traceparent, rate, breaker, suspend_after_ms, retry_window_ms,
                  alert_mail, alert_every_ms, order_by, on_dead)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                     $23, $24, $25, $26, $27)
             RETURNING seq",
        )
        .bind(id.as_uuid())
        .bind(settings.client.as_uuid())
        .bind(&settings.name)
        .bind(name_key(&settings.name))
        .bind(row.url)
        .bind(&*settings.profile.name)
        .bind(row.events)
        .bind(&settings.content_type)
        .bind(row.timeout_ms)
        .bind(row.retry)
        .bind(i64::from(settings.max_in_flight))
        .bind(Instant(now))
        .bind(row.payload_limit)
        .bind(row.batch_items)
        .bind(row.linger_ms)
        .bind(row.profile_settings)
        .bind(row.fields)
        .bind(row.filter)
        .bind(settings.traceparent)
        .bind(row.rate)
        .bind(row.breaker)
        .bind(row.suspend_after_ms)
        .bind(row.retry_window_ms)
        .bind(row.alert_mail)
        .bind(row.alert_every_ms)
        .bind(row.order_by)
        .bind(row.on_dead)
        .fetch_one(&mut *write)
        .await
        .map_err(refused)?;
        if let Some(secret) = &credentials.secret {
            self.seal(&mut write, seq, id, secret, now).await?;
        }
        self.seal_headers(&mut write, seq, id, &credentials.headers)
            .await?;
        self.registered(write, by, ("subscription.added", None), id)
            .await
    }

    async fn find(&self, id: SubscriptionId) -> Result<Subscription, StoreError> {
        let mut read = self.0.lists.get().await?;
        let (_, target) = subscription::find(&mut *read, self.reader()?, id).await?;
        Ok(target.subscription)
    }

    async fn list(&self, client: Option<ClientId>) -> Result<Vec<Subscription>, StoreError> {
        subscription::list(self, client).await
    }

    async fn set<'a>(
        &self,
        id: SubscriptionId,
        settings: &Settings,
        anew: Anew<'_>,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        let by = by.into();
        let now = by.at;
        settings.accepts_headers(anew.headers.unwrap_or_default())?;
        let row = SettingsRow::of(settings)?;
        let mut write = self.turn().await?;
        let (seq, target) = subscription::find(&mut *write, self.reader()?, id).await?;
        stays_as_it_is(&target.subscription.settings, settings)?;
        let Replaced { secret, headers } = anew.on(&target, settings)?;
        let changed = sqlx::query(
            "UPDATE subscription
             SET name = $2, name_key = $3, url = $4, events = $5, content_type = $6, timeout_ms = $7,
                 retry = $8, max_in_flight = $9, updated_at = $10, version = version + 1,
                 payload_limit = $11, batch_items = $12, linger_ms = $13, profile_settings = $14,
                 fields = $15, filter = $16, traceparent = $17,
                 rate = $18, breaker = $19, suspend_after_ms = $20, retry_window_ms = $21,
                 alert_mail = $22, alert_every_ms = $23, order_by = $24, on_dead = $25
             WHERE seq = $1 AND removed_at IS NULL",
        )
        .bind(seq)
        .bind(&settings.name)
        .bind(name_key(&settings.name))
        .bind(row.url)
        .bind(row.events)
        .bind(&settings.content_type)
        .bind(row.timeout_ms)
        .bind(row.retry)
        .bind(i64::from(settings.max_in_flight))
        .bind(Instant(now))
        .bind(row.payload_limit)
        .bind(row.batch_items)
        .bind(row.linger_ms)
        .bind(row.profile_settings)
        .bind(row.fields)
        .bind(row.filter)
        .bind(settings.traceparent)
        .bind(row.rate)
        .bind(row.breaker)
        .bind(row.suspend_after_ms)
        .bind(row.retry_window_ms)
        .bind(row.alert_mail)
        .bind(row.alert_every_ms)
        .bind(row.order_by)
        .bind(row.on_dead)
        .execute(&mut *write)
        .await
        .map_err(refused)?
        .rows_affected();
        expect_changed("set", 1, changed)?;
        if is_to_be_asked_anew(&target.subscription) {
            health::half_open(&mut write, seq, CHANGED, now).await?;
        }
        if let Some(secret) = secret {
            for statement in [
                "DELETE FROM secret WHERE subscription = $1",
                "DELETE FROM retiring_secret WHERE subscription = $1",
            ] {
                sqlx::query(statement)
                    .bind(seq)
                    .execute(&mut *write)
                    .await?;
            }
            if let Some(secret) = secret {
                self.seal(&mut write, seq, id, secret, now).await?;
            }
        }
        if let Some(headers) = headers {
            sqlx::query("DELETE FROM header WHERE subscription = $1")
                .bind(seq)
                .execute(&mut *write)
                .await?;
            self.seal_headers(&mut write, seq, id, headers).await?;
        }
        self.registered(
            write,
            by,
            ("subscription.changed", Some(&target.subscription)),
            id,
        )
        .await
    }

    async fn pause<'a>(
        &self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        let by = by.into();
        let now = by.at;
        let mut write = self.turn().await?;
        let (seq, target) = subscription::find(&mut *write, self.reader()?, id).await?;
        release::withdraw(&mut write, seq).await?;
        sqlx::query(
            "INSERT INTO subscription_state AS st (subscription, state, since)
             VALUES ($1, 'paused', $2)
             ON CONFLICT (subscription) DO UPDATE
             SET state = 'paused', reason = NULL, since = $2
             WHERE st.state <> 'paused'",
        )
        .bind(seq)
        .bind(Instant(now))
        .execute(&mut *write)
        .await?;
        touch(&mut write, seq, now).await?;
        self.registered(
            write,
            by,
            ("subscription.paused", Some(&target.subscription)),
            id,
        )
        .await
    }

    async fn resume<'a>(
        &self,
        id: SubscriptionId,
        held: Held,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        let by = by.into();
        let now = by.at;
        let mut write = self.turn().await?;
        let (seq, target) = subscription::find(&mut *write, self.reader()?, id).await?;
        if held != Held::All {
            // Asked again, after a lost answer: what came since goes out.
            if target.subscription.resuming == Some(held) {
                return self
                    .registered(
                        write,
                        by,
                        ("subscription.resumed", Some(&target.subscription)),
                        id,
                    )
                    .await;
            }
            if !is_held(&target.subscription) {
                return Err(not_held());
            }
            release::withdraw(&mut write, seq).await?;
            release::ask(&mut write, seq, held, now).await?;
            touch(&mut write, seq, now).await?;
            return self
                .registered(
                    write,
                    by,
                    ("subscription.resumed", Some(&target.subscription)),
                    id,
                )
                .await;
        }
        release::withdraw(&mut write, seq).await?;
        sqlx::query("DELETE FROM subscription_state WHERE subscription = $1")
            .bind(seq)
            .execute(&mut *write)
            .await?;
        if is_probed_first(&target.subscription) {
            health::half_open(&mut write, seq, RESUMED, now).await?;
        }
        touch(&mut write, seq, now).await?;
        self.registered(
            write,
            by,
            ("subscription.resumed", Some(&target.subscription)),
            id,
        )
        .await
    }

    async fn rotate<'a>(
        &self,
        id: SubscriptionId,
        secret: Option<&Secret>,
        until: Option<Timestamp>,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Subscription, StoreError> {
        let by = by.into();
        let now = by.at;
        let mut write = self.turn().await?;
        let (seq, target) = subscription::find(&mut *write, self.reader()?, id).await?;
        may_follow(&target, secret, until, now)?;
        sqlx::query(
            "DELETE FROM retiring_secret WHERE subscription = $1 AND ($2 IS NULL OR until <= $3)",
        )
        .bind(seq)
        .bind(until.map(Instant))
        .bind(Instant(now))
        .execute(&mut *write)
        .await?;
        sqlx::query(
            "WITH present AS (DELETE FROM secret WHERE subscription = $1 RETURNING subscription, key, sealed)
             INSERT INTO retiring_secret (subscription, until, key, sealed)
             SELECT subscription, $2, key, sealed FROM present WHERE $2 > $3",
        )
        .bind(seq)
        .bind(until.map(Instant))
        .bind(Instant(now))
        .execute(&mut *write)
        .await?;
        if let Some(secret) = secret {
            self.seal(&mut write, seq, id, secret, now).await?;
        }
        if is_to_be_asked_anew(&target.subscription) {
            health::half_open(&mut write, seq, CHANGED, now).await?;
        }
        touch(&mut write, seq, now).await?;
        self.registered(
            write,
            by,
            ("subscription.rotated", Some(&target.subscription)),
            id,
        )
        .await
    }

    async fn remove<'a>(
        &self,
        id: SubscriptionId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Removed, StoreError> {
        remove(self, id, by.into()).await
    }

    async fn credentials(&self, id: SubscriptionId) -> Result<Credentials, StoreError> {
        let mut read = self.0.lists.get().await?;
        let (_, target) = subscription::find(&mut *read, self.reader()?, id).await?;
        Ok(target.credentials)
    }

    async fn event(&self, id: EventId) -> Result<EventRecord, StoreError> {
        history::event(self, id).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        history::deliveries(self, filter, after, limit).await
    }

    async fn count(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        history::count(self, filter).await
    }

    async fn unfinished(
        &self,
        client: Option<ClientId>,
        subscription: Option<SubscriptionId>,
        most: u64,
    ) -> Result<Unfinished, StoreError> {
        unfinished::unfinished(self, client, subscription, most).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, StoreError> {
        history::delivery(self, id).await
    }

    async fn settled(
        &self,
        filter: &DeliveryFilter,
        since: Timestamp,
        limit: u32,
    ) -> Result<Settled, StoreError> {
        settled::settled(self, filter, since, limit).await
    }

    async fn transitions(&self, id: SubscriptionId) -> Result<Vec<TransitionRecord>, StoreError> {
        health::transitions(self, id).await
    }

    async fn alerts(&self, client: Option<ClientId>) -> Result<Vec<AlertRecord>, StoreError> {
        alert::list(self, client).await
    }

    async fn retry<'a>(
        &self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<CommandAccepted, StoreError> {
        command::ask(self, "retry", id, by.into()).await
    }

    async fn cancel<'a>(
        &self,
        id: DeliveryId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<CommandAccepted, StoreError> {
        command::ask(self, "cancel", id, by.into()).await
    }

    async fn replay<'a>(
        &self,
        draft: &ReplayDraft,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        replay::ask(self, draft, by.into()).await
    }

    async fn pause_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        replay::order(self, id, Order::Pause, by.into()).await
    }

    async fn resume_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        replay::order(self, id, Order::Resume, by.into()).await
    }

    async fn cancel_replay<'a>(
        &self,
        id: ReplayId,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Replay, StoreError> {
        replay::order(self, id, Order::Cancel, by.into()).await
    }

    async fn tally(
        &self,
        choice: &ReplayChoice,
        looked: Option<usize>,
    ) -> Result<Tally, StoreError> {
        replay::tally(self, choice, looked).await
    }

    async fn audit(
        &self,
        client: Option<ClientId>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<AuditRecord>, StoreError> {
        audit::list(self, client, after, limit).await
    }

    async fn record<'a>(
        &self,
        deed: &Deed,
        by: impl Into<By<'a>> + Send,
    ) -> Result<(), StoreError> {
        audit::record(self, by.into(), deed).await
    }

    async fn replay_state(&self, id: ReplayId) -> Result<Replay, StoreError> {
        replay::find(self, id).await
    }

    async fn replays(&self, client: Option<ClientId>) -> Result<Vec<Replay>, StoreError> {
        replay::list(self, client).await
    }

    async fn pause_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Stop, StoreError> {
        campaign::stop(self, campaign, StopState::Paused, by.into()).await
    }

    async fn cancel_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Stop, StoreError> {
        campaign::stop(self, campaign, StopState::Cancelled, by.into()).await
    }

    async fn resume_campaign<'a>(
        &self,
        campaign: &Campaign,
        by: impl Into<By<'a>> + Send,
    ) -> Result<Option<Stop>, StoreError> {
        campaign::resume(self, campaign, by.into()).await
    }

    async fn campaign(&self, campaign: &Campaign) -> Result<CampaignReport, StoreError> {
        campaign::report(self, campaign).await
    }

    async fn campaign_clients(&self, campaign: &str) -> Result<Vec<ClientId>, StoreError> {
        campaign::clients(self, campaign).await
    }

    async fn owned(&self) -> Result<bool, StoreError> {
        owner::owned(self).await
    }

    async fn whereabouts(&self, id: EventId) -> Result<Whereabouts, StoreError> {
        whereabouts::whereabouts(self, id).await
    }

    async fn erase(
        &self,
        whose: &Erasure,
        by: By<'_>,
        tell: &(dyn Fn(&Erased) + Sync),
    ) -> Result<Erased, StoreError> {
        erasure::erase(self, whose, by, tell).await
    }

    async fn outlived(
        &self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Outlived, StoreError> {
        retention::outlived(self, retention, now).await
    }

    async fn survey(&self) -> Result<Survey, StoreError> {
        survey::survey(self).await
    }

    async fn gauges(&self) -> Result<Gauges, StoreError> {
        gauges::gauges(self).await
    }

    async fn minutes(
        &self,
        client: Option<ClientId>,
        since: Timestamp,
    ) -> Result<Vec<Traffic>, StoreError> {
        minute::since(self, client, since).await
    }

    async fn quarters(
        &self,
        id: SubscriptionId,
        since: Timestamp,
    ) -> Result<Vec<Traffic>, StoreError> {
        minute::quarters(self, id, since).await
    }

    async fn depths(&self, since: Timestamp) -> Result<Vec<Depth>, StoreError> {
        minute::depths(self, since).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        key::list(self).await
    }

    async fn prepare_key(&self) -> Result<String, StoreError> {
        key::prepare(self).await
    }

    async fn rotate_key(
        &self,
        by: By<'_>,
        tell: &(dyn Fn(u64) + Sync),
    ) -> Result<KeyRotated, StoreError> {
        key::rotate(self, by, tell).await
    }

    async fn add_token(
        &self,
        token: &Token,
        draft: &TokenDraft,
        by: By<'_>,
    ) -> Result<TokenRecord, StoreError> {
        token::add(self, token, draft, by).await
    }

    async fn tokens(&self, client: Option<ClientId>) -> Result<Vec<TokenRecord>, StoreError> {
        token::list(self, client).await
    }

    async fn revoke_token(
        &self,
        client: Option<ClientId>,
        id: TokenId,
        by: By<'_>,
    ) -> Result<TokenRecord, StoreError> {
        token::revoke(self, client, id, by).await
    }

    async fn token(
        &self,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        token::usable(self, hash, now).await
    }

    async fn used_token(&self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        token::used(self, id, now).await
    }

    async fn has_tokens(&self, now: Timestamp) -> Result<bool, StoreError> {
        token::is_any_usable(self, now).await
    }
}

impl PostgresStore {
    /// Begins a write to a subscription, once the writes before it are through.
    pub(super) async fn turn(&self) -> Result<Write, StoreError> {
        let mut write = self.0.lists.begin().await?;
        // Whoever is stopped in the midst of it must not keep workers from what they settle and route for long.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '3s'")
            .execute(&mut *write)
            .await?;
        bump(&mut write).await?;
        Ok(write)
    }

    async fn seal(
        &self,
        conn: &mut PgConnection,
        seq: i64,
        id: SubscriptionId,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = key::sealing_key(self, conn).await?;
        let nonce = nonce(self.0.options.random)?;
        sqlx::query(
            "INSERT INTO secret (subscription, key, sealed, created_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(seq)
        .bind(key.id())
        .bind(key.seal(nonce, &secret_row(id.as_uuid()), secret))
        .bind(Instant(now))
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn seal_headers(
        &self,
        conn: &mut PgConnection,
        seq: i64,
        id: SubscriptionId,
        headers: &[OwnHeader],
    ) -> Result<(), StoreError> {
        let key = key::sealing_key(self, conn).await?;
        for (place, header) in (0_i32..).zip(headers) {
            let nonce = nonce(self.0.options.random)?;
            let row = header_id(id.as_uuid(), header.name());
            sqlx::query(
                "INSERT INTO header (subscription, place, name, key, sealed) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(seq)
            .bind(place)
            .bind(header.name())
            .bind(key.id())
            .bind(key.seal(nonce, &header_row(&row), header.value()))
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }

    /// Commits, and returns the subscription as it is now.
    async fn registered(
        &self,
        mut write: Write,
        by: By<'_>,
        (action, before): (&'static str, Option<&Subscription>),
        id: SubscriptionId,
    ) -> Result<Subscription, StoreError> {
        let (_, target) = subscription::find(&mut *write, self.reader()?, id).await?;
        let deed = Deed::to_subscription(action, before, Some(&target.subscription));
        audit::write(&mut write, by, &deed).await?;
        write.commit(failpoint::REGISTRY).await?;
        Ok(target.subscription)
    }
}

/// Removes it, and asks for the end of what it leaves behind.
pub(super) async fn remove(
    store: &PostgresStore,
    id: SubscriptionId,
    by: By<'_>,
) -> Result<Removed, StoreError> {
    let now = by.at;
    // Before anybody is kept waiting: it may be a long lane.
    let unfinished: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM delivery
         WHERE subscription = (SELECT seq FROM subscription WHERE id = $1)",
    )
    .bind(id.as_uuid())
    .fetch_one(&mut *store.0.lists.get().await?)
    .await?;

    let mut write = store.turn().await?;
    let (seq, target) = subscription::find(&mut *write, store.reader()?, id).await?;
    // Routers hold the key of a row for whose lane they write: what they have written is there to be ended from here
    // on, and who comes later sees it removed.
    sqlx::query("SELECT FROM subscription WHERE seq = $1 FOR UPDATE")
        .bind(seq)
        .execute(&mut *write)
        .await?;
    let removed = sqlx::query(
        "UPDATE subscription SET removed_at = $2, updated_at = $2, version = version + 1
         WHERE seq = $1 AND removed_at IS NULL",
    )
    .bind(seq)
    .bind(Instant(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    expect_changed("remove", 1, removed)?;
    for statement in [
        "DELETE FROM secret WHERE subscription = $1",
        "DELETE FROM retiring_secret WHERE subscription = $1",
        "DELETE FROM header WHERE subscription = $1",
        "DELETE FROM subscription_state WHERE subscription = $1",
        "DELETE FROM subscription_health WHERE subscription = $1",
        "DELETE FROM release WHERE subscription = $1",
        "DELETE FROM latest WHERE subscription = $1",
        // In the order in which workers add to them.
        "DELETE FROM quarter WHERE subscription = $1 AND at = ANY (ARRAY(
             SELECT at FROM quarter WHERE subscription = $1 ORDER BY at FOR UPDATE))",
    ] {
        sqlx::query(statement)
            .bind(seq)
            .execute(&mut *write)
            .await?;
    }
    command::ask_remains(&mut write, seq, now).await?;
    let deed = Deed::to_subscription("subscription.removed", Some(&target.subscription), None);
    audit::write(&mut write, by, &deed).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(Removed {
        unfinished: unfinished.unsigned_abs(),
    })
}

/// Former secrets that have signed no more for a day.
pub(super) async fn forget_secrets(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(mut write) = partition::begin(store).await? else {
        return Ok(());
    };
    let done = sqlx::query("DELETE FROM retiring_secret WHERE until <= $1")
        .bind(Instant(signed_until(now)))
        .execute(&mut *write)
        .await;
    let later = "Former secrets are forgotten later";
    partition::end(write, done.map(drop), failpoint::PARTITION, later).await?;
    Ok(())
}

/// A worker with an older copy of the registry reloads before it routes.
pub(super) async fn bump(conn: &mut PgConnection) -> Result<(), StoreError> {
    let bumped = sqlx::query("UPDATE revision SET revision = revision + 1 WHERE id = 1")
        .execute(conn)
        .await?
        .rows_affected();
    expect_changed("the revision", 1, bumped)
}

/// A worker has changed it.
pub(super) async fn count_change(
    conn: &mut PgConnection,
    subscription: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE subscription SET version = version + 1 WHERE seq = $1")
        .bind(subscription)
        .execute(conn)
        .await?;
    Ok(())
}

async fn touch(conn: &mut PgConnection, seq: i64, now: Timestamp) -> Result<(), StoreError> {
    let touched = sqlx::query(
        "UPDATE subscription SET updated_at = $2, version = version + 1
         WHERE seq = $1 AND removed_at IS NULL",
    )
    .bind(seq)
    .bind(Instant(now))
    .execute(conn)
    .await?
    .rows_affected();
    expect_changed("a subscription", 1, touched)
}

fn refused(error: sqlx::Error) -> StoreError {
    let is_name = error
        .as_database_error()
        .is_some_and(|e| e.constraint() == Some("subscription_name"));
    if is_name {
        return name_taken().into();
    }
    explain(error)
}
