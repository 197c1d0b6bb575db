use std::time::Duration;

use unicode_normalization::UnicodeNormalization;

use super::{MAX_IN_FLIGHT, Settings};
use crate::{
    Invalid, bounds,
    egress::{PayloadUrl, Policy},
    event::EventType,
    profile::Profile,
    retry::RetryPolicy,
    time::{format_duration, parse_duration},
};

/// The shortest total deadline of a request.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The most requests of one subscription that may be under way at once.
const MOST_IN_FLIGHT: u32 = 1_024;

/// What an admin types to register a subscription, not yet checked. What is left out takes the default.
///
/// # Examples
/// ```
/// use tharsis_core::{egress::Policy, subscription::Draft};
///
/// let mut draft = Draft {
///     client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".into(),
///     name: "orders".into(),
///     url: "https://hooks.example.com/in".into(),
///     ..Draft::default()
/// };
/// let settings = draft.settings(&Policy::default())?;
/// assert_eq!(settings.profile.name, "mars");
///
/// draft.timeout = Some("10s".into());
/// let refused = draft.settings(&Policy::default()).unwrap_err();
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
    /// Requests under way at once; [`MAX_IN_FLIGHT`] if absent.
    pub max_in_flight: Option<u32>,
}

impl Draft {
    /// Checks all of it.
    ///
    /// # Errors
    /// The first field that is wrong, by its name here.
    pub fn settings(&self, policy: &Policy) -> Result<Settings, Invalid> {
        let client = self.client.parse().map_err(|e: Invalid| e.at("client"))?;
        bounds::text(&self.name, 128).map_err(|e| e.at("name"))?;
        let url = PayloadUrl::parse(self.url.as_bytes(), policy)?;
        let profile = profile(self.profile.as_deref())?;
        let max_in_flight = self.max_in_flight.unwrap_or(MAX_IN_FLIGHT);
        if !(1..=MOST_IN_FLIGHT).contains(&max_in_flight) {
            return Err(Invalid::new(
                "out_of_range",
                format!("is not between 1 and {MOST_IN_FLIGHT}"),
            )
            .at("max_in_flight")
            .hint(format!("leave it out for {MAX_IN_FLIGHT}")));
        }
        Ok(Settings {
            client,
            name: self.name.clone(),
            url,
            profile,
            events: events(profile, &self.events)?,
            content_type: content_type(profile, self.content_type.as_deref())?,
            timeout: timeout(profile, self.timeout.as_deref())?,
            retry: match &self.retry {
                None => RetryPolicy::default(),
                Some(text) => text.parse().map_err(|e: Invalid| e.at("retry"))?,
            },
            max_in_flight,
        })
    }
}

/// As an admin would have typed what stands now, so that a change of one field checks the whole again.
impl From<&Settings> for Draft {
    fn from(settings: &Settings) -> Self {
        Self {
            client: settings.client.to_string(),
            name: settings.name.clone(),
            url: settings.url.given().to_owned(),
            profile: Some(settings.profile.name.to_owned()),
            events: settings.events.iter().map(ToString::to_string).collect(),
            content_type: Some(settings.content_type.clone()),
            timeout: Some(format_duration(settings.timeout)),
            retry: Some(settings.retry.to_string()),
            max_in_flight: Some(settings.max_in_flight),
        }
    }
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

fn profile(name: Option<&str>) -> Result<&'static Profile, Invalid> {
    let Some(name) = name else {
        return Ok(Profile::ALL[0]);
    };
    Profile::named(name).ok_or_else(|| {
        let known: Vec<_> = Profile::ALL.iter().map(|p| p.name).collect();
        Invalid::new("unknown_profile", "there is no such profile")
            .at("profile")
            .hint(format!("choose one of: {}", known.join(", ")))
    })
}

fn events(profile: &Profile, given: &[String]) -> Result<Vec<EventType>, Invalid> {
    let mut events = Vec::with_capacity(given.len());
    for (i, text) in given.iter().enumerate() {
        let at = |e: Invalid| e.at(format!("events[{i}]"));
        let event = EventType::new(text).map_err(at)?;
        if !profile.knows(event.as_str()) {
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
    let text = given.unwrap_or(profile.content_type);
    if text == profile.content_type || is_json(profile.content_type) && is_json(text) {
        return Ok(text.to_owned());
    }
    let hint = if is_json(profile.content_type) {
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
