use clap::Args;
use tharsis::{
    CheckMethod, DeliveryId, EventId, Registry, dispatch,
    egress::Policy,
    subscription::{Draft, Settings},
    system_now,
};

use super::{Check, Which, draft::DraftOptions, refused, show::show};
use crate::{
    commands::{Context, random},
    output::{Exit, Failure, text::inert},
};

/// Change its settings; what is not given stays
///
/// A new URL is checked as on `add`, and with --check the present one; if that fails nothing is changed. Credentials and
/// headers are given anew all together: those that are given replace all that were there.
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

    /// How the URL proves that it is there, now, be it new or not [default for a new one: the profile's]
    #[arg(long, value_name = "METHOD", value_enum)]
    check: Option<Check>,
}

pub(super) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let (output, id) = (context.output, options.which.id);
    let emitter = context.open().await?;
    let registry = emitter.registry();
    let present = registry.find(id).await?.settings;
    let configuration = &context.configuration;
    let new_url = options.draft.url.is_some();
    let policy = policy(&configuration.egress, &present, new_url);
    let headers = match options.no_headers {
        true => Some(Vec::new()),
        false => options.draft.headers()?,
    };
    let mut draft = Draft::from(&present);
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
    let is_asked_for = options.check.is_some();
    let method = CheckMethod::of(&present.profile, options.check.map(Into::into))?;
    let draft = options.draft.over(draft);
    let settings = draft.settings(&policy, &configuration.profiles)?;
    if let Some(headers) = &headers {
        settings.accepts_headers(headers)?;
    }
    if is_asked_for || settings.url != present.url {
        let mut credentials = registry.credentials(id).await?;
        if let Some(headers) = &headers {
            credentials.headers.clone_from(headers);
        }
        let now = system_now();
        let test = DeliveryId {
            event: EventId::new(now, random()?),
            subscription: id,
        };
        let checked = output
            .progress()
            .during(
                dispatch::check(
                    emitter.client()?,
                    &settings,
                    &credentials,
                    method,
                    test,
                    now,
                ),
                || format!("Checking {}", inert(settings.url.given())),
            )
            .await;
        if let Err(error) = checked {
            return Err(refused(&emitter, &settings, error.into()).await);
        }
    }
    let subscription = registry
        .set(id, &settings, headers.as_deref(), system_now())
        .await?;
    show(context, &subscription)
}

/// What a new URL is judged by. The present one was judged when it was registered, and is judged anew at each connection.
fn policy(configured: &Policy, present: &Settings, new_url: bool) -> Policy {
    let mut policy = configured.clone();
    if !new_url {
        policy.allow_hosts.push(present.url.host().to_owned());
        policy.allow_ports.push(present.url.port());
    }
    policy
}
