use clap::{Args, ValueEnum};
use tharsis::{Registry, subscription::Held};

use super::{Which, show::show};
use crate::{
    commands::{Context, by},
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
///
/// A receiver that did not answer well when it was last heard of is sent one delivery first.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis subscription resume 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42
  tharsis subscription resume 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --held latest")]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,

    /// What goes out of what was held; the rest ends `cancelled` first, and a replay brings it back
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Kept::All)]
    held: Kept,
}

/// What goes out of what was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kept {
    /// All of it
    All,
    /// The latest for each recipient, and what is for nobody in particular
    Latest,
    /// Nothing
    None,
}

impl From<Kept> for Held {
    fn from(held: Kept) -> Self {
        match held {
            Kept::All => Self::All,
            Kept::Latest => Self::Latest,
            Kept::None => Self::None,
        }
    }
}

pub(super) async fn pause(context: &Context, options: &Pause) -> Result<Exit, Failure> {
    let subscription = context
        .open()
        .await?
        .registry()
        .pause(options.which.id, by())
        .await?;
    show(context, &subscription)
}

pub(super) async fn resume(context: &Context, options: &Resume) -> Result<Exit, Failure> {
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let held = options.held.into();
    let subscription = registry.resume(options.which.id, held, by()).await?;
    show(context, &subscription)?;
    if held != Held::All {
        let owner = if registry.owned().await? {
            "first what is not to go out is ended"
        } else {
            "what is not to go out is ended when `tharsis run` is started"
        };
        context
            .output
            .note(format_args!("It is held until then: {owner}."));
    }
    Ok(Exit::Done)
}
