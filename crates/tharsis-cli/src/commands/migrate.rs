//! `tharsis migrate`: bring the database up to this version.

use clap::Args;
use serde::Serialize;
use tharsis::Emitter;

use super::Context;
use crate::output::{Exit, Failure, text::inert};

/// Bring the database's schema up to this version
///
/// On PostgreSQL this is a step of its own, done by the role that owns the schema, before the first start and before that
/// of each newer version; the schema is created if it is not there. An SQLite file is migrated whenever it is opened.
/// Doing it again is harmless.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis migrate
  tharsis migrate --database 'postgres://owner@db.internal/shop?schema=tharsis'")]
pub(crate) struct Options {}

pub(crate) async fn run(context: &Context, _: &Options) -> Result<Exit, Failure> {
    let (output, database) = (context.output, &context.configuration.database);
    let applied = Emitter::migrate(database.expose(), &context.options()).await?;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            /// Empty where there was nothing to do.
            applied: Vec<String>,
        }
        output.document(&Document { applied })?;
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
    Ok(Exit::Done)
}
