//! Pages that stay up to date while they are open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases, wait_until};

use crate::{Browser, SOON, token};

on_both_databases! {
    what_was_delivered_is_seen_on_a_page_that_is_open,
    a_token_that_is_revoked_ends_what_it_watches,
    who_watches_sees_what_is_their_own,
    a_token_watches_so_many_pages_at_once,
    who_watches_uses_up_no_notice,
    a_server_ends_though_somebody_watches,
}

const ACCEPT: (&str, &str) = ("accept", "text/event-stream");

/// A page that is open, as its events come.
struct Stream {
    status: u16,
    connection: BufReader<TcpStream>,
    /// What has come and is no whole event yet.
    text: String,
}

/// What one says of itself, and what it brings.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: Option<String>,
    data: String,
}

impl Event {
    /// `None`: it brings nothing.
    fn parse(text: &str) -> Option<Self> {
        let of = |field: &str| -> Vec<&str> {
            let lines = text.lines();
            lines.filter_map(|line| line.strip_prefix(field)).collect()
        };
        let data = of("data: ");
        (!data.is_empty()).then(|| Self {
            name: of("event: ").first().map(|name| (*name).to_owned()),
            data: data.join("\n"),
        })
    }
}

impl Stream {
    #[track_caller]
    #[expect(
        clippy::disallowed_methods,
        reason = "our own server is asked, on this machine"
    )]
    fn open(browser: &Browser<'_>, path: &str) -> Self {
        let address = browser.api.address();
        let cookie = browser.cookie().unwrap_or_default();
        let mut connection = TcpStream::connect(address).expect("it listens");
        connection.set_read_timeout(Some(SOON)).expect("a bound");
        let (name, value) = ACCEPT;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\n{name}: {value}\r\ncookie: {cookie}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).expect("it reads");
        let mut stream = Self {
            status: 0,
            connection: BufReader::new(connection),
            text: String::new(),
        };
        let first = stream.line();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        stream.status = status.unwrap_or_else(|| panic!("no status: {first}"));
        while !stream.line().trim().is_empty() {}
        stream
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.connection.read_line(&mut line);
        read.expect("it goes on in time");
        line
    }

    /// `None`: it is over.
    #[track_caller]
    fn chunk(&mut self) -> Option<String> {
        let line = self.line();
        let size = usize::from_str_radix(line.trim_end(), 16);
        let size = size.unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
        let mut chunk = vec![0; size + 2];
        let read = self.connection.read_exact(&mut chunk);
        read.expect("it comes whole");
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).expect("text"))
    }

    /// The next one; `None`: it is over.
    #[track_caller]
    fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((whole, rest)) = self.text.split_once("\n\n") {
                let event = Event::parse(whole);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk = self.chunk()?;
            self.text.push_str(&chunk);
        }
    }

    /// What the next event brings.
    #[track_caller]
    fn next(&mut self) -> String {
        let event = self.event().expect("it goes on");
        assert_eq!(event.name, None, "{event:?}");
        event.data
    }

    /// What the first event brings that says this.
    #[track_caller]
    fn told(&mut self, told: &str) -> String {
        let begin = Instant::now();
        loop {
            let data = self.next();
            if data.contains(told) {
                return data;
            }
            assert!(begin.elapsed() < SOON, "no {told} in {data}");
        }
    }

    /// That it was over, in time.
    #[track_caller]
    fn ends(&mut self) -> Option<Event> {
        let begin = Instant::now();
        let mut last = None;
        while let Some(event) = self.event() {
            assert!(begin.elapsed() < SOON, "it goes on: {event:?}");
            last = Some(event);
        }
        last
    }
}

fn what_was_delivered_is_seen_on_a_page_that_is_open(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &viewer);
    let delivered = |count: u32| format!("status=delivered&#38;since=24h\">{count}</a>");

    let mut overview = Stream::open(&browser, "/");
    let mut subscription = Stream::open(&browser, &format!("/subscriptions/{id}"));
    assert_eq!((overview.status, subscription.status), (200, 200));
    let first = overview.next();
    assert!(first.contains(&delivered(0)), "{first}");
    assert!(first.contains("Throughput: attempts 0 a minute"), "{first}");
    // It is the part of the page and no more.
    assert!(browser.page("/").contains("<div id=\"live\">"));
    assert!(
        !first.contains("<h1>") && !first.contains("Sign out"),
        "{first}"
    );
    assert!(subscription.next().contains("None of late"));

    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    overview.told(&delivered(1));
    subscription.told("</span> delivered</span>");
}

fn a_token_that_is_revoked_ends_what_it_watches(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &viewer);
    let mut stream = Stream::open(&browser, "/");
    stream.next();
    let listed = world.ask(["token", "list"]);
    let id = listed["tokens"][0]["id"].as_str().expect("an id");
    world.ask(["token", "revoke", id]);
    let gone = Event {
        name: Some("gone".to_owned()),
        data: "gone".to_owned(),
    };
    assert_eq!(stream.ends().as_ref(), Some(&gone));
    // Nor does it begin again.
    let cookie = browser.cookie().expect("it had been signed in");
    let again = api.ask("GET", "/", &[ACCEPT, ("cookie", &*cookie)], b"");
    assert_eq!(Event::parse(&again.body), Some(gone), "{again:?}");
}

fn who_watches_sees_what_is_their_own(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let theirs = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    for client in [ALPHA, BETA] {
        world.publish(&world.predictions(client, 1));
    }
    world.run_until_idle();
    let [one, all] = [Some(ALPHA), None].map(|client| token(&world, "viewer", client));
    let api = Api::start(&world, &["--no-worker"]);
    let [one, all] = [one, all].map(|token| Browser::signed_in(&api, &token));

    let delivered = |count: u32| format!("status=delivered&#38;since=24h\">{count}</a>");
    for (browser, count) in [(&one, 1), (&all, 2)] {
        let overview = Stream::open(browser, "/").next();
        assert!(overview.contains(&delivered(count)), "{overview}");
        // How much waits is told of all clients alone.
        assert_eq!(overview.contains("Backlog"), count == 2, "{overview}");
        let deliveries = Stream::open(browser, "/deliveries").next();
        assert!(deliveries.contains("shop"), "{deliveries}");
        assert_eq!(deliveries.contains("partner"), count == 2, "{deliveries}");
    }
    let foreign = format!("/subscriptions/{theirs}");
    assert_eq!(Stream::open(&one, &foreign).status, 404);
    assert_eq!(Stream::open(&all, &foreign).status, 200);
}

fn a_token_watches_so_many_pages_at_once(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let [viewer, another] = [ALPHA, BETA].map(|client| token(&world, "viewer", Some(client)));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &viewer);
    let cookie = browser.cookie().expect("it is signed in");
    let ask = |path: &str| api.ask("GET", path, &[ACCEPT, ("cookie", &*cookie)], b"");
    assert_eq!(ask("/subscriptions").refused(406), "not_live");

    let mut open: Vec<_> = (0..8).map(|_| Stream::open(&browser, "/")).collect();
    for stream in &mut open {
        assert_eq!(stream.status, 200);
        stream.next();
    }
    assert_eq!(ask("/").refused(503), "too_many_live");
    // So it is in another session; pages are answered as ever, and so is another token.
    let again = Browser::signed_in(&api, &viewer);
    assert_eq!(Stream::open(&again, "/").status, 503);
    browser.page("/");
    let other = Browser::signed_in(&api, &another);
    assert_eq!(Stream::open(&other, "/").status, 200);
    // One that is closed makes room.
    open.pop();
    wait_until("there is room for another one", SOON, || {
        (Stream::open(&browser, "/").status == 200).then_some(())
    });
}

fn who_watches_uses_up_no_notice(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    let path = format!("/subscriptions/{id}");
    let mut stream = Stream::open(&browser, &path);
    stream.next();
    // What a form bears is looked for on a page, so the notice is still to be told after this.
    let paused = browser.post(&format!("{path}/pause"), &[]);
    assert_eq!(paused.status, 303, "{paused:?}");
    stream.told("</span> paused</span>");
    let page = browser.page(&path);
    assert!(page.contains("It is paused"), "{page}");
}

fn a_server_ends_though_somebody_watches(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let mut stream = Stream::open(&Browser::signed_in(&api, &viewer), "/");
    stream.next();
    api.process.terminate();
    // Less than what is left to requests that are under way.
    api.process.finish(Duration::from_secs(5)).ok();
    stream.ends();
}
