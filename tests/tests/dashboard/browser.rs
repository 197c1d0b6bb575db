//! A browser, as far as forms and one cookie go.

use std::{cell::RefCell, time::Duration};

use tharsis_tests::{Answer, Api, wait_until};

/// It keeps the cookie that it was given, and says where its forms come from.
pub(crate) struct Browser<'a> {
    pub(crate) api: &'a Api,
    cookie: RefCell<Option<String>>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(api: &'a Api) -> Self {
        Self {
            api,
            cookie: RefCell::default(),
        }
    }

    /// One that is signed in with this token.
    #[track_caller]
    pub(crate) fn signed_in(api: &'a Api, token: &str) -> Self {
        let browser = Self::new(api);
        let answer = browser.sign_in(token, "/");
        assert_eq!(answer.status, 303, "{answer:?}");
        browser
    }

    /// Fills in the form that asks for a token.
    pub(crate) fn sign_in(&self, token: &str, next: &str) -> Answer {
        self.send("/sign-in", &[("token", token), ("next", next)], &[])
    }

    /// Its cookie, as it sends it.
    pub(crate) fn cookie(&self) -> Option<String> {
        self.cookie.borrow().clone()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let cookie = self.cookie();
        let cookie = cookie.as_deref().map(|cookie| ("cookie", cookie));
        let headers: Vec<_> = cookie.into_iter().collect();
        self.api.ask("GET", path, &headers, b"")
    }

    /// The page, which is there. Where it asks to be loaded again, for it is being counted what it tells, it is.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> String {
        wait_until("the page is whole", Duration::from_secs(30), || {
            let answer = self.get(path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            (answer.header("refresh").is_none()).then_some(answer.body)
        })
    }

    /// Sends a form of a page of this session.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf();
        let mut fields = fields.to_vec();
        fields.push(("csrf", &csrf));
        self.send(path, &fields, &[])
    }

    /// What the forms of this session bear.
    #[track_caller]
    pub(crate) fn csrf(&self) -> String {
        let page = self.page("/");
        between(&page, "name=\"csrf\" value=\"", "\"").to_owned()
    }

    /// Sends these fields and nothing else, with these headers in place of the origin where there are any.
    pub(crate) fn send(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let origin = format!("http://{}", self.api.address());
        let mut sent = vec![("content-type", "application/x-www-form-urlencoded")];
        match headers {
            [] => sent.push(("origin", &origin)),
            headers => sent.extend_from_slice(headers),
        }
        let cookie = self.cookie();
        sent.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        let fields: Vec<String> = (fields.iter())
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let answer = (self.api).ask("POST", path, &sent, fields.join("&").as_bytes());
        if let Some(set) = answer.header("set-cookie") {
            let (pair, _) = set.split_once(';').expect("it says for whom it is");
            let is_empty = pair.ends_with('=');
            *self.cookie.borrow_mut() = (!is_empty).then(|| pair.to_owned());
        }
        answer
    }
}

/// The script that every page bears.
pub(crate) const SCRIPT: &str = "<script src=\"/static/live.js\" defer></script>";

/// As forms send it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What stands between these, the first time.
#[track_caller]
pub(crate) fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    let (found, _) = rest
        .split_once(after)
        .unwrap_or_else(|| panic!("no {after} in {rest}"));
    found
}

/// It is a page with this status, and says this.
#[track_caller]
pub(crate) fn assert_told(answer: &Answer, status: u16, told: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/html; charset=utf-8"), "{answer:?}");
    assert!(answer.body.contains(told), "{told}: {answer:?}");
}
