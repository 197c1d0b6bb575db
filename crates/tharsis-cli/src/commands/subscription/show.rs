use clap::Args;
use serde::Serialize;
use tharsis::{Registry, store::DeliveryFilter, subscription::Subscription, system_now};

use super::{Which, for_people};
use crate::{
    commands::{Context, documents::SubscriptionDocument},
    output::{Exit, Failure, fields, text::moment},
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

/// Of so many deliveries, the newest, it is looked up when they were attempted last.
const LOOKED_AT: u32 = 100;

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        subscription: SubscriptionDocument<'a>,
        /// When the last of its newest deliveries was attempted; null where none was.
        last_attempt_at: Option<String>,
    }

    let (output, emitter) = (context.output, context.open().await?);
    let subscription = emitter.registry().find(options.which.id).await?;
    let mut filter = DeliveryFilter::default();
    filter.subscription = vec![subscription.id];
    let newest = (emitter.registry())
        .deliveries(&filter, None, LOOKED_AT)
        .await?;
    let last_at = newest
        .items
        .iter()
        .filter_map(|delivery| delivery.last_at)
        .max();
    if output.json {
        output.document(&Document {
            subscription: SubscriptionDocument::from(&subscription),
            last_attempt_at: last_at.map(|at| at.to_string()),
        })?;
        return Ok(Exit::Done);
    }
    let now = system_now();
    let last = last_at.map_or("none of late".to_owned(), |at| moment(at, now));
    let rows = for_people(&subscription, now);
    let last = ["last attempt".to_owned(), last];
    output.line(fields(rows.into_iter().chain([last])).trim_end())?;
    Ok(Exit::Done)
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
            .line(fields(for_people(subscription, system_now())).trim_end())?;
    }
    Ok(Exit::Done)
}
