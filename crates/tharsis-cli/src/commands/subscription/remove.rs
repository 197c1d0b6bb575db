use clap::Args;
use tharsis::Registry;

use super::Which;
use crate::{
    commands::{Context, by, documents::RemovedDocument},
    output::{
        Exit, Failure,
        text::{counted, inert},
    },
};

/// Remove a subscription; its unfinished deliveries end cancelled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription remove 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription remove 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --yes")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let (output, id) = (context.output, options.which.id);
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let subscription = registry.find(id).await?;
    let name = inert(&subscription.settings.name);
    if !options.yes {
        output.can_ask()?;
        let question = format!("Remove `{name}` and cancel what is not delivered to it?");
        if !output.ask(question)? {
            return Err(Failure::new("not_confirmed", "nothing was removed"));
        }
    }
    let removed = registry.remove(id, by()).await?;
    if output.json {
        output.document(&RemovedDocument::of(id, removed))?;
    } else {
        let unfinished = counted(
            removed.unfinished,
            "unfinished delivery",
            "unfinished deliveries",
        );
        output.line(format_args!(
            "Removed `{name}`; {unfinished} will end cancelled."
        ))?;
    }
    Ok(Exit::Done)
}
