//! What stands around every page, and how one is answered.

use askama::Template;
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};

use super::markup::calm;
use crate::Problem;

/// What stands around a page.
pub(crate) struct Frame {
    pub(crate) title: String,
    /// Where one may go from everywhere.
    pub(crate) places: Vec<Link>,
    /// Whoever is signed in.
    pub(crate) who: Option<Who>,
    /// What each form of the page bears.
    pub(crate) csrf: String,
    /// What was done before, told once.
    pub(crate) notice: Option<String>,
}

/// Whoever is signed in.
pub(crate) struct Who {
    /// Of the token.
    pub(crate) name: String,
    pub(crate) role: &'static str,
    /// Whose they see.
    pub(crate) client: String,
}

/// A place to go.
pub(crate) struct Link {
    pub(crate) href: &'static str,
    pub(crate) name: &'static str,
    /// Whether it is this one, or this one lies in it.
    pub(crate) is_here: bool,
}

/// Where one may go from everywhere.
const PLACES: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/subscriptions", "Subscriptions"),
    ("/deliveries", "Deliveries"),
    ("/events", "Events"),
    ("/campaigns", "Campaigns"),
    ("/replays", "Replays"),
    ("/settings", "Settings"),
];

impl Frame {
    /// Around a page for nobody in particular.
    pub(crate) fn bare() -> Self {
        Self {
            title: "Tharsis".to_owned(),
            places: Vec::new(),
            who: None,
            csrf: String::new(),
            notice: None,
        }
    }

    /// Around the page of this path, as the table has it.
    pub(crate) fn around(title: String, path: &str, who: Who) -> Self {
        let places = PLACES.map(|(href, name)| Link {
            href,
            name,
            is_here: lies_in(path, href),
        });
        Self {
            title,
            places: places.into(),
            who: Some(who),
            ..Self::bare()
        }
    }

    pub(crate) fn with_csrf(self, csrf: &str) -> Self {
        Self {
            csrf: csrf.to_owned(),
            ..self
        }
    }

    pub(crate) fn with_notice(self, notice: Option<String>) -> Self {
        Self { notice, ..self }
    }
}

fn lies_in(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || place != "/" && rest.starts_with('/'))
}

/// What a browser may make of a page: nothing but what it says itself, and the one script that is ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page as an answer.
pub(crate) fn answer(status: StatusCode, page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "a page could not be made");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the page could not be made",
        )
    })?;
    let mut response = (status, Html(calm(&text))).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Not `no-referrer`: under that, browsers do not say either which site a form was sent from.
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// A page on which something is missing that is there soon: the browser loads it again by itself.
pub(crate) fn again(mut page: Response) -> Response {
    let name = HeaderName::from_static("refresh");
    page.headers_mut()
        .insert(name, HeaderValue::from_static("1"));
    page
}

/// Why something was refused, or failed, as a page.
pub(crate) fn refused(problem: &Problem, frame: Frame) -> Response {
    #[derive(Template)]
    #[template(path = "problem.html")]
    struct Page {
        frame: Frame,
        sentence: String,
        hint: Option<String>,
        code: String,
    }

    let status = problem.status();
    let page = Page {
        frame: Frame {
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            ..frame
        },
        sentence: sentence(problem),
        hint: problem.advice().map(str::to_owned),
        code: problem.code().to_owned(),
    };
    answer_to(problem, &page).unwrap_or_else(Problem::into_response)
}

/// A page that says why something was refused, as an answer.
pub(crate) fn answer_to(problem: &Problem, page: &impl Template) -> Result<Response, Problem> {
    let mut response = answer(problem.status(), page)?;
    if let Some(seconds) = problem.wait() {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

/// What is wrong, for people, with where.
pub(crate) fn sentence(problem: &Problem) -> String {
    match problem.field() {
        Some(field) => format!("{field}: {}", problem.message()),
        None => problem.message().to_owned(),
    }
}

/// Where there is no page, people are told so on one, and programs as they are elsewhere.
pub(crate) async fn for_people(request: Request, next: Next) -> Response {
    let accepts = request.headers().get(header::ACCEPT);
    let is_browser = accepts
        .and_then(|accepts| accepts.to_str().ok())
        .is_some_and(|accepts| accepts.contains("text/html"));
    let is_of_api = request.uri().path().starts_with("/v1/");
    let response = next.run(request).await;
    let problem = response.extensions().get::<Problem>().cloned();
    match problem.filter(|_| is_browser && !is_of_api) {
        Some(problem) => refused(&problem, Frame::bare()),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lies_in_a_place() {
        for (path, place) in [
            ("/", "/"),
            ("/subscriptions", "/subscriptions"),
            ("/subscriptions/{id}/rotate", "/subscriptions"),
        ] {
            assert!(lies_in(path, place), "{path}");
        }
        for (path, place) in [
            ("/subscriptions", "/"),
            ("/", "/subscriptions"),
            ("/subscriptions-of-old", "/subscriptions"),
            ("/events/{id}", "/deliveries"),
        ] {
            assert!(!lies_in(path, place), "{path}");
        }
    }

    #[test]
    fn what_is_refused_is_told_on_a_page_and_is_no_markup() {
        let problem = Problem::new(
            StatusCode::CONFLICT,
            "name_taken",
            "is <b>taken</b>\u{202e}",
        )
        .at("name")
        .hint("choose another one");
        let response = refused(&problem, Frame::bare());
        assert_eq!(response.status(), StatusCode::CONFLICT);
        let kind = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(kind, "text/html; charset=utf-8");
        let policy = &response.headers()[header::REFERRER_POLICY];
        assert_eq!(policy, "same-origin");
    }
}
