//! One file for each subcommand: its `Options`, and `run`.

pub(crate) mod delivery;
pub(crate) mod demo;
pub(crate) mod documents;
pub(crate) mod event;
pub(crate) mod filter;
pub(crate) mod listen;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod subscription;
pub(crate) mod verify;

use tharsis::{Emitter, EngineOptions, Invalid, profile::Profile};

use crate::{
    arguments::Command,
    configuration::Configuration,
    output::{Exit, Failure, Output, text::inert},
};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) configuration: Configuration,
    pub(crate) output: Output,
}

impl Context {
    /// Opens the configured outbox.
    pub(crate) async fn open(&self) -> Result<Emitter, Failure> {
        self.open_with(self.configuration.engine.clone()).await
    }

    /// Opens the configured outbox, to run an engine with these options.
    pub(crate) async fn open_with(&self, engine: EngineOptions) -> Result<Emitter, Failure> {
        let Configuration {
            database,
            egress,
            ca_file,
            ..
        } = &self.configuration;
        let options = tharsis::Options {
            egress: egress.clone(),
            ca_file: ca_file.clone(),
            engine,
        };
        let emitter = Emitter::open(database, options).await?;
        if emitter.switched_to_wal() {
            self.output.note(format_args!(
                "Note: the database {} was switched to write-ahead logging, and stays so: while it is open, files ending in -wal and -shm lie beside it.",
                inert(database)
            ));
        }
        Ok(emitter)
    }
}

/// Does what the command line asks for.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(options) => demo::run(context, options).await,
        Command::Subscription(command) => subscription::run(context, command).await,
        Command::Publish(options) => publish::run(context, options).await,
        Command::Run(options) => run::run(context, options).await,
        Command::Event(command) => event::run(context, command).await,
        Command::Delivery(command) => delivery::run(context, command).await,
        Command::Replay(options) => replay::run(context, options).await,
        Command::Listen(options) => listen::run(context, options).await,
        Command::Verify(options) => verify::run(context, &options),
    }
}

/// Reads the name of a profile.
fn profile(name: &str) -> Result<&'static Profile, Invalid> {
    Profile::named(name).ok_or_else(|| {
        let known: Vec<_> = Profile::ALL.iter().map(|profile| profile.name).collect();
        Invalid::new("unknown_profile", "there is no such profile")
            .hint(format!("choose one of: {}", known.join(", ")))
    })
}
