use std::collections::BTreeMap;

use serde::Deserialize;
use tharsis::{
    CheckMethod, ClientId, Invalid,
    profile::Profile,
    subscription::{Draft, header::OwnHeader},
};
use utoipa::ToSchema;

use super::field::{Field, Unseen};
use crate::{
    documents::words,
    registering::{Chosen, Wanted},
};

/// How a weak secret is insisted on.
pub(super) const INSIST: &str = "accept_weak_secret";

/// What is said of a subscription, to register it or to change it: a merge patch (RFC 7396), over nothing or over what there
/// is. A field has the name that it has in the subscription that is shown, and what that shows may be said: null where it shows
/// null, as for a breaker that never opens. Else null is what is taken where nothing is said.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Registration {
    /// The tenant whose events it gets; nobody has to say it whose token is for one client.
    #[schema(value_type = Option<String>, default, format = "uuid")]
    client: Field<String>,
    /// To tell webhooks apart.
    #[schema(value_type = String, default, required, min_length = 1, max_length = 128)]
    name: Field<String>,
    /// Where to POST.
    #[schema(value_type = String, default, required, format = "uri")]
    url: Field<String>,
    /// Null: `mars`.
    #[schema(value_type = Option<String>, default)]
    profile: Field<String>,
    /// Null, or an empty list: all that the profile knows.
    #[schema(value_type = Option<Vec<String>>, default, pattern = "^[A-Za-z0-9._-]{1,128}$")]
    events: Field<Vec<String>>,
    /// Null: that of the profile.
    #[schema(value_type = Option<String>, default)]
    content_type: Field<String>,
    /// The total deadline of a request: a span of at least `100ms`; null: that of the profile.
    #[schema(value_type = Option<String>, default, pattern = "^([0-9]+(d|h|m|s|ms))+$")]
    timeout: Field<String>,
    /// The delays before retries, `5s,1m,10m`; or how many and from what to what, each twice the one before, `8x5s..1h`; or
    /// `none`.
    #[schema(value_type = Option<String>, default)]
    retry: Field<String>,
    /// A span of `1s` to `30d`, or `none`; null: as long as the retries take.
    #[schema(value_type = Option<String>, default, pattern = "^(none|([0-9]+(d|h|m|s|ms))+)$")]
    retry_window: Field<String>,
    /// Failures in a row that open it; null: it never opens.
    #[schema(value_type = Option<u32>, default, minimum = 2, maximum = 1000000)]
    breaker: Field<u32>,
    /// A span of `1m` to `30d`, or `never`, as null is.
    #[schema(value_type = Option<String>, default, pattern = "^(never|([0-9]+(d|h|m|s|ms))+)$")]
    suspend_after: Field<String>,
    /// Who is told when it fails, beside those of the configuration: at most 10 addresses.
    #[schema(value_type = Option<Vec<String>>, default)]
    alert_mail: Field<Vec<String>>,
    /// One message for each cause at most this often: a span of `1m` to `30d`.
    #[schema(value_type = Option<String>, default, pattern = "^([0-9]+(d|h|m|s|ms))+$")]
    alert_every: Field<String>,
    /// Requests under way at once.
    #[schema(value_type = Option<u32>, default, minimum = 1, maximum = 1024)]
    max_in_flight: Field<u32>,
    /// Requests that may begin in how long: `10/s`, `300/m`, `5/h`; or `none`, as null is.
    #[schema(value_type = Option<String>, default, pattern = "^(none|[0-9]{1,5}/[smh])$")]
    rate: Field<String>,
    /// Which deliveries wait for another: `strict`, `recipient` or `key:PATH`; or `none`, as null is.
    #[schema(value_type = Option<String>, default, pattern = "^(none|strict|recipient|key:.+)$")]
    order: Field<String>,
    #[schema(value_type = Option<words::OnDead>, default)]
    on_dead: Field<String>,
    /// The largest body, in bytes; null: that of the profile.
    #[schema(value_type = Option<usize>, default, minimum = 1024, maximum = 262144)]
    payload_limit: Field<usize>,
    /// Deliveries of one request, under a profile that knows batches.
    #[schema(value_type = Option<u32>, default, minimum = 1)]
    batch_items: Field<u32>,
    /// How long the first of them waits for others: a span of at most `1m`.
    #[schema(value_type = Option<String>, default, pattern = "^([0-9]+(d|h|m|s|ms))+$")]
    linger: Field<String>,
    /// What the profile asks for, by name; a value that is null goes.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, default)]
    profile_settings: Field<BTreeMap<String, Option<String>>>,
    /// Paths of the payload's fields that are sent; null, or an empty list: all.
    #[schema(value_type = Option<Vec<String>>, default, max_items = 64, min_length = 1, max_length = 255)]
    fields: Field<Vec<String>>,
    /// Which events are wanted: an expression in CEL; null: all.
    #[schema(value_type = Option<String>, default, min_length = 1, max_length = 2048)]
    filter: Field<String>,
    /// Whether requests carry `traceparent`.
    #[schema(value_type = Option<bool>, default)]
    traceparent: Field<bool>,
    /// What signs; null: nothing. Where nothing is said, one is generated that fits the profile.
    #[schema(value_type = Option<String>, default)]
    secret: Field<Unseen<String>>,
    /// Takes a secret that is short, regular or well known.
    #[schema(default)]
    accept_weak_secret: bool,
    /// With the two below it in place of all that there are; null: none.
    #[schema(value_type = Option<Vec<Header>>, default, max_items = 16)]
    headers: Field<Unseen<Vec<Header>>>,
    /// Credentials that requests carry.
    #[schema(value_type = Option<Basic>, default)]
    basic: Option<Unseen<Basic>>,
    /// A token that requests carry.
    #[schema(value_type = Option<String>, default, pattern = "^[A-Za-z0-9._~+/=-]+$")]
    bearer: Option<Unseen<String>>,
    /// How the URL proves that it is there; null: as its profile can.
    #[schema(default)]
    check: Option<Check>,
}

/// A header that requests carry.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnHeader)]
struct Header {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    #[schema(max_length = 4096)]
    value: String,
}

/// Basic credentials (RFC 7617).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BasicCredentials)]
struct Basic {
    #[schema(max_length = 255)]
    user: String,
    #[schema(max_length = 1024)]
    password: String,
}

/// By a request that only looks, or by a test event.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CheckMethod)]
enum Check {
    Head,
    Post,
}

impl From<Check> for CheckMethod {
    fn from(check: Check) -> Self {
        match check {
            Check::Head => Self::Head,
            Check::Post => Self::Post,
        }
    }
}

impl Registration {
    /// Whose it is to be, where that is said.
    pub(super) fn client(&self) -> Result<Option<ClientId>, Invalid> {
        let client = self.client.over(None);
        let client = client.as_deref().map(str::parse::<ClientId>).transpose();
        client.map_err(|e| e.at("client"))
    }

    /// What is said, over what there is.
    pub(super) fn over(&self, present: Draft) -> Result<Draft, Invalid> {
        // Where none waits for another, nothing is to be said of those that do.
        let is_ordered = match &self.order {
            Field::Absent => true,
            Field::Null => false,
            Field::This(order) => order.trim() != "none",
        };
        Ok(Draft {
            client: self.client.over(None).unwrap_or(present.client),
            name: needed("name", &self.name, present.name)?,
            url: needed("url", &self.url, present.url)?,
            profile: self.profile.over(present.profile),
            events: listed(&self.events, present.events),
            content_type: self.content_type.over(present.content_type),
            timeout: self.timeout.over(present.timeout),
            retry: self.retry.over(present.retry),
            retry_window: self.retry_window.over(present.retry_window),
            breaker: match &self.breaker {
                Field::Absent => present.breaker,
                Field::Null => Some("none".to_owned()),
                Field::This(most) => Some(most.to_string()),
            },
            suspend_after: match &self.suspend_after {
                Field::Null => Some("never".to_owned()),
                given => given.over(present.suspend_after),
            },
            alert_mail: listed(&self.alert_mail, present.alert_mail),
            alert_every: self.alert_every.over(present.alert_every),
            max_in_flight: self.max_in_flight.over(present.max_in_flight),
            rate: self.rate.over(present.rate),
            order: self.order.over(present.order),
            on_dead: self.on_dead.over(present.on_dead.filter(|_| is_ordered)),
            payload_limit: self.payload_limit.over(present.payload_limit),
            batch_items: self.batch_items.over(present.batch_items),
            linger: self.linger.over(present.linger),
            profile_settings: merged(&self.profile_settings, present.profile_settings),
            fields: listed(&self.fields, present.fields),
            filter: self.filter.over(present.filter),
            traceparent: (self.traceparent.over(Some(present.traceparent))).unwrap_or_default(),
        })
    }

    /// How the URL is to prove that it is there, where that is said.
    pub(super) fn check(&self) -> Option<CheckMethod> {
        self.check.map(Into::into)
    }

    /// Whether anything is said of a secret.
    pub(super) fn is_of_secret(&self) -> bool {
        self.accept_weak_secret || !matches!(self.secret.wanted(), Wanted::Any)
    }

    /// The secret that is given, else one as the profile wants it.
    pub(super) fn chosen(&self, profile: &Profile) -> Result<Chosen, Invalid> {
        Chosen::of(
            profile,
            self.secret.wanted(),
            self.accept_weak_secret,
            INSIST,
        )
    }

    /// The headers that are given; `None` where nothing is said of any.
    pub(super) fn headers(&self) -> Result<Option<Vec<OwnHeader>>, Invalid> {
        let mut headers = Vec::new();
        if let Some(Unseen(Basic { user, password })) = &self.basic {
            let header = OwnHeader::basic(user, password).map_err(|mut refused| {
                refused.field = refused.field.map(|field| field.replacen('_', ".", 1));
                refused
            });
            headers.push(header?);
        }
        if let Some(Unseen(token)) = &self.bearer {
            headers.push(OwnHeader::bearer(token)?);
        }
        let is_said = match &self.headers {
            Field::Absent => !headers.is_empty(),
            Field::Null => true,
            Field::This(Unseen(given)) => {
                for Header { name, value } in given {
                    headers.push(OwnHeader::new(name, value)?);
                }
                true
            }
        };
        Ok(is_said.then_some(headers))
    }
}

/// What no subscription is without.
pub(super) fn missing(field: &str) -> Invalid {
    Invalid::new("missing_field", "is missing").at(field)
}

fn needed(name: &str, field: &Field<String>, present: String) -> Result<String, Invalid> {
    let there = field.over(Some(present).filter(|text| !text.is_empty()));
    there.ok_or_else(|| missing(name))
}

fn listed(field: &Field<Vec<String>>, present: Vec<String>) -> Vec<String> {
    field.over(Some(present)).unwrap_or_default()
}

fn merged(
    field: &Field<BTreeMap<String, Option<String>>>,
    mut present: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    match field {
        Field::Absent => {}
        Field::Null => present.clear(),
        Field::This(given) => {
            for (name, value) in given {
                match value {
                    Some(value) => present.insert(name.clone(), value.clone()),
                    None => present.remove(name),
                };
            }
        }
    }
    present
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALPHA: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";

    fn said(document: serde_json::Value) -> Registration {
        serde_json::from_value(document).expect("a registration")
    }

    fn present() -> Draft {
        Draft {
            client: ALPHA.to_owned(),
            name: "Shop".to_owned(),
            url: "https://shop.example/hooks".to_owned(),
            events: vec!["nudge".to_owned()],
            breaker: Some("5".to_owned()),
            suspend_after: Some("2d".to_owned()),
            retry: Some("1m".to_owned()),
            rate: Some("10/s".to_owned()),
            order: Some("strict".to_owned()),
            on_dead: Some("hold".to_owned()),
            profile_settings: [("panel", "Shop"), ("label", "a")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            filter: Some("event.channel == \"push\"".to_owned()),
            traceparent: true,
            ..Draft::default()
        }
    }

    #[test]
    fn what_nothing_is_said_of_stays() {
        assert_eq!(said(json!({})).over(present()), Ok(present()));
    }

    #[test]
    fn what_is_null_is_as_if_nothing_had_been_said() {
        let nothing = said(json!({
            "events": null, "retry": null, "rate": null, "order": null, "filter": null,
            "traceparent": null, "profile_settings": {"label": null},
        }));
        let bare = Draft {
            events: Vec::new(),
            retry: None,
            rate: None,
            order: None,
            on_dead: None,
            filter: None,
            traceparent: false,
            profile_settings: [("panel".to_owned(), "Shop".to_owned())].into(),
            ..present()
        };
        assert_eq!(nothing.over(present()), Ok(bare));
        for field in ["name", "url"] {
            let refused = said(json!({ field: null })).over(present());
            let refused = refused.expect_err("it is needed");
            assert_eq!(
                (refused.code, refused.field.as_deref()),
                ("missing_field", Some(field))
            );
        }
    }

    #[test]
    fn what_never_happens_is_shown_as_null_and_said_so() {
        let never = said(json!({"breaker": null, "suspend_after": null}));
        let never = never.over(present()).expect("a draft");
        assert_eq!(never.breaker.as_deref(), Some("none"));
        assert_eq!(never.suspend_after.as_deref(), Some("never"));
        let soon = said(json!({"breaker": 7}))
            .over(present())
            .expect("a draft");
        assert_eq!(soon.breaker.as_deref(), Some("7"));
    }

    #[test]
    fn headers_replace_all_that_there_are_where_any_are_said() {
        let names = |document: serde_json::Value| -> Option<Vec<String>> {
            let headers = said(document).headers().expect("headers");
            headers.map(|headers| headers.iter().map(|own| own.name().to_owned()).collect())
        };
        assert_eq!(names(json!({})), None);
        assert_eq!(names(json!({"headers": null})), Some(Vec::new()));
        let both = json!({
            "basic": {"user": "shop", "password": "opensesame"},
            "headers": [{"name": "X-Shop", "value": "1"}],
        });
        let both = names(both).expect("they are said");
        assert_eq!(both, ["authorization", "x-shop"]);
    }

    #[test]
    fn what_may_be_secret_is_not_repeated() {
        for document in [
            json!({"secret": 4711}),
            json!({"bearer": {"4711": 1}}),
            json!({"basic": "4711"}),
            json!({"headers": "4711"}),
            json!({"headers": [{"name": "x", "value": 4711}]}),
        ] {
            let refused = serde_json::from_value::<Registration>(document);
            let told = refused.err().expect("it is refused").to_string();
            assert!(!told.contains("4711"), "{told}");
        }
    }
}
