use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, time::Duration};

use unicode_normalization::UnicodeNormalization;

use super::{Fields, MAX_IN_FLIGHT, Settings};
use crate::{
    Invalid,
    alert::{Alerts, EVERY, MOST_ADDRESSES, MailAddress, is_own},
    bounds,
    egress::{PayloadUrl, Policy},
    event::EventType,
    filter::Filter,
    health::{BREAKER, Limits, SUSPEND_AFTER},
    json::path_step,
    order::{By, OnDead, Order},
    profile::{Batch, Fallback, MARS, Profile, Profiles},
    rate::Rate,
    retry::RetryPolicy,
    time::{format_duration, parse_duration},
};

/// The shortest total deadline of a request.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest that the first delivery of a request may wait for others.
const MAX_LINGER: Duration = Duration::from_secs(60);

/// The longest retry window, and the longest that a receiver may fail until it is suspended.
const MOST_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The shortest time between two messages of one cause.
const LEAST_EVERY: Duration = Duration::from_secs(60);

/// The smallest limit of a body, in bytes: the test event of each profile is smaller.
const MIN_PAYLOAD_LIMIT: usize = 1_024;

/// The most requests of one subscription that may be under way at once.
const MOST_IN_FLIGHT: u32 = 1_024;

/// What an admin types to register a subscription, not yet checked. What is left out takes the default.
///
/// # Examples
/// ```
/// use tharsis_core::{egress::Policy, profile::Profiles, subscription::Draft};
///
/// let mut draft = Draft {
///     client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".into(),
///     name: "orders".into(),
///     url: "https://hooks.example.com/in".into(),
///     ..Draft::default()
/// };
/// let settings = draft.settings(&Policy::default(), &Profiles::default())?;
/// assert_eq!(settings.profile.name, "mars");
///
/// draft.timeout = Some("10s".into());
/// let refused = draft.settings(&Policy::default(), &Profiles::default()).unwrap_err();
/// assert_eq!((refused.code, refused.field.as_deref()), ("timeout_out_of_range", Some("timeout")));
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// The tenant's UUID.
    pub client: String,
    /// To tell webhooks apart.
    pub name: String,
    /// Where to POST.
    pub url: String,
    /// The name of a profile; `mars` if absent.
    pub profile: Option<String>,
    /// Event types; empty: all that the profile knows.
    pub events: Vec<String>,
    /// A media type of JSON; the profile's if absent.
    pub content_type: Option<String>,
    /// The total deadline of a request (`3s`); the profile's if absent.
    pub timeout: Option<String>,
    /// The delays before retries (`5s,1m,10m` or `none`).
    pub retry: Option<String>,
    /// For how long a delivery may wait for its retries (`6h`); absent or `none`: as long as they take.
    pub retry_window: Option<String>,
    /// Failures in a row at which its breaker opens, or `none` (`20`); [`BREAKER`] if absent.
    pub breaker: Option<String>,
    /// How long its receiver may fail until it is suspended, or `never` (`5d`); [`SUSPEND_AFTER`] if absent.
    pub suspend_after: Option<String>,
    /// Who is told when it fails, beside those of the client and the installation; empty or `none` alone: nobody.
    pub alert_mail: Vec<String>,
    /// One message for each cause at most this often (`1h`); [`EVERY`] if absent.
    pub alert_every: Option<String>,
    /// Requests under way at once; [`MAX_IN_FLIGHT`] if absent.
    pub max_in_flight: Option<u32>,
    /// Requests that may begin in how long, such as `10/s`; absent or `none`: as many as it takes.
    pub rate: Option<String>,
    /// `none`, `strict`, `recipient` or `key:PATH`; `none` if absent.
    pub order: Option<String>,
    /// What becomes of one whose retries are used up while others wait for it: `give_up` or `hold`; `give_up` if absent.
    pub on_dead: Option<String>,
    /// The largest body in bytes; the profile's if absent.
    pub payload_limit: Option<usize>,
    /// Deliveries of one request, 1 for none together; the profile's if absent.
    pub batch_items: Option<u32>,
    /// How long the first of them waits for others; the profile's if absent.
    pub linger: Option<String>,
    /// What the profile asks for, by name: `panel`.
    pub profile_settings: BTreeMap<String, String>,
    /// Paths of the payload's fields; empty: all.
    pub fields: Vec<String>,
    /// A [filter](crate::filter); absent: all events of its types.
    pub filter: Option<String>,
    /// Whether requests carry `traceparent`.
    pub traceparent: bool,
}

impl Draft {
    /// Checks all of it.
    ///
    /// # Errors
    /// The first field that is wrong, by its name here.
    pub fn settings(&self, policy: &Policy, profiles: &Profiles) -> Result<Settings, Invalid> {
        let client = self.client.parse().map_err(|e: Invalid| e.at("client"))?;
        bounds::text(&self.name, 128).map_err(|e| e.at("name"))?;
        let url = PayloadUrl::parse(self.url.as_bytes(), policy)?;
        let name = self.profile.as_deref().unwrap_or(MARS.name.as_ref());
        let profile = profiles.named(name).map_err(|e| e.at("profile"))?;
        Ok(Settings {
            client,
            name: self.name.clone(),
            url,
            events: events(&profile, &self.events)?,
            content_type: content_type(&profile, self.content_type.as_deref())?,
            timeout: timeout(&profile, self.timeout.as_deref())?,
            retry: retry(&profile, self.retry.as_deref())?
                .within(retry_window(self.retry_window.as_deref())?),
            limits: Limits {
                breaker: breaker(self.breaker.as_deref())?,
                suspend_after: suspend_after(self.suspend_after.as_deref())?,
            },
            alerts: Alerts {
                mail: alert_mail(&self.alert_mail)?,
                every: alert_every(self.alert_every.as_deref())?,
            },
            max_in_flight: bounded(
                "max_in_flight",
                self.max_in_flight,
                MAX_IN_FLIGHT,
                1..=MOST_IN_FLIGHT,
            )?,
            rate: rate(self.rate.as_deref())?,
            order: self.order()?,
            payload_limit: bounded(
                "payload_limit",
                self.payload_limit,
                profile.payload_limit,
                MIN_PAYLOAD_LIMIT..=profile.payload_limit,
            )?,
            batch: self.batch(&profile)?,
            profile_settings: self.profile_settings(&profile)?,
            fields: Fields::parse(&self.fields).map_err(|e| e.at("fields"))?,
            filter: self.filter.as_deref().map(Filter::parse).transpose()?,
            traceparent: self.traceparent,
            profile,
        })
    }

    fn order(&self) -> Result<Option<Order>, Invalid> {
        let by = self.order.as_deref().map_or(Ok(None), By::parse);
        let by = by.map_err(|e| e.at("order"))?;
        let given = self
            .on_dead
            .as_deref()
            .map(str::parse::<OnDead>)
            .transpose();
        let on_dead = given.map_err(|e| e.at("on_dead"))?.unwrap_or_default();
        match by {
            Some(by) => Ok(Some(Order { by, on_dead })),
            None if on_dead == OnDead::Hold => Err(Invalid::new(
                "order_missing",
                "says what others wait for, but none waits for another",
            )
            .at("on_dead")
            .hint("give an order too: strict, recipient or key:PATH")),
            None => Ok(None),
        }
    }

    fn batch(&self, profile: &Profile) -> Result<Option<Batch>, Invalid> {
        let Some(most) = profile.batch else {
            let given = [
                ("batch_items", self.batch_items.is_some()),
                ("linger", self.linger.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((field, _)) => Err(Invalid::new(
                    "no_batches",
                    format!(
                        "is of no use: the profile {} sends one event a request",
                        profile.name
                    ),
                )
                .at(field)),
            };
        };
        let linger = match &self.linger {
            None => most.linger,
            Some(text) => parse_duration(text).map_err(|e| e.at("linger"))?,
        };
        if linger > MAX_LINGER {
            return Err(Invalid::new(
                "out_of_range",
                format!("is longer than {}", format_duration(MAX_LINGER)),
            )
            .at("linger"));
        }
        Ok(Some(Batch {
            items: bounded("batch_items", self.batch_items, most.items, 1..=most.items)?,
            linger,
        }))
    }

    fn profile_settings(&self, profile: &Profile) -> Result<BTreeMap<String, String>, Invalid> {
        let at = |name: &str, e: Invalid| e.at(path_step(name)).at("profile_settings");
        let known = |name: &str| profile.settings.iter().any(|setting| setting.name == name);
        if let Some(name) = self.profile_settings.keys().find(|name| !known(name)) {
            let names: Vec<_> = profile.settings.iter().map(|s| &*s.name).collect();
            return Err(at(
                name,
                Invalid::new(
                    "unknown_setting",
                    format!("the profile {} has no such setting", profile.name),
                )
                .hint(if names.is_empty() {
                    "leave it out: it has none".to_owned()
                } else {
                    format!("choose among: {}", names.join(", "))
                }),
            ));
        }
        for setting in profile.settings.iter() {
            match self.profile_settings.get(&*setting.name) {
                Some(text) => bounds::text(text, 128).map_err(|e| at(&setting.name, e))?,
                None if setting.fallback == Fallback::Required => {
                    return Err(at(
                        &setting.name,
                        Invalid::new(
                            "missing_setting",
                            format!("is required by the profile {}", profile.name),
                        )
                        .hint(format!("give it with --set {}=…", setting.name)),
                    ));
                }
                None => {}
            }
        }
        Ok(self.profile_settings.clone())
    }
}

/// As an admin would have typed what stands now, so that a change of one field checks the whole again.
impl From<&Settings> for Draft {
    fn from(settings: &Settings) -> Self {
        Self {
            client: settings.client.to_string(),
            name: settings.name.clone(),
            url: settings.url.given().to_owned(),
            profile: Some(settings.profile.name.to_string()),
            events: settings.events.iter().map(ToString::to_string).collect(),
            content_type: Some(settings.content_type.clone()),
            timeout: Some(format_duration(settings.timeout)),
            retry: Some(settings.retry.to_string()),
            retry_window: settings.retry.window().map(format_duration),
            breaker: Some(
                (settings.limits.breaker).map_or_else(|| "none".to_owned(), |n| n.to_string()),
            ),
            suspend_after: Some(
                (settings.limits.suspend_after).map_or_else(|| "never".to_owned(), format_duration),
            ),
            alert_mail: (settings.alerts.mail.iter())
                .map(ToString::to_string)
                .collect(),
            alert_every: Some(format_duration(settings.alerts.every)),
            max_in_flight: Some(settings.max_in_flight),
            rate: settings.rate.map(|rate| rate.to_string()),
            order: settings.order.as_ref().map(|order| order.by.to_string()),
            on_dead: settings
                .order
                .as_ref()
                .map(|order| order.on_dead.as_str().to_owned()),
            payload_limit: Some(settings.payload_limit),
            batch_items: settings.batch.map(|batch| batch.items),
            linger: settings.batch.map(|batch| format_duration(batch.linger)),
            profile_settings: settings.profile_settings.clone(),
            fields: settings.fields.paths().map(str::to_owned).collect(),
            filter: settings.filter.as_ref().map(ToString::to_string),
            traceparent: settings.traceparent,
        }
    }
}

fn rate(given: Option<&str>) -> Result<Option<Rate>, Invalid> {
    let given = given.map(str::trim).filter(|text| *text != "none");
    let rate = given.map(str::parse).transpose();
    rate.map_err(|e: Invalid| e.at("rate"))
}

fn retry_window(given: Option<&str>) -> Result<Option<Duration>, Invalid> {
    span_or(
        "retry_window",
        given.unwrap_or("none"),
        "none",
        Duration::from_secs(1)..=MOST_WINDOW,
    )
}

fn breaker(given: Option<&str>) -> Result<Option<u32>, Invalid> {
    let Some(text) = given.map(str::trim) else {
        return Ok(Some(BREAKER));
    };
    if text == "none" {
        return Ok(None);
    }
    let number = text
        .parse()
        .ok()
        .filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let most = number.ok_or_else(|| {
        Invalid::new("bad_breaker", "is no number of failures")
            .at("breaker")
            .hint("write how many in a row open it, such as 20, or none")
    })?;
    bounded("breaker", Some(most), BREAKER, 2..=1_000_000).map(Some)
}

fn suspend_after(given: Option<&str>) -> Result<Option<Duration>, Invalid> {
    match given {
        None => Ok(Some(SUSPEND_AFTER)),
        Some(text) => span_or(
            "suspend_after",
            text,
            "never",
            Duration::from_secs(60)..=MOST_WINDOW,
        ),
    }
}

/// Each address once.
fn alert_mail(given: &[String]) -> Result<Vec<MailAddress>, Invalid> {
    if let [none] = given
        && none.trim() == "none"
    {
        return Ok(Vec::new());
    }
    let mut mail: Vec<MailAddress> = Vec::with_capacity(given.len());
    for (i, text) in given.iter().enumerate() {
        let address = text.trim().parse();
        let address = address.map_err(|e: Invalid| e.at(format!("alert_mail[{i}]")))?;
        if !mail.contains(&address) {
            mail.push(address);
        }
    }
    if mail.len() > MOST_ADDRESSES {
        return Err(Invalid::new(
            "too_many_addresses",
            format!("has more than {MOST_ADDRESSES}"),
        )
        .at("alert_mail")
        .hint("give the address of a list"));
    }
    Ok(mail)
}

fn alert_every(given: Option<&str>) -> Result<Duration, Invalid> {
    let every = given.map_or(Ok(EVERY), parse_duration);
    let every = every.map_err(|e| e.at("alert_every"))?;
    if (LEAST_EVERY..=MOST_WINDOW).contains(&every) {
        return Ok(every);
    }
    let [least, most] = [LEAST_EVERY, MOST_WINDOW].map(format_duration);
    Err(
        Invalid::new("out_of_range", format!("is not between {least} and {most}"))
            .at("alert_every")
            .hint(format!("leave it out for {}", format_duration(EVERY))),
    )
}

/// A length of time within bounds, or a word for none.
fn span_or(
    field: &'static str,
    text: &str,
    none: &str,
    range: RangeInclusive<Duration>,
) -> Result<Option<Duration>, Invalid> {
    let text = text.trim();
    if text == none {
        return Ok(None);
    }
    let span = parse_duration(text).map_err(|e| e.at(field))?;
    if range.contains(&span) {
        return Ok(Some(span));
    }
    let [least, most] = [range.start(), range.end()].map(|span| format_duration(*span));
    Err(
        Invalid::new("out_of_range", format!("is not between {least} and {most}"))
            .at(field)
            .hint(format!("or write {none}")),
    )
}

/// What two names of one client may not have in common, since they would look alike: the name composed as Unicode has it
/// (NFC, UAX 15), without case, and with runs of space as one.
///
/// # Examples
/// ```
/// use tharsis_core::subscription::name_key;
///
/// assert_eq!(name_key("Caf\u{e9} STRASSE"), name_key("cafe\u{301}  stra\u{df}e"));
/// assert_ne!(name_key("orders"), name_key("order"));
/// ```
pub fn name_key(name: &str) -> String {
    // To upper case and back is the folding that the standard library can do: ß and SS, σ and ς meet.
    let folded: String = name
        .nfd()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfc()
        .collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bounded<T: PartialOrd + Display + Copy>(
    field: &'static str,
    given: Option<T>,
    usual: T,
    range: RangeInclusive<T>,
) -> Result<T, Invalid> {
    let number = given.unwrap_or(usual);
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    Err(
        Invalid::new("out_of_range", format!("is not between {least} and {most}"))
            .at(field)
            .hint(format!("leave it out for {usual}")),
    )
}

fn retry(profile: &Profile, given: Option<&str>) -> Result<RetryPolicy, Invalid> {
    let policy: RetryPolicy = match given {
        None => RetryPolicy::default(),
        Some(text) => text.parse().map_err(|e: Invalid| e.at("retry"))?,
    };
    if policy.delays().len() > profile.most_retries {
        return Err(Invalid::new(
            "too_many_retries",
            format!(
                "has more than {}, the most of the profile {}",
                profile.most_retries, profile.name
            ),
        )
        .at("retry"));
    }
    Ok(policy)
}

fn events(profile: &Profile, given: &[String]) -> Result<Vec<EventType>, Invalid> {
    let mut events = Vec::with_capacity(given.len());
    for (i, text) in given.iter().enumerate() {
        let at = |e: Invalid| e.at(format!("events[{i}]"));
        let event = EventType::new(text).map_err(at)?;
        if !profile.knows(event.as_str()) && !is_own(event.as_str()) {
            return Err(at(Invalid::new(
                "unknown_event_type",
                format!("the profile {} has no event of this type", profile.name),
            )
            .hint(format!("choose among: {}", profile.events.join(", ")))));
        }
        if !events.contains(&event) {
            events.push(event);
        }
    }
    Ok(events)
}

fn content_type(profile: &Profile, given: Option<&str>) -> Result<String, Invalid> {
    let text = given.unwrap_or(&profile.content_type);
    if text == profile.content_type || is_json(&profile.content_type) && is_json(text) {
        return Ok(text.to_owned());
    }
    let hint = if is_json(&profile.content_type) {
        "use application/json, or a type that ends in +json".to_owned()
    } else {
        format!("leave it out: the profile sends {}", profile.content_type)
    };
    Err(Invalid::new(
        "bad_content_type",
        "is no media type of what the profile sends",
    )
    .at("content_type")
    .hint(hint))
}

/// `type/subtype; name=value` (RFC 9110, 8.3.1), where the type says that it is JSON.
fn is_json(text: &str) -> bool {
    let is_token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default();
    let parameters_fit = parts.all(|p| {
        p.trim_matches(' ')
            .split_once('=')
            .is_some_and(|(name, value)| is_token(name) && is_token(value))
    });
    let says_json = essence.split_once('/').is_some_and(|(kind, subtype)| {
        let subtype_is = subtype.to_ascii_lowercase();
        let json = subtype_is.ends_with("+json")
            || subtype_is == "json"
                && (kind.eq_ignore_ascii_case("application") || kind.eq_ignore_ascii_case("text"));
        json && is_token(kind) && is_token(subtype)
    });
    says_json && parameters_fit && text.len() <= 128
}

fn timeout(profile: &Profile, given: Option<&str>) -> Result<Duration, Invalid> {
    let Some(text) = given else {
        return Ok(profile.timeout);
    };
    let timeout = parse_duration(text).map_err(|e| e.at("timeout"))?;
    if !(MIN_TIMEOUT..=profile.timeout).contains(&timeout) {
        return Err(Invalid::new(
            "timeout_out_of_range",
            format!(
                "is not between {} and {}, the profile's",
                format_duration(MIN_TIMEOUT),
                format_duration(profile.timeout)
            ),
        )
        .at("timeout")
        .hint("a receiver that needs longer should answer first and work afterwards"));
    }
    Ok(timeout)
}
