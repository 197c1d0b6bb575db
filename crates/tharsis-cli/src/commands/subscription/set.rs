use clap::Args;
use tharsis::{Registry, subscription::Draft};
use tharsis_admin::registering::{Changing, policy, same_host};

use super::{Check, Which, add, add::knows_secret, draft::DraftOptions, show::show};
use crate::{
    commands::{
        Context, by,
        secret::{Insisting, SecretOptions},
    },
    output::{Exit, Failure, text::inert},
};

/// Change its settings; what is not given stays
///
/// A new URL is checked as on `add`, and with --check the present one; if that fails nothing is changed. Credentials and
/// headers are given anew all together: those that are given replace all that were there. Where the URL leads to another
/// host they go, unless they are given anew, and so does the secret: one is generated then, unless one is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis subscription set 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 --name 'Shop production'
  tharsis subscription set 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42 \\
      --url https://new.example/hooks --retry 30s,5m,1h")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    draft: DraftOptions,

    /// All events that the profile knows
    #[arg(long, conflicts_with = "events")]
    all_events: bool,

    /// All events of its types
    #[arg(long, conflicts_with = "filter")]
    no_filter: bool,

    /// All fields of the payload
    #[arg(long, conflicts_with = "fields")]
    all_fields: bool,

    /// Send no `traceparent` any more
    #[arg(long, conflicts_with = "traceparent")]
    no_traceparent: bool,

    /// No headers of its own any more
    #[arg(long, conflicts_with_all = ["basic_user", "bearer_file", "header_files"])]
    no_headers: bool,

    /// What was given with `--set` under this name; may be given several times
    #[arg(long = "unset", value_name = "NAME")]
    unset: Vec<String>,

    #[command(flatten)]
    secret: SecretOptions,

    #[command(flatten)]
    insisting: Insisting,

    /// How the URL proves that it is there, now, be it new or not [default for a new one: the profile's]
    #[arg(long, value_name = "METHOD", value_enum)]
    check: Option<Check>,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let (output, id) = (context.output, options.which.id);
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let present = registry.find(id).await?;
    let configuration = &context.configuration;
    let is_new = options.draft.url.is_some();
    let policy = policy(&configuration.egress, &present.settings, is_new);
    let headers = match options.no_headers {
        true => Some(Vec::new()),
        false => options.draft.headers()?,
    };
    let mut draft = Draft::from(&present.settings);
    if options.all_events {
        draft.events.clear();
    }
    if options.no_filter {
        draft.filter = None;
    }
    draft.traceparent &= !options.no_traceparent;
    if options.all_fields {
        draft.fields.clear();
    }
    for name in &options.unset {
        if draft.profile_settings.remove(name).is_none() {
            return Err(Failure::usage("not_set", format!("{name} is not set"))
                .at("unset")
                .hint(format!("tharsis subscription show {id} says what is")));
        }
    }
    let draft = options.draft.over(draft);
    let settings = draft.settings(&policy, &configuration.profiles)?;
    let profile = settings.profile.clone();
    let headers_go = headers.is_none();
    let asked = options.check.map(Into::into);
    let mut changing = Changing::new(&present, settings, headers, asked)?;
    let is_given = options.secret.is_given() || options.insisting.accept_weak_secret;
    if changing.moves() {
        knows_secret(changing.method(), options.secret.generates(&profile))?;
        let chosen = (options.secret).choose(&profile, &options.insisting)?;
        changing = changing.with_secret(chosen)?;
    } else if is_given {
        let hint = format!("replace the secret alone: tharsis subscription rotate {id}");
        return Err(Failure::from(same_host()).into_usage().hint(hint));
    }
    let doing = match changing.checks() {
        true => format!("Checking {}", inert(changing.settings().url.given())),
        false => "Changing it".to_owned(),
    };
    let subscription = output
        .progress()
        .during(changing.make(&emitter, by()), || doing.clone())
        .await?;
    let Some(chosen) = changing.chosen() else {
        return show(context, &subscription);
    };
    add::tell(output, &subscription, chosen, "was changed")?;
    output.note(format_args!(
        "It leads to {} now. What {} was told is sent there no more: its secret{}.",
        inert(subscription.settings.url.host()),
        inert(present.settings.url.host()),
        if headers_go {
            ", and headers of its own"
        } else {
            ""
        },
    ));
    Ok(Exit::Done)
}
