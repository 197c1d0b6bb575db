use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use tharsis::subscription::{Draft, header::OwnHeader};

use crate::{commands::secret::line_of, output::Failure};

/// What an admin may say of a subscription. What is not given takes the default on `add`, and stays on `set`.
#[derive(Debug, Default, Args)]
pub(super) struct DraftOptions {
    /// To tell webhooks apart
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Where to POST: HTTPS, a host name, port 443 or 8443
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,

    /// Only events of this type, such as Tharsis' own `subscription.failing`; may be given several times [default: all that the
    /// profile knows, none of Tharsis' own]
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,

    /// Only events that this expression is true of, such as `event.channel == "push"`
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// Only this field of the payload, such as `content.title`; may be given several times [default: all]
    #[arg(long = "field", value_name = "PATH")]
    fields: Vec<String>,

    /// What the profile asks for, such as `panel=Shop`; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,

    /// The content type of its requests [default: the profile's]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// The longest that one request may take [default: the profile's]
    #[arg(long, value_name = "SPAN")]
    timeout: Option<String>,

    /// The delays before retries, as a list or doubled from one length to another (8x5s..1h), or `none`
    /// [default: 5s,1m,10m]
    #[arg(long, value_name = "SPANS")]
    retry: Option<String>,

    /// For how long a delivery may wait for its retries, all of them together, or `none` [default: as long as they take]
    #[arg(long, value_name = "SPAN")]
    retry_window: Option<String>,

    /// Failures in a row that open its breaker: what waits is held and one delivery probes now and then; or `none`
    /// [default: 20]
    #[arg(long, value_name = "N")]
    breaker: Option<String>,

    /// How long its receiver may fail until it is suspended, or `never` [default: 5d]
    #[arg(long, value_name = "SPAN")]
    suspend_after: Option<String>,

    /// Who is told by mail when it fails, beside those of the configuration; may be given several times; or `none`
    /// [default: none]
    #[arg(long = "alert-mail", value_name = "ADDRESS")]
    alert_mail: Vec<String>,

    /// One message for each cause, at most this often [default: 1h]
    #[arg(long, value_name = "SPAN")]
    alert_every: Option<String>,

    /// Requests under way to it at once [default: 8]
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,

    /// Requests that begin a second, minute or hour, such as 10/s, spread evenly, or `none` [default: as many as it takes]
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,

    /// Which of its deliveries go one after the other: none, strict (all of them), recipient (those of one `maraxId`) or
    /// key:PATH (those with the same value there in the payload, such as key:order.id) [default: none]
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,

    /// What becomes of one whose retries are used up while others wait for it: give_up, or hold until it is retried or
    /// cancelled [default: give_up]
    #[arg(long, value_name = "WHAT")]
    on_dead: Option<String>,

    /// The largest body, in bytes [default: the profile's]
    #[arg(long, value_name = "BYTES")]
    payload_limit: Option<usize>,

    /// Deliveries of one request, under a profile that sends several [default: the profile's]
    #[arg(long, value_name = "N")]
    batch_items: Option<u32>,

    /// How long the first of them waits for others [default: the profile's]
    #[arg(long, value_name = "SPAN")]
    linger: Option<String>,

    /// Send `traceparent` along: the trace of a request is its event
    #[arg(long)]
    traceparent: bool,

    #[command(flatten)]
    headers: HeaderOptions,
}

/// Headers of a subscription's own, whose values come from files: others can read the command line.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Credentials (kept sealed and never shown)")]
struct HeaderOptions {
    /// Basic credentials: the user
    #[arg(long, value_name = "USER", requires = "basic_password_file")]
    basic_user: Option<String>,

    /// Basic credentials: the file that holds the password
    #[arg(
        long,
        value_name = "FILE",
        requires = "basic_user",
        conflicts_with = "bearer_file"
    )]
    basic_password_file: Option<PathBuf>,

    /// The file that holds a bearer token
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,

    /// Any other header, and the file that holds its value; may be given several times
    #[arg(long = "header-file", value_name = "NAME=FILE", value_parser = pair)]
    header_files: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("it is written `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl DraftOptions {
    /// The draft with what was given in place of what stands.
    pub(super) fn over(self, present: Draft) -> Draft {
        let either = |given: Vec<String>, present| if given.is_empty() { present } else { given };
        let mut profile_settings: BTreeMap<_, _> = present.profile_settings;
        profile_settings.extend(self.settings);
        // Where none waits for another, nothing is to be said of those that do.
        let is_ordered = self
            .order
            .as_deref()
            .is_none_or(|order| order.trim() != "none");
        Draft {
            client: present.client,
            profile: present.profile,
            name: self.name.unwrap_or(present.name),
            url: self.url.unwrap_or(present.url),
            events: either(self.events, present.events),
            filter: self.filter.or(present.filter),
            fields: either(self.fields, present.fields),
            profile_settings,
            content_type: self.content_type.or(present.content_type),
            timeout: self.timeout.or(present.timeout),
            retry: self.retry.or(present.retry),
            retry_window: self.retry_window.or(present.retry_window),
            breaker: self.breaker.or(present.breaker),
            suspend_after: self.suspend_after.or(present.suspend_after),
            alert_mail: either(self.alert_mail, present.alert_mail),
            alert_every: self.alert_every.or(present.alert_every),
            max_in_flight: self.max_in_flight.or(present.max_in_flight),
            rate: self.rate.or(present.rate),
            order: self.order.or(present.order),
            on_dead: self.on_dead.or(present.on_dead.filter(|_| is_ordered)),
            payload_limit: self.payload_limit.or(present.payload_limit),
            batch_items: self.batch_items.or(present.batch_items),
            linger: self.linger.or(present.linger),
            traceparent: self.traceparent || present.traceparent,
        }
    }

    /// The headers that were given; `None` where none was.
    pub(super) fn headers(&self) -> Result<Option<Vec<OwnHeader>>, Failure> {
        let HeaderOptions {
            basic_user,
            basic_password_file,
            bearer_file,
            header_files,
        } = &self.headers;
        let mut headers = Vec::new();
        if let (Some(user), Some(file)) = (basic_user, basic_password_file) {
            headers.push(OwnHeader::basic(user, &line_of(file)?)?);
        }
        if let Some(file) = bearer_file {
            headers.push(OwnHeader::bearer(&line_of(file)?)?);
        }
        for (name, file) in header_files {
            headers.push(OwnHeader::new(name, &line_of(file.as_ref())?)?);
        }
        Ok((!headers.is_empty()).then_some(headers))
    }
}
