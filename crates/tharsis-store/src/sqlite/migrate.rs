//! The schema, brought up to what this program knows.

use sqlx::SqliteConnection;
use tracing::info;

use super::write::Writer;
use crate::{
    StoreError,
    failpoint::{self, Failpoint, reached},
};

/// Append-only: a migration that was released is never changed or removed.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "outbox",
        sql: include_str!("../../migrations/sqlite/0001_outbox.sql"),
    },
    Migration {
        version: 2,
        name: "profiles",
        sql: include_str!("../../migrations/sqlite/0002_profiles.sql"),
    },
    Migration {
        version: 3,
        name: "rate",
        sql: include_str!("../../migrations/sqlite/0003_rate.sql"),
    },
    Migration {
        version: 4,
        name: "health",
        sql: include_str!("../../migrations/sqlite/0004_health.sql"),
    },
    Migration {
        version: 5,
        name: "release",
        sql: include_str!("../../migrations/sqlite/0005_release.sql"),
    },
    Migration {
        version: 6,
        name: "campaign",
        sql: include_str!("../../migrations/sqlite/0006_campaign.sql"),
    },
    Migration {
        version: 7,
        name: "alert",
        sql: include_str!("../../migrations/sqlite/0007_alert.sql"),
    },
    Migration {
        version: 8,
        name: "own_events",
        sql: include_str!("../../migrations/sqlite/0008_own_events.sql"),
    },
    Migration {
        version: 9,
        name: "order",
        sql: include_str!("../../migrations/sqlite/0009_order.sql"),
    },
    Migration {
        version: 10,
        name: "replay",
        sql: include_str!("../../migrations/sqlite/0010_replay.sql"),
    },
    Migration {
        version: 11,
        name: "retention",
        sql: include_str!("../../migrations/sqlite/0011_retention.sql"),
    },
    Migration {
        version: 12,
        name: "token",
        sql: include_str!("../../migrations/sqlite/0012_token.sql"),
    },
    Migration {
        version: 13,
        name: "minute",
        sql: include_str!("../../migrations/sqlite/0013_minute.sql"),
    },
    Migration {
        version: 14,
        name: "settled",
        sql: include_str!("../../migrations/sqlite/0014_settled.sql"),
    },
];

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

/// Returns the names of those that were applied.
pub(super) async fn migrate(writer: &Writer) -> Result<Vec<String>, StoreError> {
    let newest = MIGRATIONS.last().map_or(0, |m| m.version);
    if applied(writer.turn().await.conn()).await? == newest {
        return Ok(Vec::new());
    }
    let mut write = writer.begin().await?;
    // Another process may have been at it meanwhile.
    let applied = applied(&mut write).await?;
    if applied > newest {
        return Err(StoreError::unusable(
            "schema_too_new",
            format!(
                "the database has schema {applied}, and this program knows schemas up to {newest}"
            ),
            "start the version of the program that migrated it, or a newer one",
        ));
    }
    reached(Failpoint::MigrateBegun);
    let mut names = Vec::new();
    for migration in MIGRATIONS.iter().filter(|m| m.version > applied) {
        sqlx::raw_sql(migration.sql).execute(&mut *write).await?;
        reached(Failpoint::MigrateApplied);
        record(&mut write, migration).await?;
        info!(
            migration.version = migration.version,
            migration.name = migration.name,
            "Migrated the database"
        );
        names.push(migration.name.to_owned());
    }
    write.commit(failpoint::MIGRATE).await?;
    Ok(names)
}

/// The newest version that was applied; 0 for a database that has never been ours.
pub(super) async fn applied(conn: &mut SqliteConnection) -> Result<i64, StoreError> {
    let known: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM sqlite_schema WHERE name = 'tharsis_migration'")
            .fetch_optional(&mut *conn)
            .await?;
    if known.is_none() {
        return Ok(0);
    }
    let version = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM tharsis_migration")
        .fetch_one(conn)
        .await?;
    Ok(version)
}

async fn record(conn: &mut SqliteConnection, migration: &Migration) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO tharsis_migration (version, name) VALUES (?1, ?2)")
        .bind(migration.version)
        .bind(migration.name)
        .execute(conn)
        .await?;
    Ok(())
}
