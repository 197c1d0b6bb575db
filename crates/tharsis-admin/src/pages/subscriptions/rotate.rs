//! Giving a subscription another secret.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{parse_duration, subscription::Subscription};

use super::{edit::still_is, path};
use crate::{
    Problem,
    pages::{
        fields::{Input, is_of},
        form::Form,
        layout::{self, Frame},
        sample::{self, Sample},
        visit::{Path, Visit},
    },
    registering::{self, Chosen, Wanted},
};

/// How a weak secret is insisted on, which is not for a page.
const INSIST: &str = "accept_weak_secret of the API, or --accept-weak-secret";

#[derive(Template)]
#[template(path = "rotate.html")]
struct Page {
    frame: Frame,
    path: String,
    /// Of the subscription that the form was made of.
    version: u64,
    name: String,
    /// Where it is about no field.
    problem: Option<String>,
    inputs: Vec<Input>,
}

impl Page {
    fn new(visit: &Visit, found: &Subscription, typed: &Form, problem: Option<&Problem>) -> Self {
        let secret = Input::new("secret", "New secret")
            .hint("leave it empty, and one is generated and shown once")
            .secret();
        let overlap = Input::new("overlap", "Overlap")
            .hint("how long the former one signs beside it, such as 1d; empty: it does not");
        let names = ["secret", "overlap"];
        let is_beside = |problem: &&Problem| names.into_iter().any(|name| is_of(problem, name));
        Self {
            frame: visit.frame("Rotate the secret"),
            path: path(found.id),
            version: found.version,
            name: found.settings.name.clone(),
            problem: (problem.filter(|problem| !is_beside(problem))).map(layout::sentence),
            inputs: [secret, overlap]
                .map(|input| input.after(typed, problem))
                .into(),
        }
    }
}

/// Asks for the new one.
pub(crate) async fn rotation(
    visit: Visit,
    Path(id): Path<String>,
    typed: Form,
) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    layout::answer(StatusCode::OK, &Page::new(&visit, &found, &typed, None))
}

#[derive(Template)]
#[template(path = "rotated.html")]
struct Rotated {
    frame: Frame,
    path: String,
    name: String,
    /// Where it was generated: this once.
    secret: Option<String>,
    fingerprint: Option<String>,
    samples: Vec<Sample>,
}

/// Replaces its secret. One that is generated is shown this once.
pub(crate) async fn rotate(
    visit: Visit,
    Path(id): Path<String>,
    typed: Form,
) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    match rotated(&visit, &found, &typed).await {
        Ok((after, chosen)) => {
            let page = Rotated {
                frame: visit.frame("The secret was rotated"),
                path: path(after.id),
                secret: chosen.shown().map(str::to_owned),
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

async fn rotated(
    visit: &Visit,
    found: &Subscription,
    typed: &Form,
) -> Result<(Subscription, Chosen), Problem> {
    // Nor is it rotated once more where a browser sends the form again.
    still_is(typed, found.version)?;
    let overlap = typed.text("overlap").map(parse_duration).transpose();
    let overlap = overlap.map_err(|e| e.at("overlap"))?;
    let wanted = match typed.exact("secret") {
        Some(secret) => Wanted::This(secret.as_bytes()),
        None => Wanted::Any,
    };
    let chosen = Chosen::of(&found.settings.profile, wanted, false, INSIST)?;
    let (desk, by) = (&visit.desk, visit.desk.by());
    let after = registering::rotate(desk.registry(), found, &chosen, overlap, by).await?;
    Ok((after, chosen))
}
