//! Each page of the table with each role, on what is the token's own, on what is another client's, and for nobody.

use std::cell::Cell;

use serde_json::{Value, json};
use tharsis_admin::{Route, pages};
use tharsis_tests::{
    ALPHA, Answer, Api, BETA, Database, Inbox, Subscribe, World, on_both_databases,
};

use crate::{Browser, SOON, browser::assert_told, token};

on_both_databases! { each_page_is_for_its_roles_and_for_what_is_their_own }

/// Those that can sign in.
const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// Who may have which page, written down apart from the table that lets them in.
#[rustfmt::skip]
const PAGES: [(&str, &str, &str); 44] = [
    ("GET", "/", "viewer, operator, admin"),
    ("POST", "/sign-out", "viewer, operator, admin"),
    ("GET", "/subscriptions", "viewer, operator, admin"),
    ("GET", "/subscriptions/new", "admin"),
    ("POST", "/subscriptions/new", "admin"),
    ("GET", "/subscriptions/{id}", "viewer, operator, admin"),
    ("POST", "/subscriptions/{id}/test", "operator, admin"),
    ("POST", "/subscriptions/{id}/pause", "operator, admin"),
    ("POST", "/subscriptions/{id}/resume", "operator, admin"),
    ("GET", "/subscriptions/{id}/rotate", "admin"),
    ("POST", "/subscriptions/{id}/rotate", "admin"),
    ("GET", "/subscriptions/{id}/edit", "admin"),
    ("POST", "/subscriptions/{id}/edit", "admin"),
    ("GET", "/subscriptions/{id}/filter", "viewer, operator, admin"),
    ("GET", "/subscriptions/{id}/remove", "admin"),
    ("POST", "/subscriptions/{id}/remove", "admin"),
    ("GET", "/deliveries", "viewer, operator, admin"),
    ("GET", "/deliveries/{event}/{subscription}", "viewer, operator, admin"),
    ("GET", "/deliveries/{event}/{subscription}/request", "operator, admin"),
    ("POST", "/deliveries/{event}/{subscription}/retry", "operator, admin"),
    ("POST", "/deliveries/{event}/{subscription}/cancel", "operator, admin"),
    ("GET", "/campaigns", "viewer, operator, admin"),
    ("GET", "/campaigns/{id}", "viewer, operator, admin"),
    ("POST", "/campaigns/{id}/pause", "operator, admin"),
    ("POST", "/campaigns/{id}/resume", "operator, admin"),
    ("GET", "/campaigns/{id}/cancel", "operator, admin"),
    ("POST", "/campaigns/{id}/cancel", "operator, admin"),
    ("GET", "/replays", "viewer, operator, admin"),
    ("GET", "/replays/new", "operator, admin"),
    ("POST", "/replays/new", "operator, admin"),
    ("GET", "/replays/{id}", "viewer, operator, admin"),
    ("POST", "/replays/{id}/pause", "operator, admin"),
    ("POST", "/replays/{id}/resume", "operator, admin"),
    ("POST", "/replays/{id}/cancel", "operator, admin"),
    ("GET", "/events", "viewer, operator, admin"),
    ("GET", "/events/{id}", "viewer, operator, admin"),
    ("GET", "/settings", "viewer, operator, admin"),
    ("GET", "/settings/tokens", "admin"),
    ("POST", "/settings/tokens", "admin"),
    ("POST", "/settings/tokens/{id}/revoke", "admin"),
    ("GET", "/settings/audit", "admin"),
    ("GET", "/settings/alerts", "viewer, operator, admin"),
    ("GET", "/settings/workers", "viewer, operator, admin"),
    ("GET", "/settings/keys", "admin"),
];

fn may(role: &str, page: &Route) -> bool {
    let known = PAGES
        .iter()
        .find(|(method, path, _)| *method == page.method.as_str() && *path == page.path);
    let (_, _, roles) = known.unwrap_or_else(|| panic!("nobody has said who may: {page:?}"));
    roles.split(", ").any(|one| one == role)
}

/// What is whoever's it is that asks, whatever they ask for.
fn is_their_own_always(page: &Route) -> bool {
    ["/", "/sign-out", "/settings"].contains(&page.path)
        || (page.method.as_str(), page.path) == ("GET", "/subscriptions/new")
}

/// Lists that may be asked of one client.
const LISTS: [&str; 9] = [
    "/subscriptions",
    "/deliveries",
    "/events",
    "/campaigns",
    "/replays",
    "/replays/new",
    "/settings/tokens",
    "/settings/audit",
    "/settings/alerts",
];

/// What is of no client alone, and for those alone who see all of them.
fn is_of_all(page: &Route) -> bool {
    ["/settings/workers", "/settings/keys"].contains(&page.path)
}

/// What a client has.
struct Theirs {
    client: &'static str,
    inbox: Inbox,
    subscription: String,
    event: String,
}

struct House<'w> {
    world: &'w World,
    api: Api,
    /// A token that may do everything.
    master: String,
    made: Cell<u32>,
}

impl House<'_> {
    fn name(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("made {}", self.made.get())
    }

    /// A subscription that is made for this request, for it may not survive it.
    fn fresh(&self, of: &Theirs) -> String {
        let secret = self.world.secret();
        let body = json!({
            "client": of.client, "name": self.name(), "url": of.inbox.url, "secret": secret,
        });
        let made = self
            .api
            .post(&self.master, "/v1/subscriptions", &body.to_string());
        made.ok()["id"].as_str().expect("an id").to_owned()
    }

    /// A replay that is made for this request, for it may be called off by it.
    fn replay(&self, of: &Theirs) -> String {
        let body = json!({"client": of.client, "filter": {"status": "dead"}});
        let made = (self.api).post(&self.master, "/v1/replays", &body.to_string());
        made.ok()["id"].as_str().expect("an id").to_owned()
    }

    /// A token that is made for this request.
    fn fresh_token(&self, of: &Theirs) -> String {
        let body = json!({"name": self.name(), "role": "viewer", "client": of.client});
        let made = self
            .api
            .post(&self.master, "/v1/tokens", &body.to_string())
            .ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Which version a subscription is.
    fn version(&self, id: &str) -> String {
        let path = format!("/v1/subscriptions/{id}");
        let shown = self.api.get(&self.master, &path);
        let tag = shown.header("etag").expect("a tag");
        tag.trim_matches('"').to_owned()
    }

    fn go(&self, browser: &Browser<'_>, page: &Route, of: &Theirs) -> Answer {
        let is_of_one = page.path.starts_with("/subscriptions/{id}");
        let id = match page.path {
            "/events/{id}" => of.event.clone(),
            path if path.starts_with("/replays/{id}") => self.replay(of),
            path if path.starts_with("/campaigns/{id}") => self.name().replace(' ', "-"),
            "/settings/tokens/{id}/revoke" => self.fresh_token(of),
            _ if is_of_one && page.method == "POST" => self.fresh(of),
            _ => of.subscription.clone(),
        };
        let path = (page.path.replace("{id}", &id))
            .replace("{event}", &of.event)
            .replace("{subscription}", &of.subscription);
        if page.method == "GET" {
            // A campaign's name does not say whose it is.
            let is_list = LISTS.contains(&page.path) || page.path.starts_with("/campaigns/{id}");
            return match is_list {
                true => browser.get(&format!("{path}?client={}", of.client)),
                false => browser.get(&path),
            };
        }
        let (name, secret) = (self.name(), self.world.secret());
        let version = match page.path {
            "/subscriptions/{id}/edit" | "/subscriptions/{id}/rotate" => self.version(&id),
            _ => String::new(),
        };
        let fields = match page.path {
            "/subscriptions/new" => vec![
                ("client", of.client),
                ("name", &*name),
                ("url", &*of.inbox.url),
                ("secret", &*secret),
            ],
            "/subscriptions/{id}/edit" => vec![
                ("version", &*version),
                ("name", &*name),
                ("url", &*of.inbox.url),
            ],
            "/subscriptions/{id}/rotate" => vec![("version", &*version), ("secret", &*secret)],
            "/replays/new" => vec![("client", of.client), ("status", "dead")],
            path if path.starts_with("/campaigns/{id}") => vec![("client", of.client)],
            "/settings/tokens" => {
                vec![("name", &*name), ("role", "viewer"), ("client", of.client)]
            }
            _ => Vec::new(),
        };
        browser.post(&path, &fields)
    }
}

fn each_page_is_for_its_roles_and_for_what_is_their_own(on: Database) {
    let world = World::on(on);
    let [own, foreign] = [(ALPHA, "shop"), (BETA, "partner")].map(|(client, name)| {
        let inbox = world.receiver(name).answers(500).start();
        let subscription = world.subscribe(&Subscribe::new(client, &inbox).retry("1h"));
        world.publish(&world.predictions(client, 1));
        (client, inbox, subscription.id)
    });
    let run = world.spawn_run();
    own.1.wait_for(1, SOON);
    foreign.1.wait_for(1, SOON);
    run.terminate();
    run.finish(SOON).ok();
    let listed = world.ask(["delivery", "list"]);
    let deliveries: &[Value] = listed["deliveries"].as_array().expect("a list");
    let [own, foreign] = [own, foreign].map(|(client, inbox, subscription)| {
        let delivery = deliveries.iter().find(|one| one["client"] == client);
        let event = delivery.expect("each has one")["event"].as_str();
        Theirs {
            client,
            inbox,
            subscription,
            event: event.expect("an id").to_owned(),
        }
    });
    let mut house = House {
        world: &world,
        api: Api::start(&world, &["--no-worker"]),
        master: token(&world, "admin", None),
        made: Cell::new(0),
    };
    let mut asked = 0;
    let (mut one, mut all) = (String::new(), String::new());
    for role in ROLES {
        for (number, page) in pages().into_iter().enumerate() {
            // None of them asks more often than it may.
            if number % 8 == 0 {
                one = token(&world, role, Some(ALPHA));
                all = token(&world, role, None);
                house.master = token(&world, "admin", None);
            }
            let may = may(role, &page);
            for (token, of, is_own) in [
                (&one, &own, true),
                (&one, &foreign, false),
                (&all, &foreign, true),
            ] {
                let is_own = is_own && !(is_of_all(&page) && *token == one);
                // It may be signed out by it.
                let browser = Browser::signed_in(&house.api, token);
                let answer = house.go(&browser, &page, of);
                let told = format!("{role} {} {}: {answer:?}", page.method, page.path);
                asked += 1;
                assert!(answer.body.len() < 100_000, "{told}");
                if !may {
                    assert_told(&answer, 403, "not_allowed");
                } else if is_own || is_their_own_always(&page) {
                    match (page.method.as_str(), answer.header("location")) {
                        ("GET", _) => assert_eq!(answer.status, 200, "{told}"),
                        (_, None) => assert!([200, 201].contains(&answer.status), "{told}"),
                        (_, Some(to)) => {
                            assert_eq!(answer.status, 303, "{told}");
                            let is_out = page.path == "/sign-out";
                            assert_eq!(to.starts_with("/sign-in"), is_out, "{told}");
                        }
                    }
                } else {
                    assert_told(&answer, 404, "there is no such");
                }
            }
        }
    }
    assert_eq!(asked, ROLES.len() * PAGES.len() * 3);

    // Nobody in particular is asked to sign in, and changes nothing.
    let nobody = Browser::new(&house.api);
    for page in pages() {
        let path = (page.path.replace("{id}", &own.subscription))
            .replace("{event}", &own.event)
            .replace("{subscription}", &own.subscription);
        let answer = match page.method.as_str() {
            "GET" => nobody.get(&path),
            _ => nobody.send(&path, &[("csrf", "")], &[]),
        };
        assert_eq!(answer.status, 303, "{page:?}: {answer:?}");
        let location = answer.header("location").expect("where to go");
        assert!(location.starts_with("/sign-in"), "{page:?}: {location}");
    }

    // A list holds what is the token's own and nothing else.
    let one = token(&world, "admin", Some(ALPHA));
    let browser = Browser::signed_in(&house.api, &one);
    for path in ["/", "/settings"].iter().chain(&LISTS) {
        let page = browser.page(path);
        assert!(
            !page.contains("partner") && !page.contains(BETA),
            "{path}: {page}"
        );
    }
}
