//! What a subscription is, told to people.

use tharsis::{
    Timestamp, format_duration,
    health::Limits,
    order::{OnDead, Order},
    subscription::{Held, Settings, Subscription},
};

use crate::{pages::fields::Fact, text::moment};

/// All of it. Of its secret there is a fingerprint alone, of its headers the names.
pub(super) fn facts(
    subscription: &Subscription,
    last_at: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Fact> {
    let settings = &subscription.settings;
    let told = |at: Option<Timestamp>| at.map(|at| moment(at, now));
    let health = &subscription.health;
    let rows = [
        ("Id", Some(subscription.id.to_string())),
        ("Client", Some(settings.client.to_string())),
        ("URL", Some(settings.url.given().to_owned())),
        ("Why", subscription.state.reason().map(str::to_owned)),
        ("Goes on", subscription.resuming.map(resuming)),
        ("Health since", told(health.since)),
        ("Cause", health.cause.clone()),
        ("Failing since", told(health.failing_since)),
        ("Next probe", told(health.probe_at)),
        (
            "Last attempt",
            Some(told(last_at).unwrap_or_else(|| "none of late".to_owned())),
        ),
        ("Profile", Some(settings.profile.name.to_string())),
        ("Events", Some(events(settings))),
        ("Filter", settings.filter.as_ref().map(ToString::to_string)),
        ("Fields", fields(settings)),
        ("Content type", Some(settings.content_type.clone())),
        ("Timeout", Some(format_duration(settings.timeout))),
        ("Retry", Some(retry(settings))),
        ("Breaker", Some(breaker(settings.limits))),
        (
            "In flight",
            Some(format!("at most {}", settings.max_in_flight)),
        ),
        ("Rate", settings.rate.map(|rate| rate.to_string())),
        ("Order", settings.order.as_ref().map(order)),
        ("Batch", batch(settings)),
        ("Alerts", alerts(settings)),
        ("Headers", listed(subscription.headers.iter())),
        ("Secret", Some(secret(subscription, now))),
        ("Public key", subscription.public_key.clone()),
        (
            "Former secret",
            (subscription.overlap_until.filter(|until| *until > now))
                .map(|until| format!("signs too, until {}", moment(until, now))),
        ),
        ("Added", Some(moment(subscription.created_at, now))),
        ("Changed", Some(moment(subscription.updated_at, now))),
    ];
    let mut facts: Vec<Fact> = (rows.into_iter())
        .filter_map(|(name, value)| value.map(|value| Fact::new(name, value)))
        .collect();
    let of_profile = settings.profile_settings.iter();
    facts.extend(of_profile.map(|(name, value)| Fact::new(name, value)));
    facts
}

fn resuming(held: Held) -> String {
    let with = match held {
        Held::Latest => "with the latest for each recipient only",
        Held::All | Held::None => "without what was held",
    };
    with.to_owned()
}

fn events(settings: &Settings) -> String {
    let own = settings.events.iter().map(ToString::to_string);
    match listed(own) {
        Some(events) => events,
        None if settings.profile.events.is_empty() => "all".to_owned(),
        None => format!(
            "all of {}: {}",
            settings.profile.name,
            settings.profile.events.join(", ")
        ),
    }
}

fn fields(settings: &Settings) -> Option<String> {
    let is_all = settings.fields.is_all();
    (!is_all).then(|| settings.fields.to_string())
}

fn retry(settings: &Settings) -> String {
    match settings.retry.window() {
        Some(window) => format!("{} within {}", settings.retry, format_duration(window)),
        None => settings.retry.to_string(),
    }
}

/// When its deliveries are held, and when it is suspended.
fn breaker(limits: Limits) -> String {
    let opens = match limits.breaker {
        Some(most) => format!("opens after {most} failures in a row"),
        None => return "never opens".to_owned(),
    };
    match limits.suspend_after {
        Some(after) => format!("{opens}; suspended after {}", format_duration(after)),
        None => format!("{opens}; never suspended"),
    }
}

/// Which of its deliveries wait for each other, and for how long.
fn order(order: &Order) -> String {
    match order.on_dead {
        OnDead::GiveUp => format!("{}; the next goes when one is dead", order.by),
        OnDead::Hold => format!("{}; one that is dead holds those after it", order.by),
    }
}

fn batch(settings: &Settings) -> Option<String> {
    settings.batch.map(|batch| {
        let linger = format_duration(batch.linger);
        format!("up to {} after {linger}", batch.items)
    })
}

/// Who is told when it fails, and how often.
fn alerts(settings: &Settings) -> Option<String> {
    let every = format_duration(settings.alerts.every);
    let mail = listed(settings.alerts.mail.iter().map(ToString::to_string));
    mail.map(|mail| format!("to {mail}, each cause at most every {every}"))
}

fn secret(subscription: &Subscription, now: Timestamp) -> String {
    match (&subscription.secret_fingerprint, subscription.secret_set_at) {
        (Some(fingerprint), Some(at)) => {
            format!("fingerprint {fingerprint}, set {}", moment(at, now))
        }
        (Some(fingerprint), None) => format!("fingerprint {fingerprint}"),
        (None, _) if subscription.settings.profile.signature.is_none() => {
            "none: the profile signs nothing".to_owned()
        }
        (None, _) => "none: requests go out without a signature".to_owned(),
    }
}

/// `None` where there is none.
fn listed<T: Into<String>>(of: impl Iterator<Item = T>) -> Option<String> {
    let all: Vec<String> = of.map(Into::into).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
