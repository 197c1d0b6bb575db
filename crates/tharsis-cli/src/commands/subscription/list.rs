use clap::Args;
use serde::Serialize;
use tharsis::{ClientId, Registry};

use super::health::short;
use crate::{
    commands::{Context, documents::SubscriptionDocument},
    output::{Exit, Failure, Table},
};

/// List subscriptions, oldest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription list
  tharsis subscription list --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis subscription list --json | jq -r '.subscriptions[] | select(.state != \"active\") | .id'")]
pub(crate) struct Options {
    /// Of this client
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    let subscriptions = context
        .open()
        .await?
        .registry()
        .list(options.client)
        .await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            subscriptions: Vec<SubscriptionDocument<'a>>,
        }
        output.document(&Document {
            subscriptions: subscriptions
                .iter()
                .map(SubscriptionDocument::from)
                .collect(),
        })?;
    } else if subscriptions.is_empty() {
        output.note("There is no subscription. Add one with `tharsis subscription add`.");
    } else {
        let mut table = Table::new(&["subscription", "name", "state", "health", "client", "url"]);
        for subscription in &subscriptions {
            let settings = &subscription.settings;
            let state = match subscription.state.reason() {
                Some(reason) => format!("{}: {reason}", subscription.state),
                None => subscription.state.to_string(),
            };
            table.row([
                subscription.id.to_string(),
                settings.name.clone(),
                state,
                short(&subscription.health),
                settings.client.to_string(),
                settings.url.given().to_owned(),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}
