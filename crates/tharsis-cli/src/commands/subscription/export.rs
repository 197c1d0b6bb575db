use clap::Args;
use tharsis::{ClientId, Registry};

use super::portable::Portable;
use crate::{
    commands::Context,
    output::{Exit, Failure},
};

/// Print subscriptions as newline-delimited JSON, which `import` takes
///
/// What an admin would type for each of them, oldest first. Secrets, credentials and headers of their own are not
/// among it; the whole URL is, and a path may be what lets a sender in.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription export > subscriptions.ndjson
  tharsis subscription export --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 | jq .url")]
pub(crate) struct Options {
    /// Of this client only
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let emitter = context.open().await?;
    for subscription in emitter.registry().list(options.client).await? {
        context
            .output
            .document(&Portable::from(&subscription.settings))?;
    }
    Ok(Exit::Done)
}
