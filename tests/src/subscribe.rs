use tharsis::subscription::Draft;

use crate::Inbox;

/// What an admin fills in to subscribe.
#[derive(Debug, Clone)]
#[must_use]
pub struct Subscribe {
    pub(crate) draft: Draft,
    pub(crate) secret: Option<String>,
    check: Option<String>,
    others: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Subscribe {
    /// To everything of this client, named as the inbox is, signed with its secret.
    pub fn new(client: &str, inbox: &Inbox) -> Self {
        Self::to_url(client, &inbox.name, &inbox.url).secret(&inbox.secret)
    }

    /// To everything of this client, without a secret.
    pub fn to_url(client: &str, name: &str, url: &str) -> Self {
        Self {
            draft: Draft {
                client: client.to_owned(),
                name: name.to_owned(),
                url: url.to_owned(),
                ..Draft::default()
            },
            secret: None,
            check: None,
            others: Vec::new(),
        }
    }

    /// Under another name than the inbox has.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.draft.name);
        self
    }

    /// Signed with this.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    /// To events of this type; may be said several times.
    pub fn event(mut self, event_type: &str) -> Self {
        self.draft.events.push(event_type.to_owned());
        self
    }

    /// Tried again after these delays: `50ms,50ms,50ms`.
    pub fn retry(mut self, delays: &str) -> Self {
        self.draft.retry = Some(delays.to_owned());
        self
    }

    /// With this deadline for a request: `500ms`.
    pub fn timeout(mut self, timeout: &str) -> Self {
        self.draft.timeout = Some(timeout.to_owned());
        self
    }

    /// With at most so many requests under way at once.
    pub fn max_in_flight(mut self, limit: u32) -> Self {
        self.draft.max_in_flight = Some(limit);
        self
    }

    /// Checked with `head` or `post`.
    pub fn check(mut self, method: &str) -> Self {
        self.check = Some(method.to_owned());
        self
    }

    /// Under this profile.
    pub fn profile(mut self, name: &str) -> Self {
        self.draft.profile = Some(name.to_owned());
        self
    }

    /// With another flag of `subscription add`: `--set=panel=Shop`. `World::subscribe_unchecked` has no others.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.others.push(flag.into());
        self
    }

    /// The flags of `subscription add`, but for the secret's. Each is one argument, for a value may begin with a
    /// hyphen.
    pub(crate) fn flags(&self) -> Vec<String> {
        let Draft {
            client,
            name,
            url,
            profile,
            events,
            retry,
            timeout,
            max_in_flight,
            ..
        } = &self.draft;
        let mut flags = vec![
            format!("--client={client}"),
            format!("--name={name}"),
            format!("--url={url}"),
        ];
        flags.extend(profile.iter().map(|name| format!("--profile={name}")));
        flags.extend(events.iter().map(|event| format!("--event={event}")));
        flags.extend(retry.iter().map(|delays| format!("--retry={delays}")));
        flags.extend(timeout.iter().map(|span| format!("--timeout={span}")));
        flags.extend(max_in_flight.map(|limit| format!("--max-in-flight={limit}")));
        flags.extend(self.check.iter().map(|method| format!("--check={method}")));
        flags.extend(self.others.iter().cloned());
        flags
    }
}
