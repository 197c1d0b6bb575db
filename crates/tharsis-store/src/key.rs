//! The key that secrets are sealed with: in a file of its own, known to the database by its id.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use tharsis_core::secret::{SealingKey, Secret, SecretRow};
use tracing::{info, warn};

use crate::{
    Random, StoreError,
    failpoint::{Failpoint, reached},
};

/// What the database knows of its key.
pub(crate) struct Known {
    pub(crate) id: String,
    /// Opens with this key alone.
    pub(crate) sealed: Vec<u8>,
}

impl Known {
    /// What a database is to know of this key.
    pub(crate) fn of(key: &SealingKey, random: Random) -> Result<Self, StoreError> {
        let mut proof = [0; 20];
        let mut nonce = [0; 24];
        random(&mut proof).map_err(StoreError::database)?;
        random(&mut nonce).map_err(StoreError::database)?;
        let id = key.id();
        let sealed = key.seal(nonce, &proof_row(&id), &Secret::generate(proof));
        Ok(Self { id, sealed })
    }
}

fn proof_row(id: &str) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_key",
        id: id.as_bytes(),
    }
}

/// The file that holds it.
pub(crate) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The key that the database knows.
    pub(crate) fn load(&self, known: &Known) -> Result<SealingKey, StoreError> {
        self.find(known)?.ok_or_else(|| {
            StoreError::unusable(
                "key_missing",
                format!("the key file {} is missing", self.path.display()),
                "restore it from where it is kept safe; without it the secrets in the database cannot be read",
            )
        })
    }

    /// The same, if the file is there.
    pub(crate) fn find(&self, known: &Known) -> Result<Option<SealingKey>, StoreError> {
        let Some(key) = self.read()? else {
            return Ok(None);
        };
        if key.id() != known.id || key.open(&proof_row(&known.id), &known.sealed).is_err() {
            return Err(self.wrong("holds another key than the one the database was sealed with"));
        }
        Ok(Some(key))
    }

    /// The first key of a database: what was put there before, or a new one. The caller holds a lock of the database's, so
    /// nobody else is at it.
    pub(crate) fn read_or_create(&self, random: Random) -> Result<SealingKey, StoreError> {
        match self.read()? {
            Some(key) => Ok(key),
            None => self.create(random),
        }
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

    /// Complete or not there at all: written under another name, flushed, then given its own.
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
        let unfinished = self.path.with_added_extension("new");
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
        reached(Failpoint::KeyWritten);
        fs::rename(&unfinished, &self.path)?;
        sync_folder(&self.path)?;
        reached(Failpoint::KeyMade);
        Ok(())
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
        // That of a bare name is here.
        let here = folder.as_os_str().is_empty();
        File::open(if here { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(())
}
