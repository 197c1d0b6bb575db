//! Pages that stay up to date. One that is open asks for its own address as a stream of events; it is made anew every other
//! second, and the part of it that is live is sent where it is another one than before.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request},
    http::{HeaderName, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    guard::{self, Asker},
    signin,
};
use crate::{Problem, serve::House};

/// A page is made anew so often.
const TICK: Duration = Duration::from_secs(2);

/// One that takes long to make is made less often: it rests so many times as long.
const REST: u32 = 4;

/// So often a stream says that it is there, for what says nothing is taken for dead on the way; and where a page could not be
/// made for so long, that is said.
const QUIET: Duration = Duration::from_secs(15);

/// No stream is longer; the browser asks again by itself.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// So many are open at once.
const MOST: usize = 64;

/// So many of one token, in whatever sessions.
const EACH: usize = 8;

/// No page is larger, in bytes.
const LARGEST: usize = 1024 * 1024;

/// How the part of a page that is live begins.
const BEGIN: &str = "<div id=\"live\">";

/// After how many milliseconds the browser asks again.
const RETRY: &[u8] = b"retry: 2000\n\n";

const COMMENT: &[u8] = b": still there\n\n";

/// What is shown is old.
const STALE: &[u8] = b"event: stale\ndata: stale\n\n";

/// The page is to be loaded again, which says why.
const GONE: &[u8] = b"event: gone\ndata: gone\n\n";

/// Whether a page asks to stay up to date, as `EventSource` does.
pub(super) fn is_asked_for(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT);
    let is_stream = accepts.is_some_and(|accepts| accepts == "text/event-stream");
    is_stream && request.method() == Method::GET
}

/// The stream, where the page may be seen and has a part that is live.
pub(super) async fn answer(watch: Watch) -> Response {
    let response = watch.look(Asker::Page).await;
    if response.status().is_redirection() {
        return stream(Body::from(Bytes::from_static(GONE)));
    }
    if response.status() != StatusCode::OK {
        return response;
    }
    let Found::Part(part) = found(response).await else {
        return not_live().into_response();
    };
    let Some(place) = watch.place() else {
        return too_many().into_response();
    };
    let (events, sent) = mpsc::channel(1);
    tokio::spawn(watch.keep(part, events, place));
    stream(Body::new(Events(sent)))
}

fn stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies are not to wait until there is more of it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

fn not_live() -> Problem {
    Problem::new(
        StatusCode::NOT_ACCEPTABLE,
        "not_live",
        "the page does not stay up to date",
    )
    .hint("ask for it without Accept: text/event-stream")
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_live",
        format!("{EACH} pages of one token stay up to date at once, and {MOST} of all"),
    )
    .hint("close one, or load the page again to see what is new")
}

/// A page that stays up to date, and all that it is made with.
pub(super) struct Watch {
    house: House,
    from: SocketAddr,
    path: MatchedPath,
    parts: Parts,
    next: Next,
}

impl Watch {
    pub(super) fn new(
        house: House,
        from: SocketAddr,
        path: MatchedPath,
        request: Request,
        next: Next,
    ) -> Self {
        let (parts, _) = request.into_parts();
        Self {
            house,
            from,
            path,
            parts,
            next,
        }
    }

    /// Makes it, with all that has to be fulfilled for it.
    async fn look(&self, asker: Asker) -> Response {
        let request = Request::from_parts(self.parts.clone(), Body::empty());
        let next = self.next.clone();
        guard::page(&self.house, self.from, &self.path, asker, request, next).await
    }

    fn place(&self) -> Option<Place> {
        let pass = signin::pass(&self.parts.headers)?;
        let at = (self.house.options.clock)();
        let session = self.house.sessions.look(pass, at)?;
        self.house.streams.place(session.token)
    }

    /// Sends what is new until it is gone, nobody takes it, it lasted for long, or the server ends.
    async fn keep(self, part: String, events: mpsc::Sender<Bytes>, _place: Place) {
        let mut ended = self.house.ended.clone();
        tokio::select! {
            () = self.tell(part, &events) => {}
            () = stay(&events) => {}
            () = events.closed() => {}
            _ = ended.changed() => {}
            () = sleep(LONGEST) => {}
        }
    }

    async fn tell(&self, part: String, events: &mpsc::Sender<Bytes>) {
        for message in [Bytes::from_static(RETRY), event(&part)] {
            if events.send(message).await.is_err() {
                return;
            }
        }
        let mut shown = Shown::new(part, Instant::now());
        let mut rest = TICK;
        loop {
            sleep(rest).await;
            let begun = Instant::now();
            let found = found(self.look(Asker::PageAgain).await).await;
            rest = (begun.elapsed() * REST).max(TICK);
            let is_gone = matches!(found, Found::Gone);
            if let Some(news) = shown.news(found, Instant::now())
                && events.send(news).await.is_err()
            {
                return;
            }
            if is_gone {
                return;
            }
        }
    }
}

/// Says every now and then that it is there, as long as somebody takes it.
async fn stay(events: &mpsc::Sender<Bytes>) {
    loop {
        sleep(QUIET).await;
        let said = events.send(Bytes::from_static(COMMENT)).await;
        if said.is_err() {
            return;
        }
    }
}

/// What whoever watches has before them.
struct Shown {
    part: String,
    /// When the page was made the last time.
    made: Instant,
    /// They know that it is old.
    is_stale: bool,
}

impl Shown {
    fn new(part: String, made: Instant) -> Self {
        Self {
            part,
            made,
            is_stale: false,
        }
    }

    /// What is new to them of what was found at that time.
    fn news(&mut self, found: Found, at: Instant) -> Option<Bytes> {
        match found {
            Found::Part(part) => {
                let is_known = !self.is_stale && part == self.part;
                *self = Self::new(part, at);
                (!is_known).then(|| event(&self.part))
            }
            Found::Gone => Some(Bytes::from_static(GONE)),
            Found::Nothing if !self.is_stale && at - self.made >= QUIET => {
                self.is_stale = true;
                Some(Bytes::from_static(STALE))
            }
            Found::Nothing => None,
        }
    }
}

/// What came of looking again.
enum Found {
    /// What stands in the part that is live.
    Part(String),
    /// The page is no more, or not theirs any more, or nobody is signed in.
    Gone,
    /// It could not be made this time.
    Nothing,
}

async fn found(response: Response) -> Found {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Found::Nothing;
    }
    if status != StatusCode::OK {
        return Found::Gone;
    }
    let page = to_bytes(response.into_body(), LARGEST).await;
    let page = page.unwrap_or_default();
    let part = std::str::from_utf8(&page).ok().and_then(part);
    part.map_or(Found::Gone, |part| Found::Part(part.to_owned()))
}

/// What stands in the part of a page that is live. In texts `<` is escaped, so each that is met begins an element of ours.
fn part(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(BEGIN)?;
    let mut depth = 1_u32;
    for (at, _) in rest.match_indices("div") {
        let before = rest.get(..at)?;
        if before.ends_with('<') {
            depth += 1;
        } else if let Some(before) = before.strip_suffix("</") {
            depth -= 1;
            if depth == 0 {
                return Some(before);
            }
        }
    }
    None
}

/// As an event. Each line of it says that it is data, so that no text begins an event of its own.
fn event(part: &str) -> Bytes {
    let mut event = String::with_capacity(part.len() + part.len() / 8);
    for line in part.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event.into()
}

/// What is sent, as the body of an answer.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let event = self.0.poll_recv(context);
        event.map(|event| event.map(|event| Ok(hyper::body::Frame::data(event))))
    }
}

/// How many streams each token has open, by its hash.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<[u8; 32], usize>>);

impl Streams {
    /// A place for one more of this token, where there is one.
    fn place(self: &Arc<Self>, token: [u8; 32]) -> Option<Place> {
        let mut open = self.open();
        let own = open.get(&token).copied().unwrap_or_default();
        if own >= EACH || open.values().sum::<usize>() >= MOST {
            return None;
        }
        open.insert(token, own + 1);
        let streams = Arc::clone(self);
        Some(Place { streams, token })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That of a stream, until it is over.
struct Place {
    streams: Arc<Streams>,
    token: [u8; 32],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        match open.get_mut(&self.token) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_asks_to_stay_up_to_date_as_browsers_do() {
        let is_asked_for = |method: &str, accept: &str| {
            let request = axum::http::Request::builder()
                .method(method)
                .header("accept", accept);
            is_asked_for(&request.body(Body::empty()).expect("a request"))
        };
        assert!(is_asked_for("GET", "text/event-stream"));
        for (method, accept) in [
            ("HEAD", "text/event-stream"),
            ("POST", "text/event-stream"),
            ("GET", "text/html,*/*;q=0.8"),
            ("GET", "*/*"),
        ] {
            assert!(!is_asked_for(method, accept), "{method} {accept}");
        }
    }

    #[test]
    fn the_part_that_is_live_ends_where_its_element_does() {
        let page = "<main><div>a</div><div id=\"live\"><p>div</p><div class=\"b\">&#60;/div&#62;</div>\n</div>c</main>";
        let live = "<p>div</p><div class=\"b\">&#60;/div&#62;</div>\n";
        assert_eq!(part(page), Some(live));
        assert_eq!(part("<div id=\"live\"></div>"), Some(""));
        for page in ["", "<main></main>", "<div id=\"live\"><div></div>"] {
            assert_eq!(part(page), None, "{page}");
        }
    }

    #[test]
    fn no_text_begins_an_event_of_its_own() {
        assert_eq!(
            event("<p>\ndata\r\revent: gone"),
            "data: <p>\ndata: data\ndata: \ndata: event: gone\n\n"
        );
        assert_eq!(event(""), "data: \n\n");
    }

    #[tokio::test]
    async fn what_could_not_be_made_is_looked_for_again_and_what_is_no_more_is_gone() {
        let of = |status: StatusCode, page: &'static str| found((status, page).into_response());
        let part = of(StatusCode::OK, "<div id=\"live\">a</div>").await;
        assert!(matches!(part, Found::Part(part) if part == "a"));
        for status in [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::INTERNAL_SERVER_ERROR,
        ] {
            assert!(matches!(of(status, "").await, Found::Nothing), "{status}");
        }
        for status in [
            StatusCode::OK,
            StatusCode::SEE_OTHER,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
        ] {
            assert!(matches!(of(status, "").await, Found::Gone), "{status}");
        }
    }

    #[test]
    fn what_is_known_is_not_told_again_and_what_is_old_is_told_once() {
        let begun = Instant::now();
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let part = |text: &str| Found::Part(text.to_owned());
        let mut shown = Shown::new("a".to_owned(), begun);
        assert_eq!(shown.news(part("a"), after(2)), None);
        assert_eq!(shown.news(part("b"), after(4)), Some(event("b")));
        assert_eq!(shown.news(Found::Nothing, after(18)), None);
        let stale = Some(Bytes::from_static(STALE));
        assert_eq!(shown.news(Found::Nothing, after(19)), stale);
        assert_eq!(shown.news(Found::Nothing, after(60)), None);
        // That it is up to date again is told though it is the same.
        assert_eq!(shown.news(part("b"), after(62)), Some(event("b")));
        assert_eq!(shown.news(part("b"), after(64)), None);
        assert_eq!(shown.news(Found::Nothing, after(66)), None);
        let gone = Some(Bytes::from_static(GONE));
        assert_eq!(shown.news(Found::Gone, after(68)), gone);
    }

    #[test]
    fn there_are_so_many_of_one_token_and_so_many_of_all() {
        let streams = Arc::new(Streams::default());
        let key = |n: u8| [n; 32];
        let mut own: Vec<_> = (0..EACH).filter_map(|_| streams.place(key(0))).collect();
        assert_eq!(own.len(), EACH);
        assert!(streams.place(key(0)).is_none());
        own.pop();
        own.extend(streams.place(key(0)));
        assert_eq!(own.len(), EACH);
        let others: Vec<_> = (1..=u8::MAX)
            .filter_map(|n| streams.place(key(n)))
            .collect();
        assert_eq!(others.len(), MOST - EACH);
        drop((own, others));
        assert!(streams.open().is_empty());
    }
}
