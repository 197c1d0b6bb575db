//! Access tokens: who may use the API and these pages.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    ClientId, Registry, Timestamp,
    store::{TokenRecord, TokenState},
    token::{Role, Token},
};

use crate::{
    Lifetime, Problem,
    pages::{
        fields::{Choice, Fact, Input, is_of, told},
        form::Form,
        layout::{self, Frame},
        markup::{Badge, Moment},
        visit::{Path, Visit},
    },
    text::moment,
};

/// Tokens of one page.
const PAGE: usize = 25;

/// Where they are.
const PATH: &str = "/settings/tokens";

#[derive(Template)]
#[template(path = "tokens.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    /// Where those before and those after are.
    former: Option<String>,
    next: Option<String>,
    sees_all: bool,
    /// Those of one client alone are shown, though there are others.
    is_part: bool,
    /// Where it is about no field.
    problem: Option<String>,
    inputs: Vec<Input>,
    roles: Vec<Choice>,
    role_problem: Option<String>,
}

/// A token as the list tells it.
struct Row {
    name: String,
    prefix: String,
    role: &'static str,
    /// `None`: it is for all.
    client: Option<String>,
    state: Badge,
    expires: Option<Moment>,
    used: Option<Moment>,
    /// Where it is revoked, as long as it lets somebody in.
    revoke: Option<String>,
}

impl Row {
    fn of(token: &TokenRecord, now: Timestamp) -> Self {
        let state = token.state(now);
        Self {
            name: token.name.clone(),
            prefix: token.prefix.clone(),
            role: token.grant.role.as_str(),
            client: token.grant.client.map(|client| client.to_string()),
            state: Badge::of(state.as_str()),
            expires: token.expires_at.map(|at| Moment::of(at, now)),
            used: token.used_at.map(|at| Moment::of(at, now)),
            revoke: (state == TokenState::Usable).then(|| format!("{PATH}/{}/revoke", token.id)),
        }
    }
}

/// Newest first, some at a time, with the form for another one.
pub(crate) async fn list(visit: Visit, asked: Form) -> Result<Response, Problem> {
    let client = visit.desk.client(asked.word("client")?)?;
    shown(&visit, &asked, client, None).await
}

async fn shown(
    visit: &Visit,
    asked: &Form,
    client: Option<ClientId>,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let all = visit.desk.registry().tokens(client).await?;
    let last = all.len().div_ceil(PAGE).max(1);
    let number = asked
        .text("page")
        .and_then(|text| text.parse::<usize>().ok());
    let number = number.unwrap_or(1).clamp(1, last);
    let rows = all.iter().skip((number - 1) * PAGE).take(PAGE);
    let page = |number: usize| {
        let query = match client.filter(|_| visit.sees_all()) {
            Some(client) => format!("client={client}&page={number}"),
            None => format!("page={number}"),
        };
        format!("{PATH}?{query}")
    };
    let inputs: Vec<Input> = (inputs(visit).into_iter())
        .map(|input| input.after(asked, problem))
        .collect();
    let role_problem = problem.filter(|problem| is_of(problem, "role")).map(told);
    let is_beside = role_problem.is_some() || inputs.iter().any(|input| input.problem.is_some());
    let list = List {
        rows: rows.map(|token| Row::of(token, visit.now())).collect(),
        former: (number > 1).then(|| page(number - 1)),
        next: (number < last).then(|| page(number + 1)),
        sees_all: visit.sees_all(),
        is_part: visit.sees_all() && client.is_some(),
        problem: problem.filter(|_| !is_beside).map(layout::sentence),
        inputs,
        roles: roles(asked),
        role_problem,
        frame: visit.frame("Access tokens"),
    };
    let status = problem.map_or(StatusCode::OK, Problem::status);
    layout::answer(status, &list)
}

fn inputs(visit: &Visit) -> Vec<Input> {
    let mut inputs = vec![
        Input::new("name", "Name")
            .hint("who holds it, or what for; the audit names it")
            .required(),
    ];
    if visit.sees_all() {
        inputs.push(
            Input::new("client", "Client").hint("the id of the one that it is for; empty: for all"),
        );
    }
    let lifetime = Lifetime::default();
    inputs.push(
        Input::new("expires", "Expires after")
            .hint(format!("such as 90d, or none; empty: {lifetime}")),
    );
    inputs
}

/// Each with what it may. A viewer is chosen unless another one is: it may least of those who come to pages.
fn roles(asked: &Form) -> Vec<Choice> {
    let chosen = asked.text("role").unwrap_or(Role::Viewer.as_str());
    let choices = Role::ALL.map(|role| {
        let does = match role {
            Role::Publisher => "publishes events, and nothing else",
            Role::Viewer => "reads everything but secrets",
            Role::Operator => "also pauses, resumes, replays, cancels and sends tests",
            Role::Admin => "everything, tokens too",
        };
        Choice {
            value: role.as_str().to_owned(),
            label: format!("{role}: {does}"),
            is_chosen: chosen == role.as_str(),
        }
    });
    choices.into()
}

#[derive(Template)]
#[template(path = "token.html")]
struct Made {
    frame: Frame,
    name: String,
    /// All of it: this once.
    token: String,
    facts: Vec<Fact>,
}

/// Makes one. It is shown this once, in the answer itself: nothing that could be read again leads to it.
pub(crate) async fn make(visit: Visit, typed: Form) -> Result<Response, Problem> {
    match made(&visit, &typed).await {
        Ok((record, token)) => {
            let page = Made {
                facts: facts(&record, visit.now()),
                name: record.name,
                token: token.expose().to_owned(),
                frame: visit.frame("The token was made"),
            };
            layout::answer(StatusCode::CREATED, &page)
        }
        // Another's client is told of on no form.
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => Err(problem),
        Err(problem) => {
            let client = visit.desk.client(None)?;
            shown(&visit, &typed, client, Some(&problem)).await
        }
    }
}

async fn made(visit: &Visit, typed: &Form) -> Result<(TokenRecord, Token), Problem> {
    let client = typed.word("client")?;
    let lifetime = typed.word("expires")?;
    let name = typed.text("name").unwrap_or_default().to_owned();
    let role = typed.text("role").unwrap_or_default();
    visit.desk.make_token(name, role, client, lifetime).await
}

fn facts(record: &TokenRecord, now: Timestamp) -> Vec<Fact> {
    let client = record.grant.client;
    let expires = record.expires_at;
    vec![
        Fact::new("Role", record.grant.role.as_str()),
        Fact::new(
            "Client",
            client.map_or_else(|| "all".to_owned(), |client| client.to_string()),
        ),
        Fact::new("Prefix", &*record.prefix),
        Fact::new(
            "Expires",
            expires.map_or_else(|| "never".to_owned(), |at| moment(at, now)),
        ),
    ]
}

/// Has one let nobody in any more.
pub(crate) async fn revoke(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let revoked = visit.desk.revoke_token(&id).await?;
    let TokenRecord { prefix, name, .. } = &revoked;
    visit.tell(format!(
        "The token {prefix} {name} was revoked: it lets nobody in any more."
    ));
    Ok(Redirect::to(PATH).into_response())
}
