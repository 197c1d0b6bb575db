//! The schema, brought up to what this program knows.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tracing::{info, warn};

use super::{
    Options,
    connect::Schema,
    error::{code, explain, not_permitted, schema_missing},
    key, partition,
};
use crate::{
    StoreError,
    failpoint::{Failpoint, reached},
};

/// Append-only: a migration that was released is never changed or removed.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "outbox",
        sql: include_str!("../../migrations/postgres/0001_outbox.sql"),
    },
    Migration {
        version: 2,
        name: "profiles",
        sql: include_str!("../../migrations/postgres/0002_profiles.sql"),
    },
    Migration {
        version: 3,
        name: "rate",
        sql: include_str!("../../migrations/postgres/0003_rate.sql"),
    },
    Migration {
        version: 4,
        name: "health",
        sql: include_str!("../../migrations/postgres/0004_health.sql"),
    },
    Migration {
        version: 5,
        name: "release",
        sql: include_str!("../../migrations/postgres/0005_release.sql"),
    },
    Migration {
        version: 6,
        name: "campaign",
        sql: include_str!("../../migrations/postgres/0006_campaign.sql"),
    },
    Migration {
        version: 7,
        name: "alert",
        sql: include_str!("../../migrations/postgres/0007_alert.sql"),
    },
    Migration {
        version: 8,
        name: "own_events",
        sql: include_str!("../../migrations/postgres/0008_own_events.sql"),
    },
    Migration {
        version: 9,
        name: "order",
        sql: include_str!("../../migrations/postgres/0009_order.sql"),
    },
    Migration {
        version: 10,
        name: "replay",
        sql: include_str!("../../migrations/postgres/0010_replay.sql"),
    },
    Migration {
        version: 11,
        name: "retention",
        sql: include_str!("../../migrations/postgres/0011_retention.sql"),
    },
    Migration {
        version: 12,
        name: "token",
        sql: include_str!("../../migrations/postgres/0012_token.sql"),
    },
    Migration {
        version: 13,
        name: "minute",
        sql: include_str!("../../migrations/postgres/0013_minute.sql"),
    },
];

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

/// That this program and the schema know each other.
pub(super) async fn check(conn: &mut PgConnection, schema: &Schema) -> Result<(), StoreError> {
    check_connection(conn, schema).await?;
    match applied(conn).await {
        // Whoever may only publish does not see it. The functions that it calls are there or they are not.
        Err(error) if code(&error).as_deref() == Some("42501") => Ok(()),
        Err(error) => Err(explain(error)),
        Ok(None) => Err(schema_missing()),
        Ok(Some(version)) if version > newest() => Err(too_new(version)),
        Ok(Some(version)) if version < newest() => Err(StoreError::unusable(
            "schema_too_old",
            format!(
                "the schema {} is at {version}, and this program wants {}",
                schema.name(),
                newest()
            ),
            "bring it up with `tharsis migrate`",
        )),
        Ok(Some(_)) => Ok(()),
    }
}

/// That the server is one to be worked with, and that the connection looks where it was asked to.
async fn check_connection(conn: &mut PgConnection, schema: &Schema) -> Result<(), StoreError> {
    const OLDEST: i32 = 15;
    let (version, encoding, search_path): (i32, String, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'),
                current_setting('search_path')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if version < OLDEST {
        return Err(StoreError::unusable(
            "postgres_too_old",
            format!("the server is PostgreSQL {version}, older than {OLDEST}"),
            format!("take PostgreSQL {OLDEST} or newer"),
        ));
    }
    if encoding != "UTF8" {
        return Err(StoreError::unusable(
            "encoding_not_utf8",
            format!("the database keeps its text as {encoding}"),
            "take a database made with ENCODING 'UTF8'",
        ));
    }
    // Whoever hands it on may write it in another way.
    if search_path.replace([' ', '"'], "") != schema.search_path() {
        return Err(StoreError::unusable(
            "search_path_lost",
            format!(
                "the connection was to look in {}, and looks in {search_path}",
                schema.search_path()
            ),
            "connect to the server itself: a pooler that has `options` among its ignore_startup_parameters drops \
             what a connection asks for",
        ));
    }
    check_durability(conn).await
}

/// That what is committed here outlives a crash of the server. A role can be told to wait for the disk, so one that is told
/// not to is refused; a server that was set up for tests may be worked with, and is told of.
async fn check_durability(conn: &mut PgConnection) -> Result<(), StoreError> {
    let (fsync, full_page_writes, synchronous_commit): (bool, bool, String) = sqlx::query_as(
        "SELECT current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean,
                current_setting('synchronous_commit')",
    )
    .fetch_one(conn)
    .await?;
    if synchronous_commit == "off" {
        return Err(StoreError::unusable(
            "synchronous_commit_off",
            "commits do not wait for the disk, so what was just published would be lost in a crash of the server",
            "ALTER ROLE … or ALTER DATABASE … SET synchronous_commit = on; what only records attempts does not wait in any case",
        ));
    }
    if !fsync {
        warn!(
            "PostgreSQL runs with fsync = off: a crash of its machine may cost the whole database"
        );
    }
    if !full_page_writes {
        warn!(
            "PostgreSQL runs with full_page_writes = off: a page that is torn in a crash cannot be mended"
        );
    }
    Ok(())
}

/// Returns the names of the migrations that were applied.
pub(super) async fn migrate(
    conn: &mut PgConnection,
    schema: &Schema,
    options: &Options,
) -> Result<Vec<&'static str>, StoreError> {
    check_connection(conn, schema).await?;
    let mut write = conn.begin().await?;
    // The functions keep this one, and run with the rights of their owner.
    let search_path = format!("SET LOCAL search_path = \"{}\", pg_temp", schema.name());
    sqlx::raw_sql(AssertSqlSafe(search_path))
        .execute(&mut *write)
        .await?;
    // One after the other, for each schema.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tharsis migrate ' || $1, 0))")
        .bind(schema.name())
        .execute(&mut *write)
        .await?;
    let rights = rights(&mut write, schema).await?;
    if rights.is_some_and(|rights| rights.everybodys) {
        return Err(schema_open(schema));
    }
    let applied = match applied(&mut write).await.map_err(explain)? {
        Some(version) => version,
        None => {
            prepare(&mut write, schema, rights).await?;
            0
        }
    };
    if applied > newest() {
        return Err(too_new(applied));
    }
    reached(Failpoint::MigrateBegun);
    let mut names = Vec::new();
    for migration in MIGRATIONS.iter().filter(|m| m.version > applied) {
        sqlx::raw_sql(migration.sql)
            .execute(&mut *write)
            .await
            .map_err(explain)?;
        reached(Failpoint::MigrateApplied);
        sqlx::query("INSERT INTO migration (version, name) VALUES ($1, $2)")
            .bind(migration.version)
            .bind(migration.name)
            .execute(&mut *write)
            .await?;
        reached(Failpoint::MigrateRecorded);
        names.push(migration.name);
        info!(
            migration.version = migration.version,
            migration.name = migration.name,
            "Migrated the database"
        );
    }
    if applied == 0 {
        partition::make_first(&mut write).await?;
        reached(Failpoint::MigratePartitioned);
    }
    if let Some(ring) = options.ring() {
        key::make(&mut write, &ring, options.random).await?;
    }
    write.commit().await?;
    reached(Failpoint::MigrateCommitted);
    Ok(names)
}

/// Who may make something in a schema that is there.
#[derive(Clone, Copy)]
struct Rights {
    ours: bool,
    everybodys: bool,
}

async fn rights(conn: &mut PgConnection, schema: &Schema) -> Result<Option<Rights>, StoreError> {
    let rights: Option<(bool, bool)> = sqlx::query_as(
        "SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'),
                has_schema_privilege('public', oid, 'CREATE')
         FROM pg_namespace
         WHERE nspname = $1",
    )
    .bind(schema.name())
    .fetch_optional(conn)
    .await?;
    Ok(rights.map(|(ours, everybodys)| Rights { ours, everybodys }))
}

/// One that is there need not be made, which takes a right to the database that its owner need not have.
async fn prepare(
    conn: &mut PgConnection,
    schema: &Schema,
    rights: Option<Rights>,
) -> Result<(), StoreError> {
    match rights {
        Some(Rights { ours: true, .. }) => Ok(()),
        Some(Rights { ours: false, .. }) => Err(not_permitted(format_args!(
            "this user may not create anything in schema {}",
            schema.name()
        ))),
        None => {
            let create = format!("CREATE SCHEMA \"{}\"", schema.name());
            let created = sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await;
            created.map(drop).map_err(explain)
        }
    }
}

/// What others make there would be found in place of PostgreSQL's own, and run with the rights of the owner.
fn schema_open(schema: &Schema) -> StoreError {
    StoreError::unusable(
        "schema_open",
        format!(
            "everybody may create something in the schema {}",
            schema.name()
        ),
        format!(
            "name a schema of Tharsis's own with ?schema=NAME, or, if nobody else has put anything there, \
             REVOKE CREATE ON SCHEMA {} FROM PUBLIC",
            schema.name()
        ),
    )
}

/// The newest version that was applied; none where the schema has never been ours.
pub(super) async fn applied(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let is_ours: bool = sqlx::query_scalar("SELECT to_regclass('migration') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await?;
    if !is_ours {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM migration")
        .fetch_one(conn)
        .await
        .map(|version: Option<i64>| Some(version.unwrap_or(0)))
}

fn too_new(version: i64) -> StoreError {
    StoreError::unusable(
        "schema_too_new",
        format!(
            "the database has schema {version}, and this program knows schemas up to {}",
            newest()
        ),
        "start the version of the program that migrated it, or a newer one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::connect::Database;

    /// As behind a pooler that drops what a connection asks for.
    #[tokio::test]
    async fn a_connection_that_looks_elsewhere_is_not_worked_with() {
        let url = std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL is set");
        let and = if url.contains('?') { '&' } else { '?' };
        let asked = Database::at(&format!("{url}{and}schema=test_elsewhere")).expect("a URL");
        let schema = asked.schema();
        let mut plain = PgConnection::connect(&url).await.expect("connects");
        let options = Options::default();
        let code = |refused: StoreError| match refused {
            StoreError::Unusable { code, .. } => code,
            _ => "none",
        };
        let refused = migrate(&mut plain, schema, &options).await;
        assert_eq!(code(refused.expect_err("refused")), "search_path_lost");
        let refused = check(&mut plain, schema).await;
        assert_eq!(code(refused.expect_err("refused")), "search_path_lost");

        let made: bool = sqlx::query_scalar("SELECT to_regnamespace('test_elsewhere') IS NOT NULL")
            .fetch_one(&mut plain)
            .await
            .expect("asked");
        assert!(!made, "and nothing was made");
        // One that looks there in other words is as good.
        sqlx::query("SET search_path = \"test_elsewhere\", pg_temp")
            .execute(&mut plain)
            .await
            .expect("set");
        let missing = check(&mut plain, schema).await;
        assert_eq!(code(missing.expect_err("not there")), "schema_missing");
        // As every connection of a store's does.
        let mut own = asked.connect().await.expect("connects");
        let missing = check(&mut own, schema).await;
        assert_eq!(code(missing.expect_err("not there")), "schema_missing");
    }
}
