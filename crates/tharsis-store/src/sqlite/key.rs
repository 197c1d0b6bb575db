//! The sealing key in a file beside the database.

use std::path::Path;

use sqlx::SqliteConnection;
use tharsis_core::secret::SealingKey;

use super::{Random, write::Writer};
use crate::{
    StoreError, failpoint,
    key::{KeyFile, Known},
};

/// Loads the key that the database knows. The first key of a database is made here, unless its file was put there
/// before.
pub(super) async fn load_or_create(
    database: &Path,
    writer: &Writer,
    random: Random,
) -> Result<SealingKey, StoreError> {
    let file = KeyFile::at(super::beside(database, ".key"));
    if let Some(known) = known(writer.turn().await.conn()).await? {
        return file.load(&known);
    }
    // The lock of the file keeps two processes from making two keys.
    let mut write = writer.begin().await?;
    if let Some(known) = known(&mut write).await? {
        return file.load(&known);
    }
    let key = file.read_or_create(random)?;
    let known = Known::of(&key, random)?;
    sqlx::query("INSERT INTO tharsis_key (id, sealed) VALUES (?1, ?2)")
        .bind(known.id)
        .bind(known.sealed)
        .execute(&mut *write)
        .await?;
    write.commit(failpoint::KEY).await?;
    Ok(key)
}

async fn known(conn: &mut SqliteConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM tharsis_key")
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}
