//! What the API says of itself: that anybody may read it, and that answers are as it says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tharsis_tests::{ALPHA, Api, Database, Subscribe, World, on_both_databases};

use crate::token;

on_both_databases! {
    anybody_may_read_what_the_api_takes_and_answers,
    answers_have_the_fields_that_the_description_says,
}

fn anybody_may_read_what_the_api_takes_and_answers(on: Database) {
    let world = World::on(on);
    let printed = world.tharsis(["serve", "--openapi"]).ok();
    world.ask(["migrate"]);
    let api = Api::start(&world, &["--no-worker"]);
    for (path, kind) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs.css", "text/css; charset=utf-8"),
    ] {
        let answer = api.ask("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{policy}"
        );
        for absent in ["<script", "<style", " style=", "@import", "url("] {
            assert!(!answer.body.contains(absent), "{path}: {absent}");
        }
        assert_eq!(api.ask("POST", path, &[], b"").status, 405, "{path}");
    }
    let document = api.ask("GET", "/openapi.json", &[], b"").ok();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(printed.json(), document);
    let page = api.ask("GET", "/docs", &[], b"").body;
    for (_, methods) in document["paths"].as_object().expect("there are paths") {
        for (_, said) in methods.as_object().expect("it has methods") {
            let name = said["operationId"].as_str().expect("a name");
            assert!(page.contains(&format!("<article id=\"{name}\">")), "{name}");
        }
    }
    let health = api.ask("GET", "/healthz", &[], b"");
    let policy = health.header("content-security-policy");
    assert_eq!(policy, Some("default-src 'none'; frame-ancestors 'none'"));
}

fn answers_have_the_fields_that_the_description_says(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").answers(503).then(200).start();
    let id = world
        .subscribe(&Subscribe::new(ALPHA, &shop).retry("50ms"))
        .id;
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let listed = world.ask(["delivery", "list"]);
    let event = listed["deliveries"][0]["event"].as_str().expect("an id");
    let admin = token(&world, "admin", None);
    let api = Api::start(&world, &["--no-worker"]);
    let document = Document(api.ask("GET", "/openapi.json", &[], b"").ok());

    let replay = format!(r#"{{"client":"{ALPHA}","filter":{{"status":"delivered"}}}}"#);
    let made = api.post(&admin, "/v1/replays", &replay);
    document.expects("/v1/replays", "post", 201, &made.ok());
    for (door, path) in [
        ("/v1/events/{id}", format!("/v1/events/{event}")),
        ("/v1/events/{id}/why", format!("/v1/events/{event}/why")),
        ("/v1/subscriptions", "/v1/subscriptions".to_owned()),
        ("/v1/subscriptions/{id}", format!("/v1/subscriptions/{id}")),
        (
            "/v1/subscriptions/{id}/health",
            format!("/v1/subscriptions/{id}/health"),
        ),
        ("/v1/deliveries", "/v1/deliveries?limit=10".to_owned()),
        (
            "/v1/deliveries/{event}/{subscription}",
            format!("/v1/deliveries/{event}/{id}"),
        ),
        ("/v1/replays", "/v1/replays".to_owned()),
        ("/v1/alerts", "/v1/alerts".to_owned()),
        ("/v1/stats", "/v1/stats".to_owned()),
        ("/v1/stats", format!("/v1/stats?client={ALPHA}")),
        ("/v1/event-types", "/v1/event-types".to_owned()),
        ("/v1/event-types/{name}", "/v1/event-types/nudge".to_owned()),
        ("/v1/outcomes", "/v1/outcomes".to_owned()),
        ("/v1/egress", "/v1/egress".to_owned()),
        ("/v1/tokens", "/v1/tokens".to_owned()),
        ("/v1/audit", "/v1/audit".to_owned()),
    ] {
        let answer = api.get(&admin, &path);
        document.expects(door, "get", 200, &answer.ok());
    }

    let missing = api.get(&admin, &format!("/v1/subscriptions/{event}"));
    assert_eq!(missing.refused(404), "not_found");
    document.expects("/v1/subscriptions/{id}", "get", 404, &missing.json());
    let wrong = api.post(&admin, "/v1/tokens", r#"{"name":"x","role":"king"}"#);
    assert_eq!(wrong.refused(422), "bad_role");
    document.expects("/v1/tokens", "post", 422, &wrong.json());
    let viewer = r#"{"name":"x","role":"viewer"}"#;
    let made = api.post(&admin, "/v1/tokens", viewer);
    document.expects("/v1/tokens", "post", 201, &made.ok());
    let tried = format!(r#"{{"filter":"true","events":["{event}"],"last":1}}"#);
    let tried = api.post(
        &admin,
        &format!("/v1/subscriptions/{id}/filter-test"),
        &tried,
    );
    document.expects(
        "/v1/subscriptions/{id}/filter-test",
        "post",
        200,
        &tried.ok(),
    );
    let order = format!(r#"{{"type":"order","client":"{ALPHA}","payload":{{"total":1}}}}"#);
    let (first, again) = (
        api.post(&admin, "/v1/events", &order),
        api.post(&admin, "/v1/events", &order),
    );
    document.expects("/v1/events", "post", 201, &first.ok());
    document.expects("/v1/events", "post", 200, &again.ok());
    let headers = [
        ("authorization", &*format!("Bearer {admin}")),
        ("content-type", "application/x-ndjson"),
    ];
    let many = api.ask(
        "POST",
        "/v1/events",
        &headers,
        format!("{order}\n{{").as_bytes(),
    );
    document.expects("/v1/events", "post", 200, &many.ok());
}

/// What the API says of itself.
struct Document(Value);

impl Document {
    /// An answer of this status is as it says.
    #[track_caller]
    fn expects(&self, path: &str, method: &str, status: u16, answer: &Value) {
        let answers = &self.0["paths"][path][method]["responses"];
        let said = self.meant(&answers[status.to_string()]);
        let contents = said["content"].as_object().expect("it has a body");
        let (_, content) = contents.iter().next().expect("of some type");
        let fits = self.fits(&content["schema"], answer, "$");
        assert!(
            fits.is_ok(),
            "{method} {path} {status}: {fits:?}\n{answer:#}"
        );
    }

    /// What a reference leads to, or the value itself.
    fn meant<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => {
                let place = reference.strip_prefix('#').expect("within the document");
                self.meant(self.0.pointer(place).expect("it leads somewhere"))
            }
        }
    }

    /// Why a value is not as its schema says, and where.
    fn fits(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.meant(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fitting = choices
                .iter()
                .filter(|one| self.fits(one, value, at).is_ok());
            return match fitting.count() {
                1 => Ok(()),
                n => Err(format!("{at}: {value} is {n} of the choices")),
            };
        }
        if let Some(words) = schema["enum"].as_array() {
            return match words.contains(value) {
                true => Ok(()),
                false => Err(format!("{at}: {value} is no such word")),
            };
        }
        if !is_of(&schema["type"], value) {
            return Err(format!("{at}: {value} is no {}", schema["type"]));
        }
        if let Some(items) = value.as_array() {
            for (n, item) in items.iter().enumerate() {
                self.fits(&schema["items"], item, &format!("{at}[{n}]"))?;
            }
        }
        match value.as_object() {
            Some(object) => self.has_fields(schema, object, at),
            None => Ok(()),
        }
    }

    /// All that are needed are there, and none that is not known.
    fn has_fields(
        &self,
        schema: &Value,
        object: &serde_json::Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        let (mut known, mut needed) = (BTreeMap::new(), BTreeSet::new());
        self.gather(schema, &mut known, &mut needed);
        if let Some(name) = needed.iter().find(|name| !object.contains_key(**name)) {
            return Err(format!("{at}: there is no {name}"));
        }
        for (name, value) in object {
            let place = format!("{at}.{name}");
            match (known.get(&**name), &schema["additionalProperties"]) {
                (Some(field), _) => self.fits(field, value, &place)?,
                (None, Value::Object(_)) => {
                    self.fits(&schema["additionalProperties"], value, &place)?;
                }
                // One of which nothing is said may have any.
                (None, _) if known.is_empty() => {}
                (None, _) => return Err(format!("{place}: nothing is said of it")),
            }
        }
        Ok(())
    }

    /// The fields of an object, and those that it is never without.
    fn gather<'a>(
        &'a self,
        schema: &'a Value,
        known: &mut BTreeMap<&'a str, &'a Value>,
        needed: &mut BTreeSet<&'a str>,
    ) {
        let schema = self.meant(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, known, needed);
        }
        let fields = schema["properties"].as_object().into_iter().flatten();
        known.extend(fields.map(|(name, field)| (name.as_str(), field)));
        let names = schema["required"].as_array().into_iter().flatten();
        needed.extend(names.filter_map(Value::as_str));
    }
}

/// Whether a value is of a type, of one of several, or of any.
fn is_of(types: &Value, value: &Value) -> bool {
    let is = |one: &Value| match one.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    match types {
        Value::Null => true,
        Value::Array(several) => several.iter().any(is),
        one => is(one),
    }
}
