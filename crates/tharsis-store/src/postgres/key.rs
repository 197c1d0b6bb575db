//! The sealing keys, as the database knows them.

use sqlx::PgConnection;
use tharsis_core::secret::SealingKey;
use uuid::Uuid;

use super::{Options, PostgresStore, audit, error::explain, value::Instant};
use crate::{
    By, Deed, KeyRecord, KeyRotated, Random, StoreError,
    error::expect_changed,
    failpoint::{self, Failpoint, reached},
    key::{self, CHUNK, KeyRow, Known, Place, Resealed, Ring, Sealed, Value},
};

/// Loads the keys that the database knows.
pub(super) async fn load(conn: &mut PgConnection, ring: &Ring) -> Result<(), StoreError> {
    let sealing = sealing(conn).await?.ok_or_else(key::not_known)?;
    ring.load(&sealing)
}

/// Makes the first key of a database, unless it was put there before. Of a database that knows its key the file may be
/// elsewhere; one that is here must hold that key. The caller's transaction keeps two from making two.
pub(super) async fn make(
    conn: &mut PgConnection,
    ring: &Ring,
    random: Random,
) -> Result<(), StoreError> {
    if let Some(sealing) = sealing(conn).await? {
        return ring.is_there(&sealing).map(drop);
    }
    let known = Known::of(&ring.first(random)?, random)?;
    sqlx::query("INSERT INTO key (id, sealed) VALUES ($1, $2)")
        .bind(known.id)
        .bind(known.sealed)
        .execute(conn)
        .await?;
    reached(Failpoint::KeyNoted);
    Ok(())
}

/// Makes the first key of a database that knows none, in a file that is not there yet. Where there is no schema it is for
/// the migration to tell the database of it. Returns its id.
pub(super) async fn init(url: &str, options: Options, by: By<'_>) -> Result<String, StoreError> {
    let now = by.at;
    let (random, ring) = (options.random, options.ring().ok_or_else(not_given)?);
    let Some(store) = keyless(url, options).await? else {
        return Ok(ring.init(random)?.id());
    };
    let mut write = store.turn().await?;
    if let Some(sealing) = sealing(&mut write).await? {
        return Err(key::known_already(&sealing.id));
    }
    let known = Known::of(&ring.init(random)?, random)?;
    sqlx::query("INSERT INTO key (id, sealed, created_at) VALUES ($1, $2, $3)")
        .bind(&known.id)
        .bind(known.sealed)
        .bind(Instant(now))
        .execute(&mut *write)
        .await?;
    audit::write(&mut write, by, &Deed::new(key::MADE, &known.id)).await?;
    write.commit(failpoint::KEY).await?;
    Ok(known.id)
}

/// The id of the key that the database seals with, if it knows one.
pub(super) async fn known(url: &str, options: Options) -> Result<Option<String>, StoreError> {
    let Some(store) = keyless(url, options).await? else {
        return Ok(None);
    };
    let sealing = sealing(&mut *store.0.lists.get().await?).await?;
    Ok(sealing.map(|known| known.id))
}

/// The store, without any key; `None` where its schema is not there yet.
async fn keyless(url: &str, options: Options) -> Result<Option<PostgresStore>, StoreError> {
    let keyless = Options {
        key_file: None,
        keys: None,
        ..options
    };
    match PostgresStore::open(url, keyless).await {
        Err(StoreError::Unusable {
            code: "schema_missing",
            ..
        }) => Ok(None),
        opened => opened.map(Some),
    }
}

pub(super) fn not_given() -> StoreError {
    StoreError::unusable(
        "key_missing",
        "the outbox was opened without the key that secrets are sealed with",
        "open it with its key file; publishing does without, and what looks at no subscription",
    )
}

async fn sealing(conn: &mut PgConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> =
        sqlx::query_as("SELECT id, sealed FROM key WHERE retired_at IS NULL")
            .fetch_optional(conn)
            .await
            .map_err(explain)?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}

/// The key that seals now. Within a transaction that has its turn: nothing is sealed with it once another took its place.
pub(super) async fn sealing_key(
    store: &PostgresStore,
    conn: &mut PgConnection,
) -> Result<SealingKey, StoreError> {
    let id: Option<String> = sqlx::query_scalar("SELECT id FROM key WHERE retired_at IS NULL")
        .fetch_optional(conn)
        .await?;
    let id = id.ok_or_else(key::not_known)?;
    store.ring()?.sealing(&id)
}

async fn ids(conn: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM key")
        .fetch_all(conn)
        .await?)
}

pub(super) async fn list(store: &PostgresStore) -> Result<Vec<KeyRecord>, StoreError> {
    let mut read = store.0.lists.get().await?;
    let rows: Vec<(String, Instant, Option<Instant>)> = sqlx::query_as(
        "SELECT id, created_at, retired_at FROM key
         ORDER BY retired_at IS NOT NULL, retired_at DESC",
    )
    .fetch_all(&mut *read)
    .await?;
    let values: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, count(*)
         FROM (SELECT key FROM secret UNION ALL SELECT key FROM retiring_secret
               UNION ALL SELECT key FROM header) v
         GROUP BY key ORDER BY key",
    )
    .fetch_all(&mut *read)
    .await?;
    let rows = rows
        .into_iter()
        .map(|(id, Instant(since), retired_at)| -> KeyRow {
            (id, since, retired_at.map(|Instant(at)| at))
        });
    let values: Vec<_> = (values.into_iter())
        .map(|(id, values)| (id, values.unsigned_abs()))
        .collect();
    let here = store.ring()?.keys()?;
    Ok(key::records(rows.collect(), &values, here.as_deref()))
}

pub(super) async fn prepare(store: &PostgresStore) -> Result<String, StoreError> {
    let (ring, random) = (store.ring()?, store.0.options.random);
    let mut write = store.turn().await?;
    let prepared = match ring.beside(&ids(&mut write).await?)? {
        Some(key) => key,
        None => ring.make(random)?,
    };
    write.roll_back().await?;
    Ok(prepared.id())
}

pub(super) async fn rotate(
    store: &PostgresStore,
    by: By<'_>,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<KeyRotated, StoreError> {
    let mut rotated = take_prepared(store, false, by).await?;
    let mut resealed = reseal(store, tell).await?;
    // Where nothing was prepared, and no rotation was cut short, it begins here.
    if rotated.former.is_none() && resealed.values == 0 {
        rotated = take_prepared(store, true, by).await?;
        resealed = reseal(store, tell).await?;
    }
    Ok(KeyRotated {
        values: resealed.values,
        unreadable: resealed.unreadable,
        ..rotated
    })
}

/// Has the newest key that the database does not know seal from now on; where there is none, one that is made, if it may be.
async fn take_prepared(
    store: &PostgresStore,
    may_make: bool,
    by: By<'_>,
) -> Result<KeyRotated, StoreError> {
    let now = by.at;
    let (ring, random) = (store.ring()?, store.0.options.random);
    let mut write = store.turn().await?;
    let Some(sealing) = sealing(&mut write).await? else {
        return Err(key::not_known());
    };
    // As the file is now: what was taken out of it is not to be missed later.
    ring.load(&sealing)?;
    let former = sealing.id;
    let prepared = ring.beside(&ids(&mut write).await?)?;
    let is_made = prepared.is_none();
    let key = match prepared {
        Some(key) => key,
        None if may_make => ring.make(random)?,
        None => {
            write.roll_back().await?;
            return Ok(KeyRotated {
                key: former,
                ..KeyRotated::default()
            });
        }
    };
    let known = Known::of(&key, random)?;
    let retired = sqlx::query("UPDATE key SET retired_at = $2 WHERE id = $1")
        .bind(&former)
        .bind(Instant(now))
        .execute(&mut *write)
        .await?
        .rows_affected();
    expect_changed("the former key", 1, retired)?;
    sqlx::query("INSERT INTO key (id, sealed, created_at) VALUES ($1, $2, $3)")
        .bind(&known.id)
        .bind(known.sealed)
        .bind(Instant(now))
        .execute(&mut *write)
        .await?;
    let rotated = KeyRotated {
        key: known.id,
        former: Some(former),
        is_made,
        ..KeyRotated::default()
    };
    audit::write(&mut write, by, &rotated.deed()).await?;
    write.commit(failpoint::KEY).await?;
    Ok(rotated)
}

/// Seals all that an older key has sealed with the one that seals now, some subscriptions at a time.
async fn reseal(
    store: &PostgresStore,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<Resealed, StoreError> {
    let mut resealed = Resealed::default();
    let mut last = 0;
    loop {
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT max(seq) FROM (SELECT seq FROM subscription WHERE seq > $1 ORDER BY seq LIMIT $2) s",
        )
        .bind(last)
        .bind(i64::from(CHUNK))
        .fetch_one(&mut *store.0.lists.get().await?)
        .await?;
        let Some(newest) = newest else {
            return Ok(resealed);
        };
        resealed.add(reseal_some(store, (last, newest)).await?);
        last = newest;
        tell(resealed.values);
    }
}

const OLDER: &str = "
    SELECT v.place, s.seq, s.id, v.name, v.key, v.sealed
    FROM (SELECT 0::bigint AS place, subscription, '' AS name, key, sealed FROM secret
          UNION ALL
          SELECT 1, subscription, '', key, sealed FROM retiring_secret
          UNION ALL
          SELECT 2, subscription, name, key, sealed FROM header) v
    JOIN subscription s ON s.seq = v.subscription
    WHERE v.subscription > $1 AND v.subscription <= $2 AND v.key <> $3";

/// Of the subscriptions between these numbers.
async fn reseal_some(
    store: &PostgresStore,
    (after, to): (i64, i64),
) -> Result<Resealed, StoreError> {
    let mut resealed = Resealed::default();
    let mut write = store.0.lists.begin().await?;
    // As for whoever writes to subscriptions.
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '3s'")
        .execute(&mut *write)
        .await?;
    // Lined up with those who write to subscriptions, as if it were one; there is nothing to be read anew.
    sqlx::query("SELECT FROM revision WHERE id = 1 FOR UPDATE")
        .execute(&mut *write)
        .await?;
    let key = sealing_key(store, &mut write).await?;
    let rows: Vec<(i64, i64, Uuid, String, String, Vec<u8>)> = sqlx::query_as(OLDER)
        .bind(after)
        .bind(to)
        .bind(key.id())
        .fetch_all(&mut *write)
        .await?;
    if rows.is_empty() {
        write.roll_back().await?;
        return Ok(resealed);
    }
    for (place, seq, subscription, name, of, bytes) in rows {
        let value = Value {
            place: Place::parse(place),
            seq,
            subscription,
            name,
            sealed: Sealed { key: of, bytes },
        };
        let Some(sealed) = value.resealed(store.ring()?, &key, store.0.options.random)? else {
            resealed.unreadable += 1;
            continue;
        };
        let changed = sqlx::query(match value.place {
            Place::Secret => {
                "UPDATE secret SET key = $3, sealed = $4 WHERE subscription = $1 AND sealed = $2"
            }
            Place::Retiring => {
                "UPDATE retiring_secret SET key = $3, sealed = $4 WHERE subscription = $1 AND sealed = $2"
            }
            Place::Header => {
                "UPDATE header SET key = $3, sealed = $4 WHERE subscription = $1 AND sealed = $2"
            }
        })
        .bind(value.seq)
        .bind(value.sealed.bytes)
        .bind(key.id())
        .bind(sealed)
        .execute(&mut *write)
        .await?;
        resealed.values += changed.rows_affected();
    }
    write.commit(failpoint::RESEAL).await?;
    Ok(resealed)
}
