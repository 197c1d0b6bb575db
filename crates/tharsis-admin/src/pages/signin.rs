//! Signing in with a token, and out again.

use std::net::SocketAddr;

use askama::Template;
use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    random,
    token::{Permission, Token},
};

use super::{
    form::Form,
    guard,
    layout::{self, Frame},
    markup::Kept,
    session::Pass,
    visit::Visit,
};
use crate::{
    Problem,
    caller::Caller,
    serve::{House, overloaded},
};

/// The cookie that bears the pass of a session. By its prefix browsers take it from this host alone, and only with what
/// [`cookie`] says beside it.
const COOKIE: &str = "__Host-tharsis-session";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page {
    frame: Frame,
    /// Why it did not do.
    problem: Option<String>,
    /// Where to go then.
    next: Kept,
}

impl Page {
    fn new(next: &str, problem: Option<&Problem>) -> Self {
        Self {
            frame: Frame {
                title: "Sign in".to_owned(),
                ..Frame::bare()
            },
            problem: problem.map(layout::sentence),
            next: Kept::from(next),
        }
    }
}

/// Asks for a token.
pub(crate) async fn form(
    State(house): State<House>,
    headers: HeaderMap,
    asked: Form,
) -> Result<Response, Problem> {
    let next = local(asked.exact("next"));
    if guard::session(&house, &headers).is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    layout::answer(StatusCode::OK, &Page::new(next, None))
}

/// Takes a token, and begins a session for it.
pub(crate) async fn begin(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        guard::of_this_site(&parts.headers)?;
        let form = sent(&house, body).await?;
        house.turn(taken(&house, from, &parts.headers, &form)).await
    };
    let answer = answer.await;
    answer.unwrap_or_else(|problem| layout::refused(&problem, Frame::bare()))
}

/// What somebody sends whom nobody knows yet: until it is there it holds no place among requests.
async fn sent(house: &House, body: Body) -> Result<Form, Problem> {
    let Ok(_place) = house.strangers.try_acquire() else {
        return Err(overloaded());
    };
    guard::form(body).await
}

async fn taken(
    house: &House,
    from: SocketAddr,
    headers: &HeaderMap,
    form: &Form,
) -> Result<Response, Problem> {
    let next = local(form.exact("next"));
    match begun(house, from, form.text("token").unwrap_or_default()).await {
        Ok(pass) => {
            // Whoever had been signed in here is not any more.
            if let Some(former) = guard::session(house, headers) {
                house.sessions.end(former.key);
            }
            let headers = [(header::SET_COOKIE, cookie(pass.expose(), None))];
            Ok((headers, Redirect::to(next)).into_response())
        }
        Err(problem) => layout::answer_to(&problem, &Page::new(next, Some(&problem))),
    }
}

/// Begins a session for whoever holds this token, and may look at something.
async fn begun(house: &House, from: SocketAddr, token: &str) -> Result<Pass, Problem> {
    let at = (house.options.clock)();
    let holder = async {
        let token = Token::parse(token).map_err(|_| Problem::token_unknown())?;
        let hash = token.hash();
        let caller = Caller::holding(&hash, from, house.registry(), at).await?;
        Ok::<_, Problem>((caller, hash))
    };
    let (caller, hash) = holder.await.or_else(|problem| {
        if problem.is_guess() {
            house.limits.failed(from.ip())?;
        }
        Err(problem)
    })?;
    house.limits.asked(caller.token())?;
    caller.check(Permission::Read)?;
    let (pass, csrf) = (Pass::generate(random()?), Pass::generate(random()?));
    let ends = caller.record().expires_at;
    house.sessions.begin(&pass, csrf, hash, ends, at);
    Ok(pass)
}

/// Ends the session.
pub(crate) async fn end(visit: Visit) -> Response {
    visit.sign_out();
    let headers = [(header::SET_COOKIE, cookie("", Some(0)))];
    (headers, Redirect::to("/sign-in")).into_response()
}

/// For this host alone, over what is secure, out of reach of scripts, and not sent where another site leads here. It goes when
/// the browser does, or after so many seconds.
fn cookie(pass: &str, seconds: Option<u32>) -> String {
    let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    format!("{COOKIE}={pass}; Path=/; Secure; HttpOnly; SameSite=Strict{age}")
}

/// The pass that a request bears.
pub(crate) fn pass(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, pass)| (name == COOKIE).then_some(pass))
}

/// Where it is wanted to go, if that is a path of this site; else to the first page.
fn local(wanted: Option<&str>) -> &str {
    let is_local = |wanted: &&str| {
        wanted.starts_with('/')
            && !wanted.contains("//")
            && !wanted.contains('\\')
            && wanted.bytes().all(|byte| byte.is_ascii_graphic())
    };
    wanted.filter(is_local).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_to_a_path_of_this_site_and_nowhere_else() {
        for wanted in [
            "/",
            "/deliveries",
            "/deliveries?status=dead&since=2026-01-31T12%3A30%3A00Z",
            "/subscriptions/019b2f70-91d2-7b35-8f06-3f1c5d0a7e42",
        ] {
            assert_eq!(local(Some(wanted)), wanted);
        }
        for wanted in [
            "",
            "deliveries",
            "https://evil.example/",
            "//evil.example/",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/a//b",
            " /",
            "/ä",
            "javascript:alert(1)",
        ] {
            assert_eq!(local(Some(wanted)), "/", "{wanted:?}");
        }
        assert_eq!(local(None), "/");
    }

    #[test]
    fn a_pass_is_borne_by_its_cookie_alone() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a value"));
            }
            pass(&headers).map(str::to_owned)
        };
        assert_eq!(of(&[]), None);
        let own = "__Host-tharsis-session=abc";
        assert_eq!(of(&[own]).as_deref(), Some("abc"));
        assert_eq!(
            of(&["a=b; __Host-tharsis-session=abc;c=d"]).as_deref(),
            Some("abc")
        );
        assert_eq!(of(&["a=b", own]).as_deref(), Some("abc"));
        for other in [
            "tharsis-session=abc",
            "__host-tharsis-session=abc",
            "x__Host-tharsis-session=abc",
            "a",
            "",
        ] {
            assert_eq!(of(&[other]), None, "{other}");
        }
    }

    #[test]
    fn a_cookie_is_for_this_host_alone() {
        assert_eq!(
            cookie("abc", None),
            "__Host-tharsis-session=abc; Path=/; Secure; HttpOnly; SameSite=Strict"
        );
        assert!(cookie("", Some(0)).ends_with("; Max-Age=0"));
    }
}
