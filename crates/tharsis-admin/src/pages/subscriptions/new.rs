//! Adding a webhook by a form.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    CheckMethod, ClientId, Invalid,
    alert::is_own,
    payload::CATALOGUE,
    profile::{Check, Fallback, KeyKind, Profile, Requirement},
    subscription::{Draft, Subscription},
};

use super::path;
use crate::{
    Problem,
    pages::{
        fields::{Choice, Input, is_of, joined, told},
        form::Form,
        layout::{self, Frame},
        sample::{self, Sample},
        visit::Visit,
    },
    registering::{self, Chosen, Wanted, key_kind, knows_secret},
};

/// How a weak secret is insisted on, which is not for a page.
pub(super) const INSIST: &str = "accept_weak_secret of the API, or --accept-weak-secret";

/// What fields of a profile's own settings begin with.
const SETTING: &str = "profile_settings.";

#[derive(Template)]
#[template(path = "new.html")]
struct Page {
    frame: Frame,
    /// Where it is about no field.
    problem: Option<String>,
    /// Name, URL and what else comes before the events.
    first: Vec<Input>,
    profiles: Vec<Choice>,
    profile_problem: Option<String>,
    /// What the profile asks for beside what every one has.
    of_profile: Vec<Input>,
    events: Vec<Choice>,
    /// Tharsis' own.
    own_events: Vec<Choice>,
    events_problem: Option<String>,
    last: Vec<Input>,
    /// How the URL may prove that it is there; empty where there is no choice.
    checks: Vec<Choice>,
    check_problem: Option<String>,
    /// For whom the receiver is to open.
    seen_from: Option<String>,
}

/// The form, as it stands before anything is typed.
pub(crate) async fn form(visit: Visit, typed: Form) -> Result<Response, Problem> {
    let page = Page::new(&visit, &typed, None)?;
    layout::answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "made.html")]
struct Made {
    frame: Frame,
    path: String,
    name: String,
    /// Where it was generated: this once.
    secret: Option<String>,
    fingerprint: Option<String>,
    samples: Vec<Sample>,
    seen_from: Option<String>,
}

/// Adds it, once its URL has proved that it is there; or shows the form of another profile. A secret that is generated is shown
/// this once, in the answer itself: nothing that could be read again leads to it.
pub(crate) async fn create(visit: Visit, typed: Form) -> Result<Response, Problem> {
    if typed.exact("do") == Some("profile") {
        return form(visit, typed).await;
    }
    // Whose it is to be: what is another's is not there.
    let client: Option<ClientId> = match typed.word("client") {
        Ok(client) => visit.desk.client(client)?,
        Err(_) => None,
    };
    match made(&visit, &typed, client).await {
        Ok((added, chosen)) => {
            let page = Made {
                path: path(added.id),
                secret: chosen.shown().map(str::to_owned),
                samples: sample::all(&added),
                name: added.settings.name,
                fingerprint: added.secret_fingerprint,
                seen_from: joined(&visit.desk.options().seen_from),
                frame: visit.frame("The webhook was added"),
            };
            layout::answer(StatusCode::CREATED, &page)
        }
        Err(problem) => {
            let page = Page::new(&visit, &typed, Some(&problem))?;
            layout::answer_to(&problem, &page)
        }
    }
}

async fn made(
    visit: &Visit,
    typed: &Form,
    client: Option<ClientId>,
) -> Result<(Subscription, Chosen), Problem> {
    let desk = &visit.desk;
    let options = desk.options();
    // One that is no id is refused by its field.
    typed.word::<ClientId>("client")?;
    let client = client.ok_or_else(|| Invalid::new("missing_field", "is missing").at("client"))?;
    let settings = draft(typed, client).settings(&options.egress, &options.profiles)?;
    let method = CheckMethod::of(&settings.profile, check(typed)?)?;
    let wanted = match typed.exact("secret") {
        Some(secret) => Wanted::This(secret.as_bytes()),
        None => Wanted::Any,
    };
    let chosen = Chosen::of(&settings.profile, wanted, false, INSIST)?;
    knows_secret(method, chosen.generated)?;
    let (emitter, by) = (desk.emitter(), desk.by());
    let added = registering::add(emitter, &settings, &chosen, Vec::new(), Some(method), by);
    Ok((added.await?, chosen))
}

/// What was typed. What was left empty takes the default.
fn draft(typed: &Form, client: ClientId) -> Draft {
    let text = |name: &str| typed.text(name).map(str::to_owned);
    Draft {
        client: client.to_string(),
        name: text("name").unwrap_or_default(),
        url: text("url").unwrap_or_default(),
        profile: text("profile"),
        events: types(typed),
        content_type: text("content_type"),
        alert_mail: listed(typed, "alert_mail"),
        alert_every: text("alert_every"),
        filter: text("filter"),
        profile_settings: typed.under(SETTING),
        ..Draft::default()
    }
}

/// The types that were chosen, and those that were typed.
pub(super) fn types(typed: &Form) -> Vec<String> {
    let chosen = typed.all("events").map(str::to_owned);
    chosen.chain(listed(typed, "other_events")).collect()
}

/// What stands in a field that takes several, with commas or spaces between them.
pub(super) fn listed(typed: &Form, name: &str) -> Vec<String> {
    let between = |c: char| c.is_whitespace() || c == ',' || c == ';';
    let parts = typed.exact(name).unwrap_or_default().split(between);
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn check(typed: &Form) -> Result<Option<CheckMethod>, Invalid> {
    match typed.text("check") {
        None => Ok(None),
        Some("head") => Ok(Some(CheckMethod::Head)),
        Some("post") => Ok(Some(CheckMethod::Post)),
        Some(_) => Err(Invalid::new("bad_choice", "is none of head and post").at("check")),
    }
}

impl Page {
    fn new(visit: &Visit, typed: &Form, problem: Option<&Problem>) -> Result<Self, Problem> {
        let options = visit.desk.options();
        let name = typed.text("profile");
        // A profile that is not known is told by its field, in the form of the default one.
        let known = options.profiles.iter();
        let profile = known
            .min_by_key(|profile| name != Some(&*profile.name))
            .ok_or_else(|| Problem::not_found("profile"))?;
        let after = |input: Input| input.after(typed, problem);
        let first: Vec<Input> = first(visit, profile).into_iter().map(after).collect();
        let of_profile: Vec<Input> = of_profile(profile).into_iter().map(after).collect();
        let last: Vec<Input> = last().into_iter().map(after).collect();
        let beside = |name: &str| problem.filter(|problem| is_of(problem, name)).map(told);
        let [events_problem, profile_problem, check_problem] =
            ["events", "profile", "check"].map(beside);
        let inputs = [&first, &of_profile, &last];
        let is_beside = [&events_problem, &profile_problem, &check_problem]
            .into_iter()
            .any(Option::is_some)
            || (inputs.into_iter().flatten()).any(|input| input.problem.is_some());
        let profiles = options.profiles.iter().map(|one| Choice {
            value: one.name.to_string(),
            label: one.name.to_string(),
            is_chosen: one.name == profile.name,
        });
        Ok(Self {
            frame: visit.frame("Add a webhook"),
            problem: (problem.filter(|_| !is_beside)).map(said),
            first,
            profiles: profiles.collect(),
            profile_problem,
            of_profile,
            events: events(profile, typed),
            own_events: own_events(typed),
            events_problem,
            last,
            checks: checks(profile, typed),
            check_problem,
            seen_from: joined(&options.seen_from),
        })
    }
}

pub(super) fn said(problem: &Problem) -> String {
    match problem.field() {
        Some(field) => format!("{field}: {}", told(problem)),
        None => told(problem),
    }
}

fn first(visit: &Visit, profile: &Profile) -> Vec<Input> {
    let mut inputs = Vec::new();
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client")
                .hint("the id of whose events it gets")
                .required(),
        );
    }
    inputs.push(
        Input::new("name", "Name")
            .hint("to tell webhooks apart, nothing more")
            .required(),
    );
    inputs.push(
        Input::new("url", "Payload URL")
            .hint("https, and a public host; it is asked once now, and must answer")
            .url()
            .required(),
    );
    inputs.push(
        Input::new("content_type", "Content type").hint(format!("empty: {}", profile.content_type)),
    );
    if profile.secret != Requirement::Useless {
        let secret = Input::new("secret", "Secret")
            .hint("leave it empty, and one is generated and shown once; or give the one that the receiver holds")
            .secret();
        inputs.push(match key_kind(profile) {
            KeyKind::Text => secret.or_generated(),
            // The browser writes no key of that kind.
            _ => secret,
        });
    }
    inputs
}

fn of_profile(profile: &Profile) -> Vec<Input> {
    let inputs = profile.settings.iter().map(|setting| {
        let name = &setting.name;
        let input = Input::new(format!("{SETTING}{name}"), format!("Setting: {name}"));
        match setting.fallback {
            Fallback::Required => input.required(),
            Fallback::SubscriptionName => input.hint("empty: the name"),
            Fallback::SubscriptionId => input.hint("empty: the id"),
        }
    });
    let mut inputs: Vec<Input> = inputs.collect();
    if profile.events.is_empty() {
        inputs.push(other_events());
    }
    inputs
}

pub(super) fn other_events() -> Input {
    Input::new("other_events", "Other event types").hint("with commas between them")
}

pub(super) fn last() -> Vec<Input> {
    vec![
        Input::new("alert_mail", "Failure alerts to")
            .hint("mail addresses, with commas between them; empty: nobody but those of the installation"),
        Input::new("alert_every", "At most every").hint("such as 1h, which it is where nothing is said"),
        Input::new("filter", "Filter")
            .hint("an expression that is true of the events that it gets, such as event.channel == \"push\"; empty: all of its types")
            .long(),
    ]
}

/// The types that the profile knows; where it knows all, those that are documented.
pub(super) fn events(profile: &Profile, typed: &Form) -> Vec<Choice> {
    let documented = CATALOGUE.iter().filter(|known| !known.is_own());
    let names: Vec<&str> = match profile.events.is_empty() {
        true => documented.map(|known| known.name).collect(),
        false => profile.events.iter().map(|name| &**name).collect(),
    };
    names.into_iter().map(|name| event(name, typed)).collect()
}

pub(super) fn own_events(typed: &Form) -> Vec<Choice> {
    let own = CATALOGUE.iter().map(|known| known.name);
    own.filter(|name| is_own(name))
        .map(|name| event(name, typed))
        .collect()
}

fn event(name: &str, typed: &Form) -> Choice {
    let known = CATALOGUE.iter().find(|known| known.name == name);
    Choice {
        value: name.to_owned(),
        label: match known {
            Some(known) => format!("{name}: {}", known.summary),
            None => name.to_owned(),
        },
        is_chosen: typed.all("events").any(|chosen| chosen == name),
    }
}

fn checks(profile: &Profile, typed: &Form) -> Vec<Choice> {
    let by = match profile.check {
        Check::HeadAlone => return Vec::new(),
        Check::Head => "a HEAD",
        Check::TestEvent => "the test event",
    };
    let asked = typed.text("check").unwrap_or_default();
    let choices = [
        ("", format!("as the profile has it, by {by}")),
        ("head", "by a HEAD, answered 200".to_owned()),
        (
            "post",
            "by the signed test event; the receiver has to hold the secret".to_owned(),
        ),
    ];
    let choices = choices.map(|(value, label)| Choice {
        is_chosen: value == asked,
        value: value.to_owned(),
        label,
    });
    choices.into()
}
