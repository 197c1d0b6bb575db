//! Asking for a replay: what it takes is chosen, looked at, and confirmed.

use std::sync::Arc;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    Registry,
    store::{Replay, ReplayDraft},
    subscription::Subscription,
};

use super::{
    path,
    wanted::{MISSING, Said, placed},
};
use crate::{
    Problem,
    api::replays::draft,
    pages::{
        deliveries::{self, CHOSEN},
        fields::{Choice, Input, is_of, told},
        form::Form,
        layout::{self, Frame},
        markup::Kept,
        visit::Visit,
    },
    preview::{ASKED, Preview, preview},
    text::count,
};

/// So many deliveries of each end are looked at before it is only said that there are more.
const LOOKED: usize = 100_000;

#[derive(Template)]
#[template(path = "replay_new.html")]
struct Page {
    frame: Frame,
    /// Where it is about no field that is typed or chosen.
    problem: Option<String>,
    statuses: Vec<Choice>,
    selects: Vec<Select>,
    inputs: Vec<Input>,
    /// What it would take, where that was looked at.
    look: Option<Arc<Look>>,
    /// It is being looked at.
    is_looking: bool,
}

/// A field of which one value is chosen.
struct Select {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    choices: Vec<Choice>,
    problem: Option<String>,
}

/// What a replay would take, and what confirms it.
pub(crate) struct Look {
    answer: String,
    shares: Vec<Share>,
    sample: Vec<deliveries::Row>,
    /// What was looked at, as it is sent; empty: there is nothing to send.
    hidden: Vec<Hidden>,
}

/// What a subscription would get.
struct Share {
    href: String,
    name: String,
    count: String,
}

/// A field that is not seen.
struct Hidden {
    name: String,
    value: Kept,
}

/// The form, and what it would take where that is asked for.
pub(crate) async fn form(visit: Visit, typed: Form) -> Result<Response, Problem> {
    if typed.text("look").is_none() {
        let page = Page::new(&visit, &typed, None, None).await?;
        return layout::answer(StatusCode::OK, &page);
    }
    match looked(&visit, &typed).await.map_err(placed) {
        Ok(Some(look)) => {
            let page = Page::new(&visit, &typed, None, Some(look)).await?;
            layout::answer(StatusCode::OK, &page)
        }
        Ok(None) => {
            let mut page = Page::new(&visit, &typed, None, None).await?;
            page.is_looking = true;
            layout::answer(StatusCode::OK, &page).map(layout::again)
        }
        Err(problem) => refused(&visit, &typed, &problem).await,
    }
}

/// Asks for it.
pub(crate) async fn create(visit: Visit, typed: Form) -> Result<Response, Problem> {
    match asked(&visit, &typed).await.map_err(placed) {
        Ok(replay) => {
            visit.tell("The replay was asked for.");
            Ok(Redirect::to(&path(replay.id)).into_response())
        }
        Err(problem) => refused(&visit, &typed, &problem).await,
    }
}

/// The form again, with what is wrong.
async fn refused(visit: &Visit, typed: &Form, problem: &Problem) -> Result<Response, Problem> {
    let page = Page::new(visit, typed, Some(problem), None).await?;
    layout::answer_to(problem, &page)
}

async fn asked(visit: &Visit, typed: &Form) -> Result<Replay, Problem> {
    let desk = &visit.desk;
    let wanted = Said::of(typed, visit.now())?.wanted();
    let mut draft = draft(desk, wanted).await?;
    // What was counted when it was looked at is for those alone who watch it.
    draft.expected = typed.text("expected").and_then(|text| text.parse().ok());
    Ok(desk.registry().replay(&draft, desk.by()).await?)
}

/// What it would take, once that is counted. What is wrong with what is asked for is said at once.
async fn looked(visit: &Visit, typed: &Form) -> Result<Option<Arc<Look>>, Problem> {
    let desk = &visit.desk;
    let said = Said::of(typed, visit.now())?;
    let draft = draft(desk, said.wanted()).await?;
    let to = match draft.to {
        Some(to) => Some(desk.subscription(&to.to_string()).await?.settings.name),
        None => None,
    };
    let key = (desk.client(None)?, typed.query());
    let counting = {
        let visit = visit.clone();
        async move {
            let _turn = visit.turn().await?;
            look(&visit, &said, &draft, to.as_deref()).await
        }
    };
    let looks = &visit.shared().looks;
    looks.within(visit.patience(), key, counting).await
}

async fn look(
    visit: &Visit,
    said: &Said,
    draft: &ReplayDraft,
    to: Option<&str>,
) -> Result<Look, Problem> {
    let registry = visit.desk.registry();
    let preview = preview(registry, draft, to, Some(LOOKED)).await?;
    let mut sample = Vec::new();
    for id in &preview.sample {
        let row = registry.delivery(*id).await?.row;
        sample.push(deliveries::Row::of(&row, visit.now()));
    }
    Ok(Look {
        answer: preview.answer(),
        shares: shares(&preview),
        sample,
        hidden: hidden(said, &preview),
    })
}

/// Those that get most.
fn shares(preview: &Preview) -> Vec<Share> {
    let shares = preview.subscriptions.iter().take(ASKED);
    shares
        .map(|share| Share {
            href: format!("/subscriptions/{}", share.id),
            name: share.name.clone(),
            count: match preview.may_be_more {
                true => format!("at least {}", count(share.count)),
                false => count(share.count),
            },
        })
        .collect()
}

fn hidden(said: &Said, preview: &Preview) -> Vec<Hidden> {
    if preview.count == 0 && !preview.may_be_more {
        return Vec::new();
    }
    let field = |name: &str, value: &str| Hidden {
        name: name.to_owned(),
        value: Kept::from(value),
    };
    let mut hidden: Vec<Hidden> = (said.pairs())
        .map(|(name, value)| field(name, value))
        .collect();
    if !preview.may_be_more {
        hidden.push(field("expected", &preview.count.to_string()));
    }
    hidden
}

impl Page {
    async fn new(
        visit: &Visit,
        typed: &Form,
        problem: Option<&Problem>,
        look: Option<Arc<Look>>,
    ) -> Result<Self, Problem> {
        // One that is no id is told by its field.
        let client = visit
            .desk
            .client(typed.word("client").unwrap_or_default())?;
        let subscriptions = visit.desk.registry().list(client).await?;
        let of = one_of(&subscriptions, typed.text("subscription"), "any");
        let to = one_of(&subscriptions, typed.text("to"), "their own");
        let inputs: Vec<Input> = inputs(visit, of.is_none(), to.is_none())
            .into_iter()
            .map(|input| input.after(typed, problem))
            .collect();
        let selects = selects(typed, of, to, problem);
        let mut beside = (inputs.iter().map(|input| &input.problem))
            .chain(selects.iter().map(|select| &select.problem));
        let is_beside = beside.any(Option::is_some);
        Ok(Self {
            frame: visit.frame("New replay"),
            problem: problem.filter(|_| !is_beside).map(sentence),
            statuses: deliveries::statuses(typed),
            selects,
            inputs,
            look,
            is_looking: false,
        })
    }
}

/// What is wrong, where, and what to do.
fn sentence(problem: &Problem) -> String {
    match problem.field() {
        Some(field) => format!("{field}: {}", told(problem)),
        None => told(problem),
    }
}

/// To choose one of these; `None` where there are too many, or another one is named: its id is typed.
fn one_of(subscriptions: &[Subscription], chosen: Option<&str>, none: &str) -> Option<Vec<Choice>> {
    let mut choices = vec![Choice {
        value: String::new(),
        label: none.to_owned(),
        is_chosen: chosen.is_none(),
    }];
    choices.extend(subscriptions.iter().map(|one| {
        let id = one.id.to_string();
        Choice {
            is_chosen: chosen == Some(&*id),
            value: id,
            label: one.settings.name.clone(),
        }
    }));
    let is_there = choices.iter().any(|choice| choice.is_chosen);
    (is_there && subscriptions.len() <= CHOSEN).then_some(choices)
}

fn selects(
    typed: &Form,
    of: Option<Vec<Choice>>,
    to: Option<Vec<Choice>>,
    problem: Option<&Problem>,
) -> Vec<Select> {
    let select = |name: &'static str, label: &'static str, hint: &'static str, choices| Select {
        name,
        label,
        hint,
        choices,
        problem: problem.filter(|problem| is_of(problem, name)).map(told),
    };
    let words = |name: &str, words: [(&str, &str); 2]| -> Vec<Choice> {
        let chosen = typed.text(name).unwrap_or_default();
        let choices = words.map(|(value, label)| Choice {
            value: value.to_owned(),
            label: label.to_owned(),
            is_chosen: value == chosen,
        });
        choices.into()
    };
    let what = words(
        "what",
        [
            ("", "what has ended"),
            (MISSING, "what was never delivered to the subscription"),
        ],
    );
    let key = words(
        "key",
        [
            ("", "the same: who has had an event leaves it out"),
            ("fresh", "a fresh one: receivers take it all for new"),
        ],
    );
    let mut selects = vec![select("what", "What is sent", "", what)];
    selects.extend(of.map(|of| select("subscription", "Subscription", "", of)));
    selects.extend(to.map(|to| {
        let hint = "the one that gets it all; of one client alone";
        select("to", "To", hint, to)
    }));
    selects.push(select("key", "Idempotency key", "", key));
    selects
}

fn inputs(visit: &Visit, types_subscription: bool, types_to: bool) -> Vec<Input> {
    let mut inputs = Vec::new();
    if types_subscription {
        inputs.push(Input::new("subscription", "Subscription").hint("its id"));
    }
    if types_to {
        inputs.push(Input::new("to", "To").hint("the id of the subscription that gets it all"));
    }
    inputs.push(Input::new("type", "Event type"));
    inputs.push(Input::new("campaign", "Campaign"));
    inputs.push(Input::new("event", "Event").hint("its id"));
    if visit.sees_all() {
        inputs.push(Input::new("client", "Client").hint("its id"));
    }
    let when = "how long ago, such as 24h; or when: 2026-01-31T12:30:00Z";
    inputs.push(Input::new("since", "Published since").hint(when));
    inputs.push(Input::new("until", "Published before").hint("in the same way"));
    let rate = "such as 10/s or 300/m; empty: as fast as receivers take it";
    inputs.push(Input::new("rate", "No faster than").hint(rate));
    inputs
}
