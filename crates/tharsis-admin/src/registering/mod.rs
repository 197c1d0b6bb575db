//! Registering webhooks, changing and rotating them: what is decided, and what the audit is told, whoever asks.

mod changing;
mod secret;

use std::time::Duration;

use tharsis::{
    CheckMethod, ClientId, Emitter, Error, Invalid, Registry,
    store::{By, Deed, StoreError},
    subscription::{Credentials, Settings, Subscription, header::OwnHeader},
};

pub use changing::{Changing, policy, same_host};
pub use secret::{Chosen, Wanted, key_kind};

/// Has the URL prove that it is there, and adds the subscription. That somebody insists on a weak secret is in the audit
/// before, and why a URL was refused after.
///
/// # Errors
/// As [`Emitter::subscribe_by`].
pub async fn add(
    emitter: &Emitter,
    settings: &Settings,
    chosen: &Chosen,
    headers: Vec<OwnHeader>,
    method: Option<CheckMethod>,
    by: By<'_>,
) -> Result<Subscription, Error> {
    settings.accepts(chosen.secret.as_ref())?;
    settings.accepts_headers(&headers)?;
    let credentials = Credentials {
        secret: chosen.secret.clone(),
        headers,
        ..Credentials::default()
    };
    let registry = emitter.registry();
    note_weakness(registry, chosen, &settings.name, settings.client, by).await?;
    let added = emitter
        .subscribe_by(settings, &credentials, method, by)
        .await;
    if let Err(error) = &added {
        note_refusal(registry, settings, error, by).await;
    }
    added
}

/// Replaces its secret. The former one signs beside the new one for so long.
///
/// # Errors
/// What [`Settings::accepts`] refuses, and [`Registry::rotate`].
pub async fn rotate(
    registry: &impl Registry,
    present: &Subscription,
    chosen: &Chosen,
    overlap: Option<Duration>,
    by: By<'_>,
) -> Result<Subscription, StoreError> {
    let (id, settings) = (present.id, &present.settings);
    settings.accepts(chosen.secret.as_ref())?;
    note_weakness(registry, chosen, &id.to_string(), settings.client, by).await?;
    let until = overlap.map(|overlap| by.at + overlap);
    registry.rotate(id, chosen.secret.as_ref(), until, by).await
}

/// Whether the receiver can know what its test event is signed with.
///
/// # Errors
/// Field `check`: `secret_unknown`.
pub fn knows_secret(method: CheckMethod, is_generated: bool) -> Result<(), Invalid> {
    if method == CheckMethod::Post && is_generated {
        return Err(Invalid::new(
            "secret_unknown",
            "the test event would be signed with a secret that is generated now, which the receiver cannot know yet",
        )
        .at("check")
        .hint("give the secret that the receiver holds, or none"));
    }
    Ok(())
}

/// That a URL leads to where nothing may be sent, and where that is, is for the audit alone; where it cannot be written down,
/// the log has it.
async fn note_refusal(registry: &impl Registry, settings: &Settings, error: &Error, by: By<'_>) {
    let Error::Check(check) = error else { return };
    let Some(why) = &check.withheld else { return };
    let deed = Deed::new("subscription.refused", settings.url.host())
        .of(settings.client)
        .with(serde_json::json!({ "name": settings.name, "why": why.0 }));
    if let Err(error) = registry.record(&deed, by).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "A refusal is not in the audit");
    }
}

/// That somebody insists on a weak secret is in the audit before it is taken, by its fingerprint.
async fn note_weakness(
    registry: &impl Registry,
    chosen: &Chosen,
    subject: &str,
    client: ClientId,
    by: By<'_>,
) -> Result<(), StoreError> {
    let (Some(weakness), Some(secret)) = (chosen.weakness, &chosen.secret) else {
        return Ok(());
    };
    let detail = serde_json::json!({
        "weakness": weakness,
        "fingerprint": secret.fingerprint(),
    });
    let deed = Deed::new("secret.weak", subject).of(client).with(detail);
    registry.record(&deed, by).await
}
