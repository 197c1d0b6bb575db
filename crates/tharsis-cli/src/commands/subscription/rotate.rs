use std::time::Duration;

use clap::Args;
use tharsis::{Registry, parse_duration};
use tharsis_admin::registering;

use super::{Which, add};
use crate::{
    commands::{
        Context, by,
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
    let present = registry.find(options.which.id).await?;
    let profile = &present.settings.profile;
    let chosen = (options.secret).choose(profile, &options.insisting)?;
    let subscription =
        registering::rotate(registry, &present, &chosen, options.overlap, by()).await?;
    add::tell(context.output, &subscription, &chosen, "was changed")?;
    Ok(Exit::Done)
}
