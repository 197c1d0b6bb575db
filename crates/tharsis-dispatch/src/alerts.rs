//! Tells people what the store has raised. What is told and when is decided in the core; here it is carried out.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use tharsis_core::{
    Timestamp,
    alert::{Alert, Case, Contacts, Decision, Mail, MailAddress, Untold, decide, message, pause},
    subscription::Subscription,
};
use tharsis_store::{Lease, Outbox, StoreError, Telling, Told};
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

/// Looks what is to be told of these subscriptions, and tells it.
pub(crate) async fn tell<'a, O: Outbox>(
    outbox: &O,
    lease: &Lease,
    alerts: &Alerts,
    find: impl Fn(i64) -> Option<&'a Subscription>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let begun = Instant::now();
    for case in within(outbox.cases(lease, now)).await? {
        // One that this worker does not know yet, or any more, is looked at again.
        let Some(subscription) = find(case.subscription) else {
            continue;
        };
        let now = now + begun.elapsed();
        // A server that does not answer is not asked for everybody: what is left is read anew.
        if !tell_one(outbox, lease, alerts, subscription, &case, now).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Returns whether the mail server took what it was given.
async fn tell_one<O: Outbox>(
    outbox: &O,
    lease: &Lease,
    alerts: &Alerts,
    subscription: &Subscription,
    case: &Case,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let begun = Instant::now();
    let settings = &subscription.settings;
    let every = alerts.contacts.every(&settings.alerts);
    let Decision { tell, moot, wait } = decide(case, every, now);
    let to = alerts.contacts.of(settings.client, &settings.alerts);
    let mailer = alerts.mailer.as_ref().filter(|_| !to.is_empty());
    let told = |alert: &Alert, became| Telling {
        alert: alert.clone(),
        became,
    };
    let mut tellings: Vec<Telling> = (moot.iter().map(|alert| told(alert, Told::Moot)))
        .chain((wait.iter()).map(|(alert, turn)| told(alert, Told::Waits(*turn))))
        .collect();
    if mailer.is_none() {
        tellings.extend(tell.iter().map(|alert| told(alert, Told::Nobody)));
    }
    // In the order in which settlements raise them, so that neither waits for the other crosswise.
    tellings.sort_by_key(|telling| telling.alert.cause);
    if !tellings.is_empty() {
        within(outbox.told(&tellings, now)).await?;
    }
    let (Some(mailer), false) = (mailer, tell.is_empty()) else {
        return Ok(true);
    };
    let ids: Vec<i64> = tell.iter().map(|alert| alert.id).collect();
    let claimed = within(outbox.claim(lease, &ids, now, now + CLAIM)).await?;
    let tell: Vec<&Alert> = (tell.into_iter())
        .filter(|alert| claimed.contains(&alert.id))
        .collect();
    if tell.is_empty() {
        return Ok(true);
    }
    let facts = within(outbox.facts(case.subscription)).await?;
    let said = message(subscription, &tell, &facts, now);
    let mail = |to: &MailAddress| Mail {
        to: to.clone(),
        subject: said.subject.clone(),
        text: said.text.clone(),
    };
    let was_taken = tell.iter().any(|alert| !alert.accepted.is_empty());
    let sent = send(
        mailer,
        was_taken,
        to.iter().filter(|to| !is_told(&tell, to)).map(mail),
    )
    .await;
    let now = now + begun.elapsed();
    let tellings: Vec<Telling> = (tell.iter())
        .map(|alert| told(alert, sent.became(alert, now)))
        .collect();
    let id = subscription.id;
    match &sent.failed {
        None => info!(subscription.id = %id, subject = %said.subject, "told"),
        Some(error) => {
            warn!(subscription.id = %id, error, "people could not be told; it will be tried again");
        }
    }
    within(outbox.told(&tellings, now)).await?;
    Ok(sent.failed.is_none())
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
struct Sending {
    accepted: Vec<String>,
    failed: Option<String>,
}

impl Sending {
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
    let mut result = Sending {
        accepted: Vec::new(),
        failed: None,
    };
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
