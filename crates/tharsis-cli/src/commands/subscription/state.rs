use clap::Args;
use tharsis::{Registry, system_now};

use super::{Which, show::show};
use crate::{
    commands::Context,
    output::{Exit, Failure},
};

/// Hold its deliveries: they are kept, not lost
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis subscription pause 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Let held deliveries go, also after it was suspended
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis subscription resume 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn pause(context: &Context, options: &Pause) -> Result<Exit, Failure> {
    let subscription = context
        .open()
        .await?
        .registry()
        .pause(options.which.id, system_now())
        .await?;
    show(context, &subscription)
}

pub(super) async fn resume(context: &Context, options: &Resume) -> Result<Exit, Failure> {
    let subscription = context
        .open()
        .await?
        .registry()
        .resume(options.which.id, system_now())
        .await?;
    show(context, &subscription)
}
