//! Each door of the table with each role, on what is the token's own, on what is another client's, and without a token.

use std::cell::Cell;

use serde_json::{Value, json};
use tharsis_admin::{Route, routes};
use tharsis_tests::{
    ALPHA, Answer, Api, BETA, Database, Inbox, Subscribe, World, on_both_databases,
};

use crate::{SOON, token};

on_both_databases! { each_door_is_for_its_roles_and_for_what_is_their_own }

const ROLES: [&str; 4] = ["publisher", "viewer", "operator", "admin"];

/// Who may go through which door, written down apart from the table that lets them in.
#[rustfmt::skip]
const DOORS: [(&str, &str, &str); 39] = [
    ("POST", "/v1/events", "publisher, admin"),
    ("GET", "/v1/events/{id}", "viewer, operator, admin"),
    ("GET", "/v1/events/{id}/why", "viewer, operator, admin"),
    ("GET", "/v1/subscriptions", "viewer, operator, admin"),
    ("POST", "/v1/subscriptions", "admin"),
    ("GET", "/v1/subscriptions/{id}", "viewer, operator, admin"),
    ("PATCH", "/v1/subscriptions/{id}", "admin"),
    ("DELETE", "/v1/subscriptions/{id}", "admin"),
    ("POST", "/v1/subscriptions/{id}/rotate", "admin"),
    ("POST", "/v1/subscriptions/{id}/test", "operator, admin"),
    ("POST", "/v1/subscriptions/{id}/filter-test", "viewer, operator, admin"),
    ("GET", "/v1/subscriptions/{id}/health", "viewer, operator, admin"),
    ("POST", "/v1/subscriptions/{id}/pause", "operator, admin"),
    ("POST", "/v1/subscriptions/{id}/resume", "operator, admin"),
    ("GET", "/v1/deliveries", "viewer, operator, admin"),
    ("GET", "/v1/deliveries/{event}/{subscription}", "viewer, operator, admin"),
    ("POST", "/v1/deliveries/{event}/{subscription}/retry", "operator, admin"),
    ("POST", "/v1/deliveries/{event}/{subscription}/cancel", "operator, admin"),
    ("GET", "/v1/replays", "viewer, operator, admin"),
    ("POST", "/v1/replays", "operator, admin"),
    ("GET", "/v1/replays/{id}", "viewer, operator, admin"),
    ("POST", "/v1/replays/{id}/pause", "operator, admin"),
    ("POST", "/v1/replays/{id}/resume", "operator, admin"),
    ("POST", "/v1/replays/{id}/cancel", "operator, admin"),
    ("GET", "/v1/campaigns/{campaign}", "viewer, operator, admin"),
    ("POST", "/v1/campaigns/{campaign}/pause", "operator, admin"),
    ("POST", "/v1/campaigns/{campaign}/resume", "operator, admin"),
    ("POST", "/v1/campaigns/{campaign}/cancel", "operator, admin"),
    ("GET", "/v1/alerts", "viewer, operator, admin"),
    ("GET", "/v1/stats", "viewer, operator, admin"),
    ("GET", "/v1/event-types", "viewer, operator, admin"),
    ("GET", "/v1/event-types/{name}", "viewer, operator, admin"),
    ("GET", "/v1/outcomes", "viewer, operator, admin"),
    ("GET", "/v1/egress", "viewer, operator, admin"),
    ("GET", "/v1/tokens", "admin"),
    ("POST", "/v1/tokens", "admin"),
    ("DELETE", "/v1/tokens/{id}", "admin"),
    ("GET", "/v1/audit", "admin"),
    ("GET", "/metrics", "viewer, operator, admin"),
];

fn may(role: &str, route: &Route) -> bool {
    let door = DOORS
        .iter()
        .find(|(method, path, _)| *method == route.method.as_str() && *path == route.path);
    let (_, _, roles) = door.unwrap_or_else(|| panic!("nobody has said who may: {route:?}"));
    roles.split(", ").any(|one| one == role)
}

/// What is the same for everybody.
fn is_nobodys(route: &Route) -> bool {
    route.path.starts_with("/v1/event-types")
        || ["/v1/outcomes", "/v1/egress"].contains(&route.path)
        || is_of_all(route)
}

/// What is of all clients together, and so for no token of one.
fn is_of_all(route: &Route) -> bool {
    route.path == "/metrics"
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

    /// An id of something that is made for this request, for it may not survive it.
    fn fresh(&self, path: &str, body: &Value) -> String {
        let made = self.api.post(&self.master, path, &body.to_string()).ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    fn registration(&self, of: &Theirs) -> Value {
        let secret = self.world.secret();
        json!({"client": of.client, "name": self.name(), "url": of.inbox.url, "secret": secret})
    }

    /// What the path and the body of a request name.
    fn request(&self, route: &Route, of: &Theirs) -> (String, Value) {
        let client = of.client;
        let replay = || json!({"client": client, "filter": {"status": "dead"}});
        let viewer = || json!({"name": self.name(), "role": "viewer", "client": client});
        let id = match (route.method.as_str(), route.path) {
            (_, path) if path.starts_with("/v1/events/") => of.event.clone(),
            (_, path) if path.starts_with("/v1/replays/") => self.fresh("/v1/replays", &replay()),
            (_, path) if path.starts_with("/v1/tokens/") => self.fresh("/v1/tokens", &viewer()),
            ("DELETE" | "PATCH", path) if path.starts_with("/v1/subscriptions/") => {
                self.fresh("/v1/subscriptions", &self.registration(of))
            }
            _ => of.subscription.clone(),
        };
        let path = (route.path.replace("{id}", &id))
            .replace("{event}", &of.event)
            .replace("{subscription}", &of.subscription)
            .replace("{campaign}", &self.name().replace(' ', "-"))
            .replace("{name}", "nudge");
        let is_get = route.method == "GET";
        let asks = is_get && !is_nobodys(route);
        let is_list = !route.path.contains('{') || route.path.starts_with("/v1/campaigns/");
        let path = match asks && is_list {
            true => format!("{path}?client={client}"),
            false => path,
        };
        let body = match (route.method.as_str(), route.path) {
            ("POST", "/v1/events") => {
                json!({"type": "order", "client": client, "payload": {"n": self.name()}})
            }
            ("POST", "/v1/subscriptions") => self.registration(of),
            ("PATCH", _) => json!({"name": self.name()}),
            ("POST", "/v1/subscriptions/{id}/rotate") => json!({"secret": self.world.secret()}),
            ("POST", "/v1/subscriptions/{id}/filter-test") => {
                json!({"filter": "true", "events": [of.event]})
            }
            ("POST", "/v1/replays") => replay(),
            ("POST", "/v1/tokens") => viewer(),
            ("POST", path) if path.starts_with("/v1/campaigns/") => json!({"client": client}),
            _ => Value::Null,
        };
        (path, body)
    }

    fn go(&self, token: Option<&str>, route: &Route, of: &Theirs) -> Answer {
        let (path, body) = self.request(route, of);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json"), ("if-match", "*")];
        headers.extend((bearer.as_deref()).map(|bearer| ("authorization", bearer)));
        (self.api).ask(route.method.as_str(), &path, &headers, body.as_bytes())
    }
}

fn each_door_is_for_its_roles_and_for_what_is_their_own(on: Database) {
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
    let deliveries = listed["deliveries"].as_array().expect("a list");
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
    let house = House {
        world: &world,
        api: Api::start(&world, &["--no-worker"]),
        master: token(&world, "admin", None),
        made: Cell::new(0),
    };
    let mut asked = 0;
    for role in ROLES {
        let (one, all) = (token(&world, role, Some(ALPHA)), token(&world, role, None));
        for route in routes() {
            let may = may(role, &route);
            for (token, of, is_own) in [
                (&one, &own, true),
                (&one, &foreign, false),
                (&all, &foreign, true),
            ] {
                let answer = house.go(Some(token), &route, of);
                let told = format!("{role} {} {}: {answer:?}", route.method, route.path);
                asked += 1;
                if !may || (is_of_all(&route) && *token == one) {
                    assert_eq!(answer.refused(403), "not_allowed", "{told}");
                } else if is_own || is_nobodys(&route) {
                    assert!((200..300).contains(&answer.status), "{told}");
                } else if route.path == "/v1/events" {
                    assert_eq!(answer.refused(403), "client_not_allowed", "{told}");
                } else {
                    assert_eq!(answer.refused(404), "not_found", "{told}");
                }
            }
        }
    }
    assert_eq!(asked, ROLES.len() * DOORS.len() * 3);
    let unknown = "tharsis_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for route in routes() {
        let bare = house.go(None, &route, &own);
        assert_eq!(bare.header("www-authenticate"), Some("Bearer"), "{bare:?}");
        assert_eq!(bare.refused(401), "token_missing");
        let nobody = house.go(Some(unknown), &route, &own);
        // So many of them in a second are slowed.
        assert!([401, 429].contains(&nobody.status), "{nobody:?}");
    }

    // What is another's is answered to the letter as what is not there.
    let viewer = token(&world, "viewer", Some(ALPHA));
    for (path, foreign) in [
        ("/v1/events", &foreign.event),
        ("/v1/subscriptions", &foreign.subscription),
    ] {
        let missing = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";
        for id in [foreign.clone(), foreign.to_uppercase()] {
            let [one, other] =
                [&*id, missing].map(|id| house.api.get(&viewer, &format!("{path}/{id}")));
            assert_eq!((one.status, one.body), (404, other.body));
        }
    }

    // A list holds what is the token's own and nothing else.
    let admin = token(&world, "admin", Some(ALPHA));
    for (path, key) in [
        ("/v1/subscriptions", "subscriptions"),
        ("/v1/deliveries", "deliveries"),
        ("/v1/replays", "replays"),
        ("/v1/tokens", "tokens"),
        ("/v1/audit", "entries"),
    ] {
        let answer = house.api.get(&admin, path).ok();
        let items = answer[key].as_array().expect("a list");
        assert!(
            !items.is_empty() && items.iter().all(|item| item["client"] == ALPHA),
            "{path}: {answer}"
        );
        let all = house.api.get(&house.master, path).ok();
        let all = all[key].as_array().expect("a list");
        assert!(all.iter().any(|item| item["client"] == BETA), "{path}");
    }
}
