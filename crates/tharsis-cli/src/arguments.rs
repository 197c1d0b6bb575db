//! What can be said on the command line. Each subcommand's own part lies in its file under `commands`.

use std::{borrow::Cow, error::Error, path::PathBuf};

use clap::{
    ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tharsis::Invalid;

use crate::{
    commands,
    output::{Exit, Failure},
};

const ABOUT: &str = "A durable, signed webhook outbox";

const LONG_ABOUT: &str = "\
A durable, signed webhook outbox.

A campaign engine publishes events, an admin registers the URLs that want them, and `tharsis run` delivers each event to \
each of them over HTTPS: signed, retried, never lost. All of it lives in one SQLite file, or in a schema of a PostgreSQL \
database.";

const EXAMPLES: &str = "\
Examples:
  tharsis demo                                      See the whole job done on this machine
  tharsis subscription add --client UUID --name Shop --url https://shop.example/hooks
  tharsis publish events.ndjson                     Put events into the outbox
  tharsis run                                       Deliver until Ctrl-C
  tharsis delivery list --status dead --since 1h    What was not delivered, and why?
  tharsis replay --status dead --since 1h           Send it again
  tharsis tail --failed                             What fails at this moment?
  tharsis why EVENT                                 To whom it went, to whom not, and what holds it
  tharsis doctor                                    Is everything as it should be?

Configuration: flags over THARSIS_* variables (lists separated by commas) over tharsis.toml over defaults.
What allows egress adds up.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage; of `doctor` 1 for warnings, 3 for errors.
With --json every answer is JSON on standard output, an error too:
  {\"error\":{\"code\":…,\"field\":…,\"message\":…,\"hint\":…}}";

/// The description, one line for each option, the examples: the same page for `-h` and `--help`.
const PAGE: &str = "{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const GLOBAL: &str = "Global options";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "tharsis", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES)]
#[command(
    max_term_width = 120,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,

    /// Print this page
    #[arg(long, short, global = true, action = ArgAction::HelpShort, help_heading = GLOBAL)]
    help: Option<bool>,

    /// Print the version
    #[arg(long, short = 'V', action = ArgAction::Version, help_heading = GLOBAL)]
    version: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the command line of the process. What is wrong with it is told here, as are `--help` and `--version`.
    pub(crate) fn read() -> Result<Self, Exit> {
        let parsed = paged(Self::command())
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| {
            // The flag is looked for by hand, for nothing could be parsed.
            let json = std::env::args_os()
                .take_while(|argument| argument != "--")
                .any(|argument| argument == "--json");
            if json && error.use_stderr() {
                return usage(&error).tell(true);
            }
            // Nobody is left to be told that a stream is closed.
            let _ = error.print();
            if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
        })
    }
}

/// What clap tells people in paragraphs, in the parts of an error of ours.
fn usage(error: &clap::Error) -> Failure {
    let said = |kind| {
        Some(match error.get(kind)? {
            ContextValue::String(text) => vec![text.clone()],
            ContextValue::Strings(texts) => texts.clone(),
            ContextValue::StyledStr(text) => vec![text.to_string()],
            ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect(),
            _ => return None,
        })
        .filter(|texts| texts.iter().any(|text| !text.is_empty()))
    };
    let arguments = said(ContextKind::InvalidArg).unwrap_or_default();
    let value = said(ContextKind::InvalidValue).map(|values| values.join(", "));
    let reason = error
        .source()
        .map(|source| source.downcast_ref::<Invalid>());
    let mut hints = Vec::new();
    let message = match (error.kind(), value, reason) {
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, ..) => {
            hints.push("look at --help".to_owned());
            "a subcommand is missing".to_owned()
        }
        (ErrorKind::ValueValidation, Some(value), Some(Some(invalid))) => {
            hints.extend(invalid.hint.clone().map(Cow::into_owned));
            format!("'{value}' {}", invalid.message)
        }
        (ErrorKind::InvalidValue, Some(value), _) => {
            format!("'{value}' is none of the possible values")
        }
        _ => first_sentence(error, &arguments, said(ContextKind::PriorArg)),
    };
    for kind in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
        ContextKind::SuggestedSubcommand,
    ] {
        hints.extend(said(kind).map(|like| format!("did you mean `{}`?", like.join("`, `"))));
    }
    hints.extend(
        said(ContextKind::ValidValue).map(|known| format!("choose one of: {}", known.join(", "))),
    );
    hints.extend(
        said(ContextKind::ValidSubcommand)
            .map(|known| format!("choose one of: {}", known.join(", "))),
    );
    let mut failure = Failure::usage("usage", message);
    if let [argument] = &*arguments {
        // `--status <STATUS>` is the option with its value.
        failure = failure.at(argument.split(' ').next().unwrap_or(argument));
    }
    if hints.is_empty() {
        failure
    } else {
        failure.hint(hints.join(" "))
    }
}

/// The first line of clap's text, completed with what it lists below it.
fn first_sentence(error: &clap::Error, arguments: &[String], prior: Option<Vec<String>>) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("error: ");
    if !line.ends_with(':') {
        return line.to_owned();
    }
    let listed = match (error.kind(), prior) {
        (ErrorKind::ArgumentConflict, Some(prior)) => prior.join(", "),
        _ => arguments.join(", "),
    };
    format!("{line} {listed}")
}

/// Gives the command and all below it one page of help each.
fn paged(command: clap::Command) -> clap::Command {
    let description = command
        .get_long_about()
        .or(command.get_about())
        .cloned()
        .unwrap_or_default();
    command
        .before_help(description)
        .help_template(PAGE)
        .mut_subcommands(paged)
}

/// Flags that every subcommand takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = GLOBAL)]
pub(crate) struct Global {
    /// The database: sqlite://PATH, or postgres://USER@HOST/DATABASE?schema=SCHEMA [env: THARSIS_DATABASE_URL]
    /// [default: sqlite://tharsis.db]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database: Option<String>,

    /// The file of the keys that secrets are sealed with; of an SQLite database it is always PATH.key
    /// [env: THARSIS_KEY_FILE, or the keys themselves in THARSIS_KEYS] [default: tharsis.key]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// The configuration file [env: THARSIS_CONFIG] [default: tharsis.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What to log to standard error: error, warn, info, debug, trace, or a filter such as tharsis_dispatch=debug
    /// [env: THARSIS_LOG] [default: warn]
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// How to log [env: THARSIS_LOG_FORMAT] [default: human]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// Allow addresses that are not public, such as 127.0.0.0/8; may be given several times
    /// [env: THARSIS_EGRESS_ALLOW_ADDRESSES]
    #[arg(long, global = true, value_name = "RANGE", action = ArgAction::Append)]
    pub(crate) egress_allow_address: Vec<String>,

    /// Allow a special host name, such as localhost; may be given several times
    /// [env: THARSIS_EGRESS_ALLOW_HOSTS]
    #[arg(long, global = true, value_name = "HOST", action = ArgAction::Append)]
    pub(crate) egress_allow_host: Vec<String>,

    /// Allow a port beside 443 and 8443; may be given several times
    /// [env: THARSIS_EGRESS_ALLOW_PORTS]
    #[arg(long, global = true, value_name = "PORT", action = ArgAction::Append)]
    pub(crate) egress_allow_port: Vec<u16>,

    /// Trust the certificates in this PEM file beside the system's roots [env: THARSIS_EGRESS_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) egress_ca_file: Option<PathBuf>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Human,
    /// One JSON document a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(commands::demo::Options),
    #[command(subcommand)]
    Subscription(Box<commands::subscription::Command>),
    Publish(commands::publish::Options),
    Run(commands::run::Options),
    Serve(commands::serve::Options),
    #[command(subcommand)]
    Worker(commands::worker::Command),
    #[command(subcommand)]
    Event(commands::event::Command),
    Why(commands::why::Options),
    #[command(subcommand)]
    EventType(commands::event_type::Command),
    #[command(subcommand)]
    Delivery(commands::delivery::Command),
    Tail(commands::tail::Options),
    #[command(subcommand)]
    Campaign(commands::campaign::Command),
    #[command(subcommand)]
    Outcome(commands::outcome::Command),
    #[command(subcommand)]
    Alert(commands::alert::Command),
    #[command(subcommand)]
    Audit(commands::audit::Command),
    Replay(commands::replay::Options),
    Prune(commands::prune::Options),
    Erase(commands::erase::Options),
    #[command(subcommand)]
    Egress(commands::egress::Command),
    Migrate(commands::migrate::Options),
    #[command(subcommand)]
    Key(commands::key::Command),
    #[command(subcommand)]
    Token(commands::token::Command),
    Doctor(commands::doctor::Options),
    Listen(commands::listen::Options),
    Verify(commands::verify::Options),
}
