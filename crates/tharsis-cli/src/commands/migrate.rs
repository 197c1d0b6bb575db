//! `tharsis migrate`: bring the database up to this version.

use std::path::{Path, PathBuf, absolute};

use clap::Args;
use serde::Serialize;
use tharsis::Emitter;

use super::{Context, not_opened};
use crate::output::{Exit, Failure, text::inert};

/// Bring the database's schema up to this version
///
/// On PostgreSQL this is a step of its own, done by the role that owns the schema, before the first start and before that
/// of each newer version; the schema is created if it is not there, and so is the key file if the database knows no key
/// yet. An SQLite file is migrated whenever it is opened. Doing it again is harmless, also where the key file is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis migrate
  tharsis migrate --database 'postgres://owner@db.internal/shop?schema=tharsis' \\
      --key-file /etc/tharsis/tharsis.key")]
pub(crate) struct Options {}

pub(crate) async fn run(context: &Context, _: &Options) -> Result<Exit, Failure> {
    let (output, database) = (context.output, &context.configuration.database);
    let options = context.options();
    let key_file = || Emitter::key_file(database.expose(), &options);
    let was_there = key_file().is_some_and(|file| file.exists());
    let applied = Emitter::migrate(database.expose(), &options)
        .await
        .map_err(not_opened)?;
    let key_file = key_file().map(|file| KeyFile::now(&file, was_there));
    if output.json {
        #[derive(Serialize)]
        struct Document {
            /// Empty where there was nothing to do.
            applied: Vec<String>,
            key_file: Option<KeyFile>,
        }
        output.document(&Document { applied, key_file })?;
        return Ok(Exit::Done);
    }
    let shown = database.to_string();
    if applied.is_empty() {
        output.line(format_args!("{} is up to date.", inert(&shown)))?;
    }
    for name in &applied {
        output.line(format_args!(
            "Applied the migration `{}` to {}.",
            inert(name),
            inert(&shown)
        ))?;
    }
    if let Some(key_file) = key_file {
        output.line(key_file.for_people())?;
    }
    Ok(Exit::Done)
}

/// Where the key is that secrets are sealed with.
#[derive(Debug, Serialize)]
struct KeyFile {
    path: String,
    state: KeyState,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum KeyState {
    /// Just now.
    Made,
    There,
    /// The database knows its key, and the file is elsewhere.
    Missing,
}

impl KeyFile {
    fn now(file: &Path, was_there: bool) -> Self {
        let state = match (file.exists(), was_there) {
            (true, false) => KeyState::Made,
            (true, true) => KeyState::There,
            (false, _) => KeyState::Missing,
        };
        let path = absolute(file).unwrap_or_else(|_| PathBuf::from(file));
        Self {
            path: path.display().to_string(),
            state,
        }
    }

    fn for_people(&self) -> String {
        let path = inert(&self.path);
        match self.state {
            KeyState::Made => {
                format!("Made the key file {path}: keep a copy of it, apart from the database's.")
            }
            KeyState::There => format!("The key file is {path}."),
            KeyState::Missing => format!(
                "The key file {path} is not there, and the database knows its key: copy it here before anything delivers or administers from here."
            ),
        }
    }
}
