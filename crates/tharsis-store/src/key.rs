//! The keys that secrets are sealed with: in a file of their own, or given; known to the database by their ids.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde_json::json;
use tharsis_core::{
    Timestamp,
    secret::{Keyring, SealingKey, Secret, SecretRow},
};
use tracing::{info, warn};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    Deed, Random, StoreError,
    failpoint::{Failpoint, reached},
    subscription::{header_id, header_row, secret_row},
};

/// A key that secrets are sealed with, or were, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Names it without giving it away: 16 hex digits.
    pub id: String,
    /// What it is for.
    pub state: KeyState,
    /// Since when the database knows it.
    pub since: Option<Timestamp>,
    /// When another one took its place.
    pub retired_at: Option<Timestamp>,
    /// Secrets, former ones and values of headers that are sealed with it.
    pub values: u64,
    /// Whether it is among the keys that this process has.
    pub is_here: bool,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It seals what is written now.
    Sealing,
    /// Another one took its place; it opens what it sealed.
    Retired,
    /// It is here, and the database does not know it yet: the next rotation takes it.
    Prepared,
    /// The database was made to forget it.
    Forgotten,
}

impl KeyState {
    /// The word for it in JSON and the CLI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealing => "sealing",
            Self::Retired => "retired",
            Self::Prepared => "prepared",
            Self::Forgotten => "forgotten",
        }
    }
}

/// What a rotation of the key did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRotated {
    /// The key that seals now.
    pub key: String,
    /// The key whose place it took; `None` where this went on with a rotation that was cut short.
    pub former: Option<String>,
    /// Whether the key was made for it, and added to the key file.
    pub is_made: bool,
    /// Secrets, former ones and values of headers that were sealed anew.
    pub values: u64,
    /// Those that open with no key that is here. They are left as they are.
    pub unreadable: u64,
}

impl KeyRotated {
    /// The word for what was done, and what of it the audit keeps.
    pub(crate) fn deed(&self) -> Deed {
        let detail = json!({ "former": self.former, "made": self.is_made });
        Deed::new("key.rotated", &self.key).with(detail)
    }
}

/// What the database knows of a key.
pub(crate) struct Known {
    pub(crate) id: String,
    /// Opens with this key alone.
    pub(crate) sealed: Vec<u8>,
}

impl Known {
    /// What a database is to know of this key.
    pub(crate) fn of(key: &SealingKey, random: Random) -> Result<Self, StoreError> {
        let mut proof = [0; 20];
        random(&mut proof).map_err(StoreError::database)?;
        let id = key.id();
        let sealed = key.seal(nonce(random)?, &proof_row(&id), &Secret::generate(proof));
        Ok(Self { id, sealed })
    }
}

/// A database without a key, where one is needed.
pub(crate) fn not_known() -> StoreError {
    StoreError::unusable(
        "key_missing",
        "the database knows no key that secrets are sealed with",
        "make it with `tharsis migrate`, naming the key file",
    )
}

/// The word for a first key in the audit.
pub(crate) const MADE: &str = "key.made";

/// A database that seals with a key is not given a first one.
pub(crate) fn known_already(id: &str) -> StoreError {
    StoreError::unusable(
        "key_known",
        format!("the database seals with a key already, {id}"),
        "restore the key where it is lost; have another one take its place with `tharsis key rotate`",
    )
}

fn proof_row(id: &str) -> SecretRow<'_> {
    SecretRow {
        table: "tharsis_key",
        id: id.as_bytes(),
    }
}

/// What no two values are sealed with.
pub(crate) fn nonce(random: Random) -> Result<[u8; 24], StoreError> {
    let mut nonce = [0; 24];
    random(&mut nonce).map_err(StoreError::database)?;
    Ok(nonce)
}

/// A value as it lies in its row, and the id of the key that it is sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) key: String,
    pub(crate) bytes: Vec<u8>,
}

/// A key as its row tells of it: its id, since when, and until when.
pub(crate) type KeyRow = (String, Timestamp, Option<Timestamp>);

/// All keys that there are: of the rows, of what is sealed, and of this process.
pub(crate) fn records(
    rows: Vec<KeyRow>,
    values: &[(String, u64)],
    here: Option<&Keyring>,
) -> Vec<KeyRecord> {
    let mut records: Vec<KeyRecord> = Vec::new();
    for (id, since, retired_at) in rows {
        records.push(KeyRecord {
            state: match retired_at {
                None => KeyState::Sealing,
                Some(_) => KeyState::Retired,
            },
            since: Some(since),
            retired_at,
            ..KeyRecord::of(id)
        });
    }
    for id in here.into_iter().flat_map(Keyring::iter).map(SealingKey::id) {
        let known = records.iter_mut().find(|record| record.id == id);
        match known {
            Some(record) => record.is_here = true,
            None => records.push(KeyRecord {
                is_here: true,
                ..KeyRecord::of(id)
            }),
        }
    }
    for (id, values) in values {
        let known = records.iter_mut().find(|record| record.id == *id);
        match known {
            Some(record) => record.values = *values,
            None => records.push(KeyRecord {
                values: *values,
                ..KeyRecord::of(id.clone())
            }),
        }
    }
    for record in &mut records {
        if record.since.is_none() && record.values > 0 {
            record.state = KeyState::Forgotten;
        }
    }
    records
}

impl KeyRecord {
    /// One that the database does not know.
    fn of(id: String) -> Self {
        Self {
            id,
            state: KeyState::Prepared,
            since: None,
            retired_at: None,
            values: 0,
            is_here: false,
        }
    }
}

/// A value that is to be sealed with another key.
pub(crate) struct Value {
    pub(crate) place: Place,
    pub(crate) seq: i64,
    pub(crate) subscription: Uuid,
    /// Of a header.
    pub(crate) name: String,
    pub(crate) sealed: Sealed,
}

/// Which table it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Secret,
    Retiring,
    Header,
}

impl Place {
    /// As statements write it.
    pub(crate) fn parse(number: i64) -> Self {
        match number {
            0 => Self::Secret,
            1 => Self::Retiring,
            _ => Self::Header,
        }
    }
}

impl Value {
    /// The same, sealed with this key; `None` where no key that is here opens it.
    pub(crate) fn resealed(
        &self,
        ring: &Ring,
        key: &SealingKey,
        random: Random,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let header = header_id(&self.subscription, &self.name);
        let row = match self.place {
            Place::Secret | Place::Retiring => secret_row(&self.subscription),
            Place::Header => header_row(&header),
        };
        let Some(opened) = ring.open(&self.sealed, &row) else {
            return Ok(None);
        };
        Ok(Some(key.seal(nonce(random)?, &row, &opened)))
    }
}

/// What one step of sealing anew did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Resealed {
    pub(crate) values: u64,
    pub(crate) unreadable: u64,
}

impl Resealed {
    pub(crate) fn add(&mut self, other: Self) {
        self.values += other.values;
        self.unreadable += other.unreadable;
    }
}

/// Subscriptions of one step.
pub(crate) const CHUNK: u32 = 100;

/// Where the keys of a process come from.
enum Source {
    File(KeyFile),
    /// They were handed over, and stay what they are.
    Given,
}

/// The keys of this process. It looks into the file again when it meets one that it has not.
pub(crate) struct Ring {
    source: Source,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    keys: Option<Arc<Keyring>>,
    /// How the file looked when it was read.
    of: Option<Look>,
}

impl Ring {
    /// Of the keys that were handed over, else of those in this file. Nothing is read yet.
    pub(crate) fn new(given: Option<Keyring>, file: PathBuf) -> Self {
        let source = match given {
            Some(_) => Source::Given,
            None => Source::File(KeyFile { path: file }),
        };
        let loaded = Loaded {
            keys: given.map(Arc::new),
            of: None,
        };
        Self {
            source,
            loaded: Mutex::new(loaded),
        }
    }

    /// Reads the keys, among which the one that the database seals with must be.
    pub(crate) fn load(&self, sealing: &Known) -> Result<(), StoreError> {
        if self.is_there(sealing)? {
            return Ok(());
        }
        Err(StoreError::unusable(
            "key_missing",
            format!("{} is missing", self.name()),
            "restore it from where it is kept safe; without it the secrets in the database cannot be read",
        ))
    }

    /// The same, if the keys are there.
    pub(crate) fn is_there(&self, sealing: &Known) -> Result<bool, StoreError> {
        let Some(keys) = self.keys()? else {
            return Ok(false);
        };
        let key = keys.find(&sealing.id);
        if key.is_some_and(|key| key.open(&proof_row(&sealing.id), &sealing.sealed).is_ok()) {
            return Ok(true);
        }
        Err(self.wrong(format_args!(
            "does not hold the key that the database seals with, {}",
            sealing.id
        )))
    }

    /// The first key of a database: the newest of those that were put there before, or a new one. The caller holds a lock
    /// of the database's.
    pub(crate) fn first(&self, random: Random) -> Result<SealingKey, StoreError> {
        if let Some(keys) = self.keys()?
            && let Some(key) = keys.iter().next_back()
        {
            return Ok(key.clone());
        }
        self.make(random)
    }

    /// The first key of a database, in a file that is not there yet.
    pub(crate) fn init(&self, random: Random) -> Result<SealingKey, StoreError> {
        if self.keys()?.is_some() {
            return Err(StoreError::unusable(
                "key_file_exists",
                format!("{} is there already", self.name()),
                "it is taken when the database is migrated; name another file for another key",
            ));
        }
        self.make(random)
    }

    /// The newest key that is here, unless it is among these. One that stands before them was never meant to follow them.
    pub(crate) fn beside(&self, known: &[String]) -> Result<Option<SealingKey>, StoreError> {
        let keys = self.keys()?;
        let newest = keys.iter().flat_map(|keys| keys.iter()).next_back();
        Ok(newest.filter(|key| !known.contains(&key.id())).cloned())
    }

    /// Makes a key and adds it to the file, whose other keys stay there.
    pub(crate) fn make(&self, random: Random) -> Result<SealingKey, StoreError> {
        let Source::File(file) = &self.source else {
            return Err(StoreError::unusable(
                "key_not_prepared",
                "all keys that were given are known to the database already",
                "make one with `tharsis key rotate --prepare --print`, give it to every process beside the others, then rotate",
            ));
        };
        file.add(random)
    }

    /// The key of this id.
    pub(crate) fn find(&self, id: &str) -> Option<SealingKey> {
        let of = |keys: Option<Arc<Keyring>>| keys.and_then(|keys| keys.find(id).cloned());
        let loaded = self.loaded().keys.clone();
        of(loaded).or_else(|| match self.keys() {
            Ok(keys) => of(keys),
            Err(error) => {
                warn!(%error, key.id = id, "A key is missing here, and was not found");
                None
            }
        })
    }

    /// The key that the database seals with.
    pub(crate) fn sealing(&self, id: &str) -> Result<SealingKey, StoreError> {
        self.find(id).ok_or_else(|| {
            StoreError::unusable(
                "key_missing",
                format!(
                    "{} does not hold the key that the database seals with, {id}",
                    self.name()
                ),
                "another one took the place of the key that this process has: give it that too",
            )
        })
    }

    /// Opens a value of this row; `None` where it does not.
    pub(crate) fn open(&self, sealed: &Sealed, row: &SecretRow<'_>) -> Option<Secret> {
        self.find(&sealed.key)?.open(row, &sealed.bytes).ok()
    }

    /// All of them as they are now; `None` where the file is not there.
    pub(crate) fn keys(&self) -> Result<Option<Arc<Keyring>>, StoreError> {
        let mut loaded = self.loaded();
        let Source::File(file) = &self.source else {
            return Ok(loaded.keys.clone());
        };
        let now = file.look();
        if now.is_none() || now != loaded.of {
            let Some(keys) = file.read()? else {
                return Ok(None);
            };
            *loaded = Loaded {
                keys: Some(Arc::new(keys)),
                of: now,
            };
        }
        Ok(loaded.keys.clone())
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        match &self.source {
            Source::File(file) => file.name(),
            Source::Given => "the keyring".to_owned(),
        }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> StoreError {
        wrong(&self.name(), what)
    }
}

fn wrong(name: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::unusable(
        "key_wrong",
        format!("{name} {what}"),
        "restore the keys that belong to this database",
    )
}

/// Size and time of a file: it is read again when they are others.
type Look = (u64, Option<SystemTime>);

/// The file that holds them, one in a line.
pub(crate) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    fn look(&self) -> Option<Look> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    }

    fn read(&self) -> Result<Option<Keyring>, StoreError> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        self.warn_if_open();
        Keyring::parse(&text)
            .map(Some)
            .map_err(|error| wrong(&self.name(), error.message))
    }

    fn text(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match fs::read(&self.path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("cannot be read", &error)),
        }
    }

    /// Makes a key and adds it, after those that are there.
    fn add(&self, random: Random) -> Result<SealingKey, StoreError> {
        let failed = |error: io::Error| self.failed("cannot be written", &error);
        let mut bytes = Zeroizing::new([0; 32]);
        random(&mut *bytes).map_err(StoreError::database)?;
        let key = SealingKey::new(*bytes);
        // Of two that add one to the same file, each keeps what the other has added.
        let folder = folder(&fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone()))
            .map_err(failed)?;
        if let Some(folder) = &folder {
            folder.lock().map_err(failed)?;
        }
        let before = self.text()?.unwrap_or_default();
        let line_end: &[u8] = match before.last() {
            None | Some(b'\n') => b"",
            Some(_) => b"\n",
        };
        let added = Zeroizing::new(format!("{} # {}\n", *key.to_hex(), key.id()));
        let text = Zeroizing::new([&before, line_end, added.as_bytes()].concat());
        self.write(&text, folder.as_ref()).map_err(failed)?;
        info!(key.path = %self.path.display(), key.id = key.id(), "Made a key that secrets are sealed with: keep a copy of it, apart from the database's");
        Ok(key)
    }

    /// Complete or as it was before: written under another name, flushed, then given its own. Whoever could read it can read
    /// it still, whoever it is that writes.
    fn write(&self, text: &[u8], folder: Option<&File>) -> io::Result<()> {
        // A link leads to the file that is meant.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let unfinished = path.with_added_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        #[cfg(unix)]
        if let Ok(before) = fs::metadata(&path) {
            use std::os::unix::fs::{MetadataExt as _, fchown};

            let now = file.metadata()?;
            if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        reached(Failpoint::KeyWritten);
        fs::rename(&unfinished, &path)?;
        // A new name is durable only once its folder is.
        folder.map_or(Ok(()), File::sync_all)?;
        reached(Failpoint::KeyMade);
        Ok(())
    }

    fn name(&self) -> String {
        format!("the key file {}", self.path.display())
    }

    fn warn_if_open(&self) {
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(&self.path)
            && std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
        {
            warn!(key.path = %self.path.display(), "Others than its owner may read the key file: chmod 600 it");
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        StoreError::unusable(
            "key_unreadable",
            format!("{} {what}: {error}", self.name()),
            "let this user read and write it",
        )
    }
}

/// The folder that a file is in, opened, where folders can be.
fn folder(path: &Path) -> io::Result<Option<File>> {
    match path.parent() {
        Some(folder) if cfg!(unix) => {
            // That of a bare name is here.
            let here = folder.as_os_str().is_empty();
            File::open(if here { Path::new(".") } else { folder }).map(Some)
        }
        _ => Ok(None),
    }
}
