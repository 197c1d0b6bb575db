//! The key that secrets are sealed with: in a file beside the database, known to the database by its id.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use sqlx::SqliteConnection;
use tharsis_core::secret::{SealingKey, Secret, SecretRow};
use tracing::{info, warn};

use super::{Random, write::Writer};
use crate::StoreError;

/// Loads the key that the database knows. The first key of a database is made here, unless its file was put there
/// before.
pub(super) async fn load_or_create(
    database: &Path,
    writer: &Writer,
    random: Random,
) -> Result<SealingKey, StoreError> {
    let file = KeyFile::beside(database);
    if let Some(known) = known(writer.turn().await.conn()).await? {
        return file.load(&known);
    }
    // The lock of the file keeps two processes from making two keys.
    let mut write = writer.begin().await?;
    if let Some(known) = known(&mut write).await? {
        return file.load(&known);
    }
    let key = match file.read()? {
        Some(key) => key,
        None => file.create(random)?,
    };
    let mut proof = [0; 20];
    let mut nonce = [0; 24];
    random(&mut proof).map_err(StoreError::database)?;
    random(&mut nonce).map_err(StoreError::database)?;
    let id = key.id();
    let sealed = key.seal(nonce, &proof_row(&id), &Secret::generate(proof));
    sqlx::query("INSERT INTO tharsis_key (id, sealed) VALUES (?1, ?2)")
        .bind(&id)
        .bind(sealed)
        .execute(&mut *write)
        .await?;
    write.commit().await?;
    Ok(key)
}

/// What the database knows of its key.
struct Known {
    id: String,
    /// Opens with this key alone.
    sealed: Vec<u8>,
}

async fn known(conn: &mut SqliteConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM tharsis_key")
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}

fn proof_row(id: &str) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_key",
        id: id.as_bytes(),
    }
}

struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    fn beside(database: &Path) -> Self {
        Self {
            path: super::beside(database, ".key"),
        }
    }

    /// The key that the database knows.
    fn load(&self, known: &Known) -> Result<SealingKey, StoreError> {
        let key = self.read()?.ok_or_else(|| {
            StoreError::unusable(
                "key_missing",
                format!("the key file {} is missing", self.path.display()),
                "restore it from where it is kept safe; without it the secrets in the database cannot be read",
            )
        })?;
        if key.id() != known.id || key.open(&proof_row(&known.id), &known.sealed).is_err() {
            return Err(self.wrong("holds another key than the one the database was sealed with"));
        }
        Ok(key)
    }

    fn read(&self) -> Result<Option<SealingKey>, StoreError> {
        let text = match fs::read(&self.path) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("cannot be read", &error)),
        };
        self.warn_if_open();
        SealingKey::from_file_text(&text)
            .map(Some)
            .map_err(|error| self.wrong(error.message))
    }

    /// Complete or not there at all: written under another name, flushed, then given its own. The caller holds the
    /// database's lock, so nobody else is at it.
    fn create(&self, random: Random) -> Result<SealingKey, StoreError> {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        random(&mut *bytes).map_err(StoreError::database)?;
        let key = SealingKey::new(*bytes);
        self.write(&key)
            .map_err(|error| self.failed("cannot be written", &error))?;
        info!(key.path = %self.path.display(), "Made the key that secrets are sealed with: keep a copy of it, apart from the database's");
        Ok(key)
    }

    fn write(&self, key: &SealingKey) -> io::Result<()> {
        let unfinished = super::beside(&self.path, ".new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        file.write_all(key.to_file_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        sync_folder(&self.path)
    }

    fn warn_if_open(&self) {
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(&self.path)
            && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
        {
            warn!(key.path = %self.path.display(), "Others than its owner may read the key file: chmod 600 it");
        }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> StoreError {
        StoreError::unusable(
            "key_wrong",
            format!("the key file {} {what}", self.path.display()),
            "restore the file that belongs to this database",
        )
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        StoreError::unusable(
            "key_unreadable",
            format!("the key file {} {what}: {error}", self.path.display()),
            "let this user read and write it",
        )
    }
}

/// A new name is durable only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
