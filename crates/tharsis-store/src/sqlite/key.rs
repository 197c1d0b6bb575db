//! The sealing keys, as the database knows them: in a file beside it, or given.

use sqlx::SqliteConnection;
use tharsis_core::secret::SealingKey;

use super::{
    Options, Random, SqliteStore, audit,
    connect::Database,
    migrate,
    value::{Id, Millis},
    write::Writer,
};
use crate::{
    By, Deed, KeyRecord, KeyRotated, StoreError,
    error::expect_changed,
    failpoint,
    key::{self, CHUNK, KeyRow, Known, Place, Resealed, Ring, Sealed, Value},
};

/// Loads the keys. The first key of a database is made here, unless it was put there before.
pub(super) async fn load_or_create(
    ring: &Ring,
    writer: &Writer,
    random: Random,
) -> Result<(), StoreError> {
    if let Some(sealing) = sealing(writer.turn().await.conn()).await? {
        return ring.load(&sealing);
    }
    // The lock of the file keeps two processes from making two keys.
    let mut write = writer.begin().await?;
    if let Some(sealing) = sealing(&mut write).await? {
        return ring.load(&sealing);
    }
    let known = Known::of(&ring.first(random)?, random)?;
    sqlx::query("INSERT INTO tharsis_key (id, sealed) VALUES (?1, ?2)")
        .bind(known.id)
        .bind(known.sealed)
        .execute(&mut *write)
        .await?;
    write.commit(failpoint::KEY).await
}

/// Makes the first key of a database that knows none, in a file that is not there yet. Where the database is not there
/// either, it is told of it when it is made. Returns the key's id.
pub(super) async fn init(url: &str, options: Options, by: By<'_>) -> Result<String, StoreError> {
    let now = by.at;
    let (database, random) = (Database::at(url)?, options.random);
    if !database.is_there() {
        let file = super::beside(database.path(), ".key");
        return Ok(Ring::new(options.keys, file).init(random)?.id());
    }
    let keys = options.keys.clone();
    let opened = database.open(options).await?;
    migrate::migrate(&opened.writer).await?;
    let ring = Ring::new(keys, super::beside(&opened.path, ".key"));
    let mut write = opened.writer.begin().await?;
    if let Some(sealing) = sealing(&mut write).await? {
        return Err(key::known_already(&sealing.id));
    }
    let known = Known::of(&ring.init(random)?, random)?;
    sqlx::query("INSERT INTO tharsis_key (id, sealed, created_at) VALUES (?1, ?2, ?3)")
        .bind(&known.id)
        .bind(known.sealed)
        .bind(now.as_millis())
        .execute(&mut *write)
        .await?;
    audit::write(&mut write, by, &Deed::new(key::MADE, &known.id)).await?;
    write.commit(failpoint::KEY).await?;
    Ok(known.id)
}

/// The id of the key that the database seals with, if it knows one.
pub(super) async fn known(url: &str, options: Options) -> Result<Option<String>, StoreError> {
    let database = Database::at(url)?;
    if !database.is_there() {
        return Ok(None);
    }
    let opened = database.open(options).await?;
    migrate::migrate(&opened.writer).await?;
    let sealing = sealing(opened.writer.turn().await.conn()).await?;
    Ok(sealing.map(|known| known.id))
}

async fn sealing(conn: &mut SqliteConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> =
        sqlx::query_as("SELECT id, sealed FROM tharsis_key WHERE retired_at IS NULL")
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}

/// The key that seals now. Within a transaction that writes: nothing is sealed with it once another took its place.
pub(super) async fn sealing_key(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
) -> Result<SealingKey, StoreError> {
    let id: Option<String> =
        sqlx::query_scalar("SELECT id FROM tharsis_key WHERE retired_at IS NULL")
            .fetch_optional(conn)
            .await?;
    let id = id.ok_or_else(key::not_known)?;
    store.0.ring.sealing(&id)
}

async fn ids(conn: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM tharsis_key")
        .fetch_all(conn)
        .await?)
}

pub(super) async fn list(store: &SqliteStore) -> Result<Vec<KeyRecord>, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let rows: Vec<(String, Millis, Option<Millis>)> = sqlx::query_as(
        "SELECT id, created_at, retired_at FROM tharsis_key
         ORDER BY retired_at IS NOT NULL, retired_at DESC",
    )
    .fetch_all(&mut *read)
    .await?;
    let values: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, count(*)
         FROM (SELECT key FROM tharsis_secret UNION ALL SELECT key FROM tharsis_retiring_secret
               UNION ALL SELECT key FROM tharsis_header)
         GROUP BY key ORDER BY key",
    )
    .fetch_all(&mut *read)
    .await?;
    let rows = rows
        .into_iter()
        .map(|(id, Millis(since), retired_at)| -> KeyRow {
            (id, since, retired_at.map(|Millis(at)| at))
        });
    let values: Vec<_> = (values.into_iter())
        .map(|(id, values)| (id, values.unsigned_abs()))
        .collect();
    let here = store.0.ring.keys()?;
    Ok(key::records(rows.collect(), &values, here.as_deref()))
}

pub(super) async fn prepare(store: &SqliteStore) -> Result<String, StoreError> {
    let (ring, random) = (&store.0.ring, store.0.random);
    let mut write = store.0.writer.begin().await?;
    let prepared = match ring.beside(&ids(&mut write).await?)? {
        Some(key) => key,
        None => ring.make(random)?,
    };
    Ok(prepared.id())
}

pub(super) async fn rotate(
    store: &SqliteStore,
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
    store: &SqliteStore,
    may_make: bool,
    by: By<'_>,
) -> Result<KeyRotated, StoreError> {
    let now = by.at;
    let (ring, random) = (&store.0.ring, store.0.random);
    let mut write = store.0.writer.begin().await?;
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
            return Ok(KeyRotated {
                key: former,
                ..KeyRotated::default()
            });
        }
    };
    let known = Known::of(&key, random)?;
    let retired = sqlx::query("UPDATE tharsis_key SET retired_at = ?2 WHERE id = ?1")
        .bind(&former)
        .bind(now.as_millis())
        .execute(&mut *write)
        .await?
        .rows_affected();
    expect_changed("the former key", 1, retired)?;
    sqlx::query("INSERT INTO tharsis_key (id, sealed, created_at) VALUES (?1, ?2, ?3)")
        .bind(&known.id)
        .bind(known.sealed)
        .bind(now.as_millis())
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
async fn reseal(store: &SqliteStore, tell: &(dyn Fn(u64) + Sync)) -> Result<Resealed, StoreError> {
    let mut resealed = Resealed::default();
    let mut last = 0;
    loop {
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT max(seq) FROM (SELECT seq FROM tharsis_subscription WHERE seq > ?1 ORDER BY seq LIMIT ?2)",
        )
        .bind(last)
        .bind(CHUNK)
        .fetch_one(&store.0.lists)
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
    FROM (SELECT 0 AS place, subscription, '' AS name, key, sealed FROM tharsis_secret
          UNION ALL
          SELECT 1, subscription, '', key, sealed FROM tharsis_retiring_secret
          UNION ALL
          SELECT 2, subscription, name, key, sealed FROM tharsis_header) v
    JOIN tharsis_subscription s ON s.seq = v.subscription
    WHERE v.subscription > ?1 AND v.subscription <= ?2 AND v.key <> ?3";

/// Of the subscriptions between these numbers.
async fn reseal_some(store: &SqliteStore, (after, to): (i64, i64)) -> Result<Resealed, StoreError> {
    let mut resealed = Resealed::default();
    let mut write = store.0.writer.begin().await?;
    let key = sealing_key(store, &mut write).await?;
    let rows: Vec<(i64, i64, Id, String, String, Vec<u8>)> = sqlx::query_as(OLDER)
        .bind(after)
        .bind(to)
        .bind(key.id())
        .fetch_all(&mut *write)
        .await?;
    if rows.is_empty() {
        return Ok(resealed);
    }
    for (place, seq, Id(subscription), name, of, bytes) in rows {
        let value = Value {
            place: Place::parse(place),
            seq,
            subscription,
            name,
            sealed: Sealed { key: of, bytes },
        };
        let Some(sealed) = value.resealed(&store.0.ring, &key, store.0.random)? else {
            resealed.unreadable += 1;
            continue;
        };
        let changed = sqlx::query(match value.place {
            Place::Secret => {
                "UPDATE tharsis_secret SET key = ?3, sealed = ?4 WHERE subscription = ?1 AND sealed = ?2"
            }
            Place::Retiring => {
                "UPDATE tharsis_retiring_secret SET key = ?3, sealed = ?4 WHERE subscription = ?1 AND sealed = ?2"
            }
            Place::Header => {
                "UPDATE tharsis_header SET key = ?3, sealed = ?4 WHERE subscription = ?1 AND sealed = ?2"
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
