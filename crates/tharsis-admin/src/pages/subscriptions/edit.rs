//! Changing a subscription by a form: what the form has, and nothing else of it.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    Invalid,
    alert::is_own,
    payload::CATALOGUE,
    profile::{Profile, Requirement},
    subscription::{Draft, Settings, Subscription},
};

use super::{new, path};
use crate::{
    Problem,
    pages::{
        fields::{Choice, Input, is_of, told},
        form::Form,
        layout::{self, Frame},
        sample::{self, Sample},
        visit::{Path, Visit},
    },
    registering::{Changing, Chosen, Wanted, policy, same_host},
};

/// The code of what is not there any more as it was read.
const CHANGED_MEANWHILE: &str = "changed_meanwhile";

#[derive(Template)]
#[template(path = "edit.html")]
struct Page {
    frame: Frame,
    path: String,
    name: String,
    /// That which the form was made of.
    version: String,
    /// Where it is about no field.
    problem: Option<String>,
    /// It is another one by now.
    is_stale: bool,
    first: Vec<Input>,
    events: Vec<Choice>,
    /// Tharsis' own.
    own_events: Vec<Choice>,
    events_problem: Option<String>,
    last: Vec<Input>,
}

impl Page {
    fn new(visit: &Visit, found: &Subscription, typed: &Form, problem: Option<&Problem>) -> Self {
        let profile = &found.settings.profile;
        let after = |input: Input| input.after(typed, problem);
        let first: Vec<Input> = first(profile, typed).into_iter().map(after).collect();
        let last: Vec<Input> = last().into_iter().map(after).collect();
        let events_problem = problem.filter(|problem| is_of(problem, "events")).map(told);
        let is_beside = events_problem.is_some()
            || (first.iter().chain(&last)).any(|input| input.problem.is_some());
        let version = typed.text("version").map(str::to_owned);
        Self {
            frame: visit.frame("Edit a subscription"),
            path: path(found.id),
            name: found.settings.name.clone(),
            version: version.unwrap_or_else(|| found.version.to_string()),
            problem: problem.filter(|_| !is_beside).map(new::said),
            is_stale: problem.is_some_and(|problem| problem.code() == CHANGED_MEANWHILE),
            first,
            events: new::events(profile, typed),
            own_events: new::own_events(typed),
            events_problem,
            last,
        }
    }
}

fn first(profile: &Profile, typed: &Form) -> Vec<Input> {
    let mut inputs = vec![
        Input::new("name", "Name")
            .hint("to tell webhooks apart, nothing more")
            .required(),
        Input::new("url", "Payload URL")
            .hint(
                "a new one is asked once now, and must answer; on another host the secret is replaced, and headers of its own go: what the former host was told is not sent to another one",
            )
            .url()
            .required(),
    ];
    if profile.secret != Requirement::Useless {
        inputs.push(
            Input::new("secret", "Secret of the other host")
                .hint("only where the URL leads to another host; leave it empty, and one is generated and shown once")
                .secret(),
        );
    }
    if profile.events.is_empty() || typed.exact("other_events").is_some() {
        inputs.push(new::other_events());
    }
    inputs
}

fn last() -> Vec<Input> {
    let rate = Input::new("rate", "Rate")
        .hint("requests that may begin in how long, such as 10/s; empty: as many as it takes");
    let mut inputs = new::last();
    inputs.insert(0, rate);
    inputs
}

/// The form, as it stands before anything is typed.
pub(crate) async fn editing(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    let page = Page::new(&visit, &found, &present(&found.settings), None);
    layout::answer(StatusCode::OK, &page)
}

/// What stands, as if it had been typed.
fn present(settings: &Settings) -> Form {
    let draft = Draft::from(settings);
    let (offered, others): (Vec<String>, Vec<String>) =
        (draft.events.into_iter()).partition(|name| is_offered(&settings.profile, name));
    let mut fields = vec![
        ("name", draft.name),
        ("url", draft.url),
        ("other_events", others.join(", ")),
        ("rate", draft.rate.unwrap_or_default()),
        ("alert_mail", draft.alert_mail.join(", ")),
        ("alert_every", draft.alert_every.unwrap_or_default()),
        ("filter", draft.filter.unwrap_or_default()),
    ];
    fields.extend(offered.into_iter().map(|name| ("events", name)));
    Form::of(fields)
}

/// Whether a type is among those that are chosen from.
fn is_offered(profile: &Profile, name: &str) -> bool {
    match is_own(name) || profile.events.is_empty() {
        true => CATALOGUE.iter().any(|known| known.name == name),
        false => profile.events.iter().any(|known| &**known == name),
    }
}

#[derive(Template)]
#[template(path = "moved.html")]
struct Moved {
    frame: Frame,
    path: String,
    name: String,
    /// It was generated: this once.
    secret: Option<String>,
    fingerprint: Option<String>,
    samples: Vec<Sample>,
}

/// Changes it, once a new URL has proved that it is there. A secret that is generated for another host is shown this once.
pub(crate) async fn edit(
    visit: Visit,
    Path(id): Path<String>,
    typed: Form,
) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    match changed(&visit, &found, &typed).await {
        Ok((after, None)) => {
            visit.tell("It was changed.");
            Ok(Redirect::to(&path(after.id)).into_response())
        }
        Ok((after, secret)) => {
            let page = Moved {
                frame: visit.frame("The subscription was changed"),
                path: path(after.id),
                secret,
                samples: sample::all(&after),
                name: after.settings.name,
                fingerprint: after.secret_fingerprint,
            };
            layout::answer(StatusCode::OK, &page)
        }
        Err(problem) => {
            let page = Page::new(&visit, &found, &typed, Some(&problem));
            layout::answer_to(&problem, &page)
        }
    }
}

/// With the secret that was generated, if one was.
async fn changed(
    visit: &Visit,
    found: &Subscription,
    typed: &Form,
) -> Result<(Subscription, Option<String>), Problem> {
    still_is(typed, found.version)?;
    let (desk, options) = (&visit.desk, visit.desk.options());
    let draft = draft(typed, Draft::from(&found.settings));
    let is_new = draft.url != found.settings.url.given();
    let policy = policy(&options.egress, &found.settings, is_new);
    let settings = draft.settings(&policy, &options.profiles)?;
    let mut changing = Changing::new(found, settings, None, None)?;
    let secret = typed.exact("secret");
    if changing.moves() {
        let wanted = secret.map_or(Wanted::Any, |secret| Wanted::This(secret.as_bytes()));
        let profile = &found.settings.profile;
        changing = changing.with_secret(Chosen::of(profile, wanted, false, new::INSIST)?)?;
    } else if secret.is_some() {
        let hint = "leave it empty; the secret alone is replaced by rotating it";
        return Err(same_host().hint(hint).into());
    }
    let after = changing.make(desk.emitter(), desk.by()).await?;
    let generated = changing.chosen().and_then(Chosen::shown);
    Ok((after, generated.map(str::to_owned)))
}

/// It is what the form was made of.
pub(super) fn still_is(typed: &Form, version: u64) -> Result<(), Invalid> {
    let shown = typed.text("version");
    let shown = shown.ok_or_else(|| Invalid::new("missing_field", "is missing").at("version"))?;
    if shown == version.to_string() {
        return Ok(());
    }
    Err(Invalid::new(
        CHANGED_MEANWHILE,
        "somebody has changed it since this form was made, and nothing was changed now",
    )
    .hint("look at it again, and make the change to what it is now"))
}

/// What was typed, over what stands. What was left empty takes the default.
fn draft(typed: &Form, present: Draft) -> Draft {
    let text = |name: &str| typed.text(name).map(str::to_owned);
    Draft {
        name: text("name").unwrap_or_default(),
        url: text("url").unwrap_or_default(),
        events: new::types(typed),
        rate: text("rate"),
        alert_mail: new::listed(typed, "alert_mail"),
        alert_every: text("alert_every"),
        filter: text("filter"),
        ..present
    }
}

#[cfg(test)]
mod tests {
    use tharsis::{egress::Policy, profile::Profiles};

    use super::*;

    fn settings() -> Settings {
        let draft = Draft {
            client: "36011017-0e00-4e29-a054-7a1fbb8b60a2".to_owned(),
            name: "Shop".to_owned(),
            url: "https://shop.example.com/hooks".to_owned(),
            events: vec!["nudge".to_owned(), "delivery.dead".to_owned()],
            retry: Some("1m".to_owned()),
            rate: Some("10/s".to_owned()),
            alert_mail: ["ops@shop.example", "eve@shop.example"]
                .map(str::to_owned)
                .into(),
            filter: Some("event.channel == \"push\"".to_owned()),
            traceparent: true,
            ..Draft::default()
        };
        let settings = draft.settings(&Policy::default(), &Profiles::default());
        settings.expect("good settings")
    }

    #[test]
    fn what_is_sent_as_it_stands_changes_nothing() {
        let settings = settings();
        let before = Draft::from(&settings);
        assert_eq!(draft(&present(&settings), before.clone()), before);
    }

    #[test]
    fn what_is_emptied_takes_the_default_and_the_rest_stays() {
        let before = Draft::from(&settings());
        let typed = Form::parse(b"name=Till&url=https://till.example.com/&rate=&filter=");
        let after = draft(&typed, before.clone());
        assert_eq!(
            (&*after.name, &after.rate, &after.filter),
            ("Till", &None, &None)
        );
        assert!(after.events.is_empty() && after.alert_mail.is_empty());
        assert_eq!((after.retry, after.traceparent), (before.retry, true));
    }

    #[test]
    fn a_form_of_another_version_is_refused() {
        let of = |typed: &[u8]| still_is(&Form::parse(typed), 7).map_err(|e| e.code);
        assert_eq!(of(b"version=7"), Ok(()));
        assert_eq!(of(b"version=6"), Err(CHANGED_MEANWHILE));
        assert_eq!(of(b"version=07"), Err(CHANGED_MEANWHILE));
        assert_eq!(of(b"name=Shop"), Err("missing_field"));
    }
}
