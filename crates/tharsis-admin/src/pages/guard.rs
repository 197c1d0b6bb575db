//! What every request for a page has to fulfil. No page sees to it itself, so none forgets it.

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use form_urlencoded::byte_serialize;
use tokio::time::timeout;

use super::{
    form::Form,
    layout::{self, Frame},
    live::{self, Watch},
    session::Session,
    signin,
    visit::Visit,
};
use crate::{Problem, Route, caller::Caller, heavy, host, serve::House};

/// What a form may be at most, in bytes.
const MOST: usize = 32 * 1024;

/// How long one may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// The field of a form that proves that it is of this session.
const CSRF: &str = "csrf";

/// Who asks for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody.
    Person,
    /// The page itself, which stays up to date: nobody uses the session by that.
    Page,
    /// The same, not for the first time: what it may ask for was counted then.
    PageAgain,
}

impl Asker {
    /// How long it waits where one is answered at a time. A page that looks again and again gives way to everybody else.
    pub(super) fn wait(self) -> Duration {
        match self {
            Self::Person | Self::Page => heavy::WAIT,
            Self::PageAgain => Duration::ZERO,
        }
    }
}

/// Lets in whoever is signed in and may.
pub(crate) async fn admit(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    if live::is_asked_for(&request) {
        return live::answer(Watch::new(house, from, path, request, next)).await;
    }
    page(&house, from, &path, Asker::Person, request, next).await
}

/// The page, for whoever is signed in and may.
pub(crate) async fn page(
    house: &House,
    from: SocketAddr,
    path: &MatchedPath,
    asker: Asker,
    request: Request,
    next: Next,
) -> Response {
    let answer = async {
        let door = house.door(request.method(), path.as_str())?.clone();
        match enter(house, &door, from, asker, request.headers()).await? {
            None => Ok::<_, Problem>(to_sign_in(&request)),
            Some(visit) => Ok(go_on(visit, &door, asker, request, next).await),
        }
    };
    let answer = house.turn(answer).await;
    answer.unwrap_or_else(|problem| layout::refused(&problem, Frame::bare()))
}

/// Who it is, if anybody is signed in: the session counts, and so does its token still.
async fn enter(
    house: &House,
    door: &Route,
    from: SocketAddr,
    asker: Asker,
    headers: &HeaderMap,
) -> Result<Option<Visit>, Problem> {
    if door.method == Method::POST {
        of_this_site(headers)?;
    }
    let at = (house.options.clock)();
    let session = match asker {
        Asker::Person => session(house, headers),
        Asker::Page | Asker::PageAgain => {
            signin::pass(headers).and_then(|pass| house.sessions.look(pass, at))
        }
    };
    let Some(session) = session else {
        return Ok(None);
    };
    let caller = match Caller::holding(&session.token, from, house.registry(), at).await {
        Ok(caller) => caller,
        // It was revoked meanwhile.
        Err(problem) if problem.is_guess() => {
            house.sessions.end(session.key);
            return Ok(None);
        }
        Err(problem) => return Err(problem),
    };
    if asker != Asker::PageAgain {
        house.limits.asked(caller.token())?;
    }
    let visit = Visit::new(house.clone(), caller, session, door.path, asker);
    Ok(Some(visit))
}

/// The session that a request bears the pass of.
pub(crate) fn session(house: &House, headers: &HeaderMap) -> Option<Session> {
    let pass = signin::pass(headers)?;
    house.sessions.find(pass, (house.options.clock)())
}

/// Whoever is let in may do it, and means it. What is refused from here on is told within the frame of their pages.
async fn go_on(visit: Visit, door: &Route, asker: Asker, request: Request, next: Next) -> Response {
    let answer = async {
        visit.desk.caller.check(door.permission)?;
        let mut request = match door.method == Method::POST {
            true => read(&visit, request).await?,
            false => request,
        };
        request.extensions_mut().insert(visit.clone());
        let answer = next.run(request);
        visit.house.answered(door, asker.wait(), answer).await
    };
    let mut response = answer.await.into_response();
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => layout::refused(&problem, visit.frame("Refused")),
        None => response,
    }
}

/// What was posted, where it is a form of this session.
async fn read(visit: &Visit, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let form = form(body).await?;
    if !form.exact(CSRF).is_some_and(|given| visit.made(given)) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "csrf_wrong",
            "the form is none of this session",
        )
        .hint("load the page again, and send its form once more"));
    }
    parts.extensions.insert(form);
    Ok(Request::from_parts(parts, Body::empty()))
}

/// A body that is a form, and comes in time.
pub(crate) async fn form(body: Body) -> Result<Form, Problem> {
    let read = timeout(PATIENCE, to_bytes(body, MOST)).await;
    let read = read.map_err(|_| {
        let seconds = PATIENCE.as_secs();
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("did not come whole within {seconds} s"),
        )
        .hint("send the form once more")
    })?;
    let bytes = read.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("is larger than {MOST} bytes, or did not come whole"),
        )
    })?;
    Ok(Form::parse(&bytes))
}

/// Whether a form was sent by a page of this site, which browsers say.
pub(crate) fn of_this_site(headers: &HeaderMap) -> Result<(), Problem> {
    if host::asked(headers).is_some_and(|host| is_of(headers, &host)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        "the form was not sent by a page of this site",
    )
    .hint(
        "open the page here, and send its form; a proxy has to pass the header Host on as it comes",
    ))
}

/// Whether it says that it is of this host; where it does not say of which, whether it says that it is of the same one.
fn is_of(headers: &HeaderMap, host: &str) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            let origin = origin.to_str().unwrap_or_default();
            let named =
                (origin.strip_prefix("https://")).or_else(|| origin.strip_prefix("http://"));
            named.is_some_and(|named| named.eq_ignore_ascii_case(host))
        }
        (None, _) => {
            let site = headers.get("sec-fetch-site");
            site.is_some_and(|site| site == "same-origin")
        }
        (Some(_), Some(_)) => false,
    }
}

/// To sign in, and from there back to the page; what was to be changed is asked for again.
fn to_sign_in(request: &Request) -> Response {
    let wanted = request.uri().path_and_query().map(|wanted| wanted.as_str());
    let wanted = wanted.filter(|wanted| request.method() != Method::POST && *wanted != "/");
    let to = match wanted {
        None => "/sign-in".to_owned(),
        Some(wanted) => {
            let next: String = byte_serialize(wanted.as_bytes()).collect();
            format!("/sign-in?next={next}")
        }
    };
    Redirect::to(&to).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_form_is_of_this_site_where_its_origin_is_the_host() {
        let is_of = |lines: &[(&'static str, &str)]| is_of(&headers(lines), "localhost:8400");
        for origin in [
            "http://localhost:8400",
            "https://localhost:8400",
            "http://LOCALHOST:8400",
        ] {
            assert!(is_of(&[("origin", origin)]), "{origin}");
        }
        for origin in [
            "",
            "null",
            "localhost:8400",
            "http://localhost",
            "http://localhost:8401",
            "http://evil.example",
            "http://localhost:8400.evil.example",
            "http://localhost:8400/",
            "ftp://localhost:8400",
        ] {
            assert!(!is_of(&[("origin", origin)]), "{origin}");
        }
        // What it says counts before what its browser says of it, and it says it once.
        assert!(!is_of(&[
            ("origin", "null"),
            ("sec-fetch-site", "same-origin")
        ]));
        let twice = ("origin", "http://localhost:8400");
        assert!(!is_of(&[twice, twice]));
    }

    #[test]
    fn one_without_an_origin_is_of_this_site_where_the_browser_says_so() {
        let is_of = |lines: &[(&'static str, &str)]| is_of(&headers(lines), "localhost:8400");
        assert!(is_of(&[("sec-fetch-site", "same-origin")]));
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(!is_of(&[("sec-fetch-site", site)]), "{site}");
        }
        assert!(!is_of(&[]));
    }

    #[test]
    fn a_host_that_is_not_said_is_nobodys() {
        assert!(of_this_site(&headers(&[("origin", "http://")])).is_err());
        let own = [("host", "a.example"), ("origin", "https://a.example")];
        assert_eq!(of_this_site(&headers(&own)), Ok(()));
        let other = [("host", "a.example"), ("origin", "https://b.example")];
        let refused = of_this_site(&headers(&other)).expect_err("another site");
        assert_eq!(refused.code(), "foreign_origin");
    }

    #[test]
    fn after_signing_in_it_goes_on_where_it_was_wanted() {
        let to = |method: &str, target: &str| {
            let request = axum::http::Request::builder().method(method).uri(target);
            let request = request.body(Body::empty()).expect("a request");
            let response = to_sign_in(&request);
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            let to = response.headers()[header::LOCATION].to_str();
            to.expect("text").to_owned()
        };
        assert_eq!(to("GET", "/"), "/sign-in");
        assert_eq!(
            to("GET", "/deliveries?status=dead&status=expired"),
            "/sign-in?next=%2Fdeliveries%3Fstatus%3Ddead%26status%3Dexpired"
        );
        assert_eq!(to("POST", "/subscriptions/x/pause"), "/sign-in");
    }
}
