use clap::Args;
use tharsis::{Registry, subscription::Subscription, system_now};

use super::{Which, for_people};
use crate::{
    commands::{Context, documents::SubscriptionDocument},
    output::{Exit, Failure},
};

/// Show one subscription
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis subscription show 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let subscription = context
        .open()
        .await?
        .registry()
        .find(options.which.id)
        .await?;
    show(context, &subscription)
}

/// Prints a subscription as it is now.
pub(super) fn show(context: &Context, subscription: &Subscription) -> Result<Exit, Failure> {
    if context.output.json {
        context
            .output
            .document(&SubscriptionDocument::from(subscription))?;
    } else {
        context
            .output
            .line(for_people(subscription, system_now()).trim_end())?;
    }
    Ok(Exit::Done)
}
