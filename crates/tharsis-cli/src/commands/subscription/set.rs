use clap::Args;
use tharsis::{
    CheckMethod, DeliveryId, EventId, Registry, dispatch,
    egress::Policy,
    store::Anew,
    subscription::{Credentials, Draft, Settings},
    system_now,
};

use super::{
    Check, Which, add, add::knows_secret, audit_weakness, draft::DraftOptions, refused, show::show,
};
use crate::{
    commands::{
        Context, by, random,
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
    let moves = settings.url.host() != present.url.host();
    let is_given = options.secret.is_given() || options.insisting.accept_weak_secret;
    if !moves && is_given {
        return Err(Failure::usage(
            "same_host",
            "its URL stays on its host, and so does its secret",
        )
        .at("secret")
        .hint(format!(
            "replace the secret alone: tharsis subscription rotate {id}"
        )));
    }
    let chosen = match moves {
        true => {
            knows_secret(method, options.secret.generates(&settings.profile))?;
            let chosen = (options.secret).choose(&settings.profile, &options.insisting)?;
            settings.accepts(chosen.secret.as_ref())?;
            Some(chosen)
        }
        false => None,
    };
    if let Some(headers) = &headers {
        settings.accepts_headers(headers)?;
    }
    if is_asked_for || settings.url != present.url {
        let mut credentials = match &chosen {
            // What is another host's is not sent to this one.
            Some(chosen) => Credentials {
                secret: chosen.secret.clone(),
                ..Credentials::default()
            },
            None => registry.credentials(id).await?,
        };
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
    let Some(chosen) = chosen else {
        let anew = Anew {
            secret: None,
            headers: headers.as_deref(),
        };
        let subscription = registry.set(id, &settings, anew, by()).await?;
        return show(context, &subscription);
    };
    audit_weakness(&emitter, &chosen, id.to_string(), settings.client).await?;
    let anew = Anew {
        secret: Some(chosen.secret.as_ref()),
        headers: headers.as_deref(),
    };
    let subscription = registry.set(id, &settings, anew, by()).await?;
    add::tell(output, &subscription, &chosen, "was changed")?;
    output.note(format_args!(
        "It leads to {} now. What {} was told is sent there no more: its secret{}.",
        inert(settings.url.host()),
        inert(present.url.host()),
        if headers.is_none() {
            ", and headers of its own"
        } else {
            ""
        },
    ));
    Ok(Exit::Done)
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
