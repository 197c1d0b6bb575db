//! One file for each subcommand: its `Options`, and `run`.

pub(crate) mod alert;
pub(crate) mod audit;
pub(crate) mod campaign;
pub(crate) mod delivery;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod egress;
pub(crate) mod erase;
pub(crate) mod event;
pub(crate) mod event_type;
pub(crate) mod filter;
pub(crate) mod key;
mod lines;
pub(crate) mod listen;
pub(crate) mod migrate;
mod observe;
pub(crate) mod outcome;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod run;
mod search;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod subscription;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod why;
pub(crate) mod worker;

pub(crate) use tharsis::random;
pub(crate) use tharsis_admin::documents;

use std::sync::{Arc, LazyLock};

use tharsis::{
    Emitter,
    dispatch::{Client, ClientOptions},
    profile::Profile,
    store::By,
    system_now,
};

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
    /// Opens the configured outbox, which must be there: a command that only looks or changes makes none.
    pub(crate) async fn open(&self) -> Result<Emitter, Failure> {
        self.open_with(tharsis::Options {
            must_exist: true,
            ..self.options()
        })
        .await
    }

    /// The same, without the key that secrets are sealed with: for what has nothing to do with a subscription.
    pub(crate) async fn open_without_key(&self) -> Result<Emitter, Failure> {
        self.open_with(tharsis::Options {
            must_exist: true,
            ..self.options_without_key()
        })
        .await
    }

    /// Opens the configured outbox; an SQLite file that is not there is made.
    pub(crate) async fn open_or_create(&self) -> Result<Emitter, Failure> {
        self.open_with(self.options()).await
    }

    /// Opens the configured outbox with these options.
    pub(crate) async fn open_with(&self, options: tharsis::Options) -> Result<Emitter, Failure> {
        let database = &self.configuration.database;
        let emitter = Emitter::open(database.expose(), options)
            .await
            .map_err(not_opened)?;
        if emitter.switched_to_wal() {
            self.output.note(format_args!(
                "Note: the database {} was switched to write-ahead logging, and stays so: while it is open, files ending in -wal and -shm lie beside it.",
                inert(&database.to_string())
            ));
        }
        Ok(emitter)
    }

    /// A client as the configuration wants it, without an outbox.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&ClientOptions {
            egress: self.configuration.egress.clone(),
            ca_file: self.configuration.ca_file.clone(),
            source_addresses: self.configuration.source_addresses.clone(),
            proxy: self.configuration.proxy.clone(),
            metrics: Arc::clone(&self.configuration.engine.metrics),
        })
        .map_err(tharsis::Error::from)?)
    }

    /// The profile of this name, as a flag gave it.
    pub(crate) fn profile(&self, name: &str) -> Result<Arc<Profile>, Failure> {
        let profile = self.configuration.profiles.named(name);
        profile.map_err(|invalid| Failure::from(invalid).at("--profile").into_usage())
    }

    /// What the outbox is opened with where no key is needed. An SQLite file is never opened without.
    pub(crate) fn options_without_key(&self) -> tharsis::Options {
        let is_file = self.configuration.database.is_file();
        let options = self.options();
        tharsis::Options {
            key_file: None,
            keys: options.keys.filter(|_| is_file),
            ..options
        }
    }

    /// What the outbox is opened with.
    pub(crate) fn options(&self) -> tharsis::Options {
        let Configuration {
            egress,
            ca_file,
            source_addresses,
            proxy,
            key_file,
            keys,
            lease,
            engine,
            profiles,
            ..
        } = &self.configuration;
        tharsis::Options {
            egress: egress.clone(),
            ca_file: ca_file.clone(),
            source_addresses: source_addresses.clone(),
            proxy: proxy.clone(),
            key_file: Some(key_file.clone()),
            keys: keys.clone(),
            lease: *lease,
            engine: engine.clone(),
            profiles: profiles.clone(),
            ..tharsis::Options::default()
        }
    }
}

/// Who works here, for the audit: as the system names them.
fn by() -> By<'static> {
    static ACTOR: LazyLock<String> = LazyLock::new(|| {
        let name = ["LOGNAME", "USER", "USERNAME"]
            .into_iter()
            .find_map(|variable| std::env::var(variable).ok());
        format!("cli {}", name.as_deref().unwrap_or("somebody"))
    });
    By::new(&ACTOR, system_now())
}

/// A URL or a lease that is none is wrong usage, wherever it was written.
fn not_opened(error: tharsis::Error) -> Failure {
    let is_usage = matches!(&error, tharsis::Error::Invalid(invalid) if invalid.field.is_some());
    let failure = Failure::from(error);
    if is_usage {
        failure.into_usage()
    } else {
        failure
    }
}

/// Does what the command line asks for.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(options) => demo::run(context, options).await,
        Command::Subscription(command) => subscription::run(context, *command).await,
        Command::Publish(options) => publish::run(context, options).await,
        Command::Run(options) => run::run(context, options).await,
        Command::Serve(options) => serve::run(context, &options).await,
        Command::Worker(command) => worker::run(context, &command).await,
        Command::Event(command) => event::run(context, command).await,
        Command::Why(options) => why::run(context, &options).await,
        Command::EventType(command) => event_type::run(context, &command),
        Command::Outcome(command) => outcome::run(context, &command),
        Command::Delivery(command) => delivery::run(context, command).await,
        Command::Tail(options) => tail::run(context, &options).await,
        Command::Audit(command) => audit::run(context, &command).await,
        Command::Alert(command) => alert::run(context, &command).await,
        Command::Campaign(command) => campaign::run(context, command).await,
        Command::Replay(options) => replay::run(context, options).await,
        Command::Prune(options) => prune::run(context, &options).await,
        Command::Erase(options) => erase::run(context, &options).await,
        Command::Egress(command) => egress::run(context, &command),
        Command::Key(command) => key::run(context, &command).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Migrate(options) => migrate::run(context, &options).await,
        Command::Doctor(options) => doctor::run(context, &options).await,
        Command::Listen(options) => listen::run(context, options).await,
        Command::Verify(options) => verify::run(context, &options),
    }
}
