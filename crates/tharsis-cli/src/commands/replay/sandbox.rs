//! Where a replay goes in place of the subscriptions that it is of.

use tharsis::{
    Emitter, Registry, SubscriptionId,
    subscription::{Credentials, Draft, Subscription},
};

use crate::{
    commands::{Context, by},
    output::{Failure, text::inert},
};

/// The subscription of this id, or the one that was made for this URL before.
pub(super) async fn there(
    registry: &impl Registry,
    to: &str,
    of: Option<SubscriptionId>,
) -> Result<Option<SubscriptionId>, Failure> {
    if let Ok(id) = to.parse() {
        let found = registry.find(id).await?;
        if let Some(of) = of
            && registry.find(of).await?.settings.client != found.settings.client
        {
            return Err(
                Failure::new("other_client", format!("{id} is of another client"))
                    .at("--to")
                    .hint("events go to subscriptions of their own client alone"),
            );
        }
        return Ok(Some(id));
    }
    let Some(of) = of else { return Ok(None) };
    let found = registry.find(of).await?;
    let name = name(&found);
    let made = registry.list(Some(found.settings.client)).await?;
    let made =
        (made.iter()).find(|made| made.settings.name == name && made.settings.url.given() == to);
    Ok(made.map(|made| made.id))
}

fn name(of: &Subscription) -> String {
    format!("sandbox of {}", of.settings.name)
}

/// Whose profile and secret a URL gets must be clear.
pub(super) fn of_nobody() -> Failure {
    Failure::usage("bad_choice", "another URL gets what is of one subscription")
        .at("--to")
        .hint("give --subscription once: its profile and secret are used")
}

/// Makes a subscription for this URL, as the one that it stands for is.
pub(super) async fn make(
    context: &Context,
    emitter: &Emitter,
    to: &str,
    of: SubscriptionId,
) -> Result<SubscriptionId, Failure> {
    let registry = emitter.registry();
    let found = registry.find(of).await?;
    let draft = Draft {
        name: name(&found),
        url: to.to_owned(),
        // Routing sends it nothing.
        filter: Some("false".to_owned()),
        alert_mail: Vec::new(),
        order: None,
        on_dead: None,
        ..Draft::from(&found.settings)
    };
    let configuration = &context.configuration;
    let settings = draft.settings(&configuration.egress, &configuration.profiles)?;
    let credentials = Credentials {
        secret: registry.credentials(of).await?.secret,
        ..Credentials::default()
    };
    let output = context.output;
    let made = output
        .progress()
        .during(
            emitter.subscribe_by(&settings, &credentials, None, by()),
            || format!("Checking {}", inert(to)),
        )
        .await?;
    output.note(format_args!(
        "It goes to the subscription {id}. When it has served: tharsis subscription remove {id}",
        id = made.id
    ));
    Ok(made.id)
}
