//! Tells people, and subscriptions that listen, what the store has raised. What is told and when is decided in the core; here
//! it is carried out.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use tharsis_core::{
    Invalid, Timestamp,
    alert::{
        Alert, Case, Cause, Contacts, Decision, Facts, Mail, MailAddress, Untold, decide, event,
        message, pause,
    },
    event::Event,
    subscription::Subscription,
};
use tharsis_store::{Claim, Lease, Outbox, StoreError, Telling, Told};
use tokio::time::Instant;
use tracing::{info, warn};

/// Nobody else tells for so long what a worker is about to tell. If it dies meanwhile, another tells it then.
const CLAIM: Duration = Duration::from_secs(5 * 60);

/// How long the server may take for one message.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer of what sends mail.
pub type Sent = Pin<Box<dyn Future<Output = Result<(), Untold>> + Send>>;

/// What sends mail.
pub type Mailer = Arc<dyn Fn(Mail) -> Sent + Send + Sync>;

/// Who is told, and by what. The default tells nobody.
#[derive(Clone, Default)]
pub struct Alerts {
    /// Who, beside those whom subscriptions name.
    pub contacts: Contacts,
    /// What sends a message, and answers once a server has taken it.
    pub mailer: Option<Mailer>,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("contacts", &self.contacts)
            .finish_non_exhaustive()
    }
}

/// Looks what is to be told of these subscriptions, and tells it: to people, and by an event of ours to others of the same
/// client of which `is_heard` says that one listens.
pub(crate) async fn tell<'a, O: Outbox>(
    outbox: &O,
    lease: &Lease,
    alerts: &Alerts,
    find: impl Fn(i64) -> Option<&'a Subscription>,
    is_heard: impl Fn(&Subscription, Cause) -> bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut round = Round {
        outbox,
        lease,
        alerts,
        is_heard,
        is_mail_down: false,
    };
    for case in within(outbox.cases(lease, now)).await? {
        // One that this worker does not know yet, or any more, is looked at again.
        if let Some(subscription) = find(case.subscription) {
            let now = now + begun.elapsed();
            round.tell(subscription, &case, now).await?;
        }
    }
    Ok(())
}

/// One look at what is to be told.
struct Round<'a, O, H> {
    outbox: &'a O,
    lease: &'a Lease,
    alerts: &'a Alerts,
    is_heard: H,
    /// A server that does not answer is not asked for everybody.
    is_mail_down: bool,
}

impl<O: Outbox, H: Fn(&Subscription, Cause) -> bool> Round<'_, O, H> {
    async fn tell(
        &mut self,
        subscription: &Subscription,
        case: &Case,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        let settings = &subscription.settings;
        let contacts = &self.alerts.contacts;
        let every = contacts.every(&settings.alerts);
        let Decision { tell, moot, wait } = decide(case, every, now);
        let to = contacts.of(settings.client, &settings.alerts);
        let mailer = self.alerts.mailer.as_ref().filter(|_| !to.is_empty());
        let is_heard = |alert: &Alert| (self.is_heard)(subscription, alert.cause);
        // What an event has told is told, whoever does not listen any more.
        let (tell, nobody): (Vec<&Alert>, Vec<&Alert>) = (tell.into_iter())
            .partition(|alert| mailer.is_some() || alert.event.is_some() || is_heard(alert));
        let mut tellings: Vec<Telling> = (moot.iter())
            .map(|alert| telling(alert, overtaken(alert)))
            .chain((wait.iter()).map(|(alert, turn)| telling(alert, Told::Waits(*turn))))
            .chain((nobody.iter()).map(|alert| telling(alert, Told::Nobody)))
            .collect();
        // In the order in which settlements raise them, so that neither waits for the other crosswise.
        tellings.sort_by_key(|telling| telling.alert.cause);
        if !tellings.is_empty() {
            within(self.outbox.told(&tellings, now)).await?;
        }
        if tell.is_empty() {
            return Ok(());
        }
        let facts = within(self.outbox.facts(case.subscription)).await?;
        let claims: Vec<Claim> = (tell.iter())
            .map(|alert| Claim {
                alert: (*alert).clone(),
                event: (is_heard(alert) && alert.wants_event(every, now))
                    .then(|| event_of(subscription, &alert.for_event(), &facts, now))
                    .flatten(),
            })
            .collect();
        let claimed = within((self.outbox).claim(self.lease, &claims, now, now + CLAIM)).await?;
        let tell: Vec<Alert> = (tell.into_iter())
            .filter_map(|alert| {
                let event = claimed.iter().find(|one| one.alert == alert.id)?.event;
                let is_new = event != alert.event;
                let event_count = if is_new {
                    alert.count
                } else {
                    alert.event_count
                };
                let alert = alert.clone();
                Some(Alert {
                    event,
                    event_count,
                    ..alert
                })
            })
            .collect();
        if tell.is_empty() {
            return Ok(());
        }
        let tell: Vec<&Alert> = tell.iter().collect();
        let said = message(subscription, &tell, &facts, now);
        let mail = |to: &MailAddress| Mail {
            to: to.clone(),
            subject: said.subject.clone(),
            text: said.text.clone(),
        };
        let was_taken = tell.iter().any(|alert| !alert.accepted.is_empty());
        let mails = to.iter().filter(|to| !is_told(&tell, to)).map(mail);
        let sent = match mailer {
            None => Sending::default(),
            Some(_) if self.is_mail_down => Sending::untried(),
            Some(mailer) => send(mailer, was_taken, mails).await,
        };
        self.is_mail_down |= sent.failed.is_some();
        let now = now + begun.elapsed();
        // Where no mail tells of the rest, what no event has told of is to be told still.
        let told = |alert: &Alert| match mailer {
            None => Alert {
                count: alert.event_count,
                ..alert.clone()
            },
            Some(_) => alert.clone(),
        };
        let tellings: Vec<Telling> = (tell.iter())
            .map(|alert| telling(&told(alert), sent.became(alert, now)))
            .collect();
        let id = subscription.id;
        match &sent.failed {
            None => info!(subscription.id = %id, subject = %said.subject, "told"),
            Some(error) => {
                warn!(subscription.id = %id, error, "people could not be told; it will be tried again");
            }
        }
        within(self.outbox.told(&tellings, now)).await
    }
}

fn telling(alert: &Alert, became: Told) -> Telling {
    Telling {
        alert: alert.clone(),
        became,
    }
}

/// What becomes of what is told to nobody any more.
fn overtaken(alert: &Alert) -> Told {
    if alert.is_known() {
        Told::Told
    } else {
        Told::Moot
    }
}

/// The event that tells of it. One that cannot be made is no reason not to tell people.
fn event_of(
    subscription: &Subscription,
    alert: &Alert,
    facts: &Facts,
    now: Timestamp,
) -> Option<Event> {
    let event = event(subscription, alert, facts, now);
    let warn =
        |error: &Invalid| warn!(subscription.id = %subscription.id, %error, "no event tells of it");
    event.inspect_err(warn).ok()
}

/// A store that has gone without a word is not waited for: what was to be told is looked for again.
async fn within<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let no_answer = |_| StoreError::Database(format!("no answer within {PATIENCE:?}").into());
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|late| Err(no_answer(late)))
}

/// Whether this person was told all of it, when telling others failed.
fn is_told(alerts: &[&Alert], to: &MailAddress) -> bool {
    let is_told = |alert: &&Alert| alert.accepted.iter().any(|told| told == to.as_str());
    alerts.iter().all(is_told)
}

/// What came of messages to several people.
#[derive(Default)]
struct Sending {
    accepted: Vec<String>,
    failed: Option<String>,
}

impl Sending {
    fn untried() -> Self {
        Self {
            accepted: Vec::new(),
            failed: Some("the mail server did not take what came before".to_owned()),
        }
    }

    fn became(&self, alert: &Alert, now: Timestamp) -> Told {
        if self.failed.is_none() {
            return Told::Told;
        }
        let mut accepted = alert.accepted.clone();
        accepted.extend(self.accepted.iter().cloned());
        Told::Again {
            due_at: now + pause(alert.tries),
            accepted,
        }
    }
}

/// Whom the server does not take for good is not tried again.
async fn send(mailer: &Mailer, was_taken: bool, mails: impl Iterator<Item = Mail>) -> Sending {
    let mut result = Sending::default();
    let mut refused = Vec::new();
    for mail in mails {
        let to = mail.to.to_string();
        let answer = tokio::time::timeout(PATIENCE, mailer(mail)).await;
        match answer {
            Ok(Ok(())) => result.accepted.push(to),
            Ok(Err(Untold {
                message,
                for_good: true,
            })) => {
                warn!(to, error = %message, "this address is refused for good");
                refused.push((to, message));
            }
            Ok(Err(untold)) => result.failed = Some(untold.message),
            Err(_) => result.failed = Some(format!("no answer within {PATIENCE:?}")),
        }
    }
    // That it takes nobody's, and never did, is more likely to be about us.
    if result.accepted.is_empty() && !was_taken {
        result.failed = result.failed.or(refused.pop().map(|(_, message)| message));
    }
    result
        .accepted
        .extend(refused.into_iter().map(|(to, _)| to));
    result
}
