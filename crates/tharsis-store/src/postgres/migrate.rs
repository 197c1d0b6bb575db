//! The schema, brought up to what this program knows.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tracing::info;

use super::{
    Options,
    connect::Schema,
    error::{code, explain, schema_missing},
    key, partition,
};
use crate::StoreError;

/// Append-only: a migration that was released is never changed or removed.
const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "outbox",
    sql: include_str!("../../migrations/postgres/0001_outbox.sql"),
}];

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
    check_server(conn).await?;
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

async fn check_server(conn: &mut PgConnection) -> Result<(), StoreError> {
    const OLDEST: i32 = 15;
    let (version, encoding): (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding')",
    )
    .fetch_one(conn)
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
    Ok(())
}

/// Returns the names of the migrations that were applied.
pub(super) async fn migrate(
    conn: &mut PgConnection,
    schema: &Schema,
    options: &Options,
) -> Result<Vec<&'static str>, StoreError> {
    check_server(conn).await?;
    let mut write = conn.begin().await?;
    // One after the other, for each schema.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tharsis migrate ' || $1, 0))")
        .bind(schema.name())
        .execute(&mut *write)
        .await?;
    let applied = match applied(&mut write).await.map_err(explain)? {
        Some(version) => version,
        None => {
            create_schema(&mut write, schema).await.map_err(explain)?;
            0
        }
    };
    if applied > newest() {
        return Err(too_new(applied));
    }
    let mut names = Vec::new();
    for migration in MIGRATIONS.iter().filter(|m| m.version > applied) {
        sqlx::raw_sql(migration.sql)
            .execute(&mut *write)
            .await
            .map_err(explain)?;
        sqlx::query("INSERT INTO migration (version, name) VALUES ($1, $2)")
            .bind(migration.version)
            .bind(migration.name)
            .execute(&mut *write)
            .await?;
        names.push(migration.name);
        info!(
            migration.version = migration.version,
            migration.name = migration.name,
            "Migrated the database"
        );
    }
    if applied == 0 {
        partition::make_first(&mut write).await?;
    }
    if let Some(file) = &options.key_file {
        key::load_or_create(&mut write, file, options.random).await?;
    }
    write.commit().await?;
    Ok(names)
}

/// One that is there need not be made, which takes a right to the database that its owner need not have.
async fn create_schema(conn: &mut PgConnection, schema: &Schema) -> Result<(), sqlx::Error> {
    let is_there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema.name())
            .fetch_one(&mut *conn)
            .await?;
    if !is_there {
        let create = format!("CREATE SCHEMA \"{}\"", schema.name());
        sqlx::raw_sql(AssertSqlSafe(create)).execute(conn).await?;
    }
    Ok(())
}

/// The newest version that was applied; none where the schema has never been ours.
async fn applied(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
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
