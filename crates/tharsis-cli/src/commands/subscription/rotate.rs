use std::time::Duration;

use clap::Args;
use tharsis::{Registry, parse_duration, system_now};

use super::{Which, add, audit_weakness};
use crate::{
    commands::{
        Context,
        secret::{Insisting, SecretOptions},
    },
    output::{Exit, Failure},
};

/// Replace its secret
///
/// Every request from then on is signed with the new one, also retries and replays. With --overlap the former one signs
/// beside it for a while, under profiles whose header carries several signatures (standard, stripe).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription rotate 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription rotate 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --secret-file new.secret
  tharsis subscription rotate 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --overlap 24h")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    /// How long the former secret signs beside the new one [default: not at all]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    overlap: Option<Duration>,

    #[command(flatten)]
    secret: SecretOptions,

    #[command(flatten)]
    insisting: Insisting,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let settings = registry.find(options.which.id).await?.settings;
    let chosen = (options.secret).choose(&settings.profile, &options.insisting)?;
    settings.accepts(chosen.secret.as_ref())?;
    let subject = options.which.id.to_string();
    audit_weakness(&emitter, &chosen, subject, settings.client).await?;
    let now = system_now();
    let until = options.overlap.map(|overlap| now + overlap);
    let subscription = registry
        .rotate(options.which.id, chosen.secret.as_ref(), until, now)
        .await?;
    add::tell(context.output, &subscription, &chosen, "was changed")?;
    Ok(Exit::Done)
}
