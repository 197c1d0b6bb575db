//! Receivers in other languages, written to a sender's documentation or with its package, judge what goes out under that
//! sender's profile.

use std::{fs, process::Command, slice, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tharsis_receiver::closed_port;
use tharsis_tests::{
    Running, Subscribe, Subscription, World, node_example, python_example, wait_until,
};

const BOUND: Duration = Duration::from_secs(120);

/// A sender that is in no documentation of ours.
const ACME: &str = r#"
[profiles.acme]
signature_header = "X-Acme-Signature"
signed = "id.timestamp.body"
algorithm = "hmac-sha512"
digest = "base64"
headers = { X-Acme-Id = "{id}", X-Acme-Time = "{timestamp}" }
"#;

#[test]
fn mars() {
    is_stood_in_for("mars", "product_discount_recommendation", |payload| payload);
}

#[test]
fn insightarc() {
    is_stood_in_for("insightarc", "signal", |payload| payload);
}

#[test]
fn smartech() {
    is_stood_in_for(
        "smartech",
        "channel_activity",
        |payload| json!({ "Shop": [payload] }),
    );
}

#[test]
fn nudge() {
    is_stood_in_for(
        "nudge",
        "reward.earned",
        |payload| json!({ "event": "reward.earned", "payload": payload }),
    );
}

#[test]
fn standard() {
    is_stood_in_for("standard", "signal", |payload| payload);
}

/// The receiver has the public key only. The pair is that of RFC 8032, section 7.1, test 1; Python has no such key in its
/// library, nor does the package.
#[test]
fn standard_signed_with_a_pair() {
    let world = World::new();
    let private = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    let public = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let foreign = Foreign::with_secret(
        &world,
        node_example("receiver.js"),
        "standard",
        public.to_owned(),
        None,
    );
    let sample = Sample::of(&world, "signal");
    let other = format!("whsk_{}", BASE64_STANDARD.encode([7; 32]));
    let subscriptions = [("right", private), ("wrong", &other)].map(|(name, secret)| {
        let added = foreign.to_be_subscribed(&world, &sample.client, name, secret);
        world.subscribe(&added).id
    });
    publish(&world, &[sample.event]);
    world.run_until_idle();

    assert_eq!(foreign.accepted(), [sample.payload]);
    let codes = subscriptions.each_ref().map(|id| {
        let delivery = world.deliveries(&["--subscription", id]).remove(0);
        delivery["reason"].clone()
    });
    assert_eq!(codes, ["http_200", "http_401"]);
    let shown = world.ask(["subscription", "show", &subscriptions[0]]);
    assert_eq!(shown["public_key"], public);
}

#[test]
fn github() {
    is_stood_in_for("github", "reward.earned", |payload| payload);
}

#[test]
fn shopify() {
    is_stood_in_for("shopify", "product_discount_recommendation", |payload| {
        payload
    });
}

#[test]
fn stripe() {
    is_stood_in_for("stripe", "channel_activity", |payload| payload);
}

#[test]
fn acme() {
    is_stood_in_for("acme", "reward.earned", |payload| payload);
}

#[test]
fn smartech_sends_several_items_in_one_request() {
    let world = World::new();
    let profile = "smartech";
    let receivers = in_both_languages(|command| Foreign::start(&world, command, profile, None));
    let sample = Sample::of(&world, "channel_activity");
    let published: Vec<Value> = (0..5)
        .map(|n| {
            let mut payload = sample.payload.clone();
            payload["event_params"]["foreignkey"] = json!(format!("9{n}"));
            payload["att_params"]["CITY"] = json!("Thane&Kalyan = 100% + \u{fc}\u{1f600} \"\\/");
            payload
        })
        .collect();
    let mut envelopes: Vec<Value> = (published.iter())
        .map(|payload| json!({ "type": "channel_activity", "client": sample.client, "payload": payload }))
        .collect();
    let custom = Sample::of(&world, "custom_activity");
    envelopes.push(custom.event);

    let mut subscriptions = Vec::new();
    for (foreign, name) in receivers.iter().zip(["Node", "Python"]) {
        let wrong = foreign.to_be_subscribed(&world, &sample.client, name, &world.secret());
        let refused = world.try_subscribe(&wrong);
        // The test event shows it.
        assert_eq!(refused.error_code(), "status_not_success");
        let right = foreign.to_be_subscribed(&world, &sample.client, name, &foreign.secret);
        subscriptions.push(world.subscribe(&right));
    }
    publish(&world, &envelopes);
    assert_eq!(world.run_until_idle().json()["delivered"], 12);

    let mut activity = custom.payload;
    for (foreign, Subscription { id, name }) in receivers.iter().zip(&subscriptions) {
        activity["webhook_name"] = json!(name);
        activity["event_params"]["asset_name"] = json!(name);
        activity["event_params"]["asset_id"] = json!(id);
        let bodies = foreign.accepted();
        assert_eq!(bodies.len(), 1, "one request: {bodies:?}");
        let items = bodies[0]["Shop"].as_array().expect("a panel has items");
        let (activities, mut clicks): (Vec<&Value>, Vec<&Value>) =
            (items.iter()).partition(|item| item["channel"] == "custom_activity");
        clicks.sort_by_key(|click| click["event_params"]["foreignkey"].to_string());
        assert_eq!(activities, [&activity]);
        assert_eq!(clicks, published.iter().collect::<Vec<_>>());
    }
}

/// A receiver that has the old secret still, and one that has the new one already.
#[test]
fn standard_is_believed_with_both_secrets_while_one_is_replaced() {
    let world = World::new();
    let (old, new) = (secret(&world, "standard"), secret(&world, "standard"));
    let receivers = [&old, &new].map(|own| {
        in_both_languages(|command| {
            Foreign::with_secret(&world, command, "standard", own.clone(), None)
        })
    });
    let sample = Sample::of(&world, "signal");
    let file = format!("--secret-file={}", world.secret_file(&new).display());
    for (n, foreign) in receivers.iter().flatten().enumerate() {
        let name = format!("receiver {n}");
        let added = foreign.to_be_subscribed(&world, &sample.client, &name, &old);
        let Subscription { id, .. } = world.subscribe(&added);
        world.ask(["subscription", "rotate", &id, &file, "--overlap=1h"]);
    }
    publish(&world, &[sample.event]);
    world.run_until_idle();
    for foreign in receivers.iter().flatten() {
        assert_eq!(foreign.accepted(), slice::from_ref(&sample.payload));
    }
}

/// Its header carries one signature: the receiver believes both secrets first, then the sender rotates.
#[test]
fn github_is_believed_before_and_after_a_rotation_by_who_knows_both_secrets() {
    let world = World::new();
    let next = world.secret();
    let receivers =
        in_both_languages(|command| Foreign::start(&world, command, "github", Some(&next)));
    let samples = ["signal", "reward.earned"].map(|event_type| Sample::of(&world, event_type));
    let ids = receivers.each_ref().map(|foreign| {
        let client = &samples[0].client;
        let added = foreign.to_be_subscribed(&world, client, &foreign.url, &foreign.secret);
        world.subscribe(&added).id
    });
    let [before, after] = samples;
    publish(&world, &[before.event]);
    world.run_until_idle();
    let file = format!("--secret-file={}", world.secret_file(&next).display());
    for id in &ids {
        world.ask(["subscription", "rotate", id, &file]);
    }
    publish(&world, &[after.event]);
    world.run_until_idle();
    for foreign in &receivers {
        let wanted = [before.payload.clone(), after.payload.clone()];
        assert_eq!(foreign.accepted(), wanted);
    }
}

#[test]
fn nudge_sends_the_same_key_again_on_a_retry_and_on_a_replay() {
    let world = World::new();
    let receivers = in_both_languages(|command| Foreign::start(&world, command, "nudge", None));
    let shop = world.receiver("shop").answers(500).then(200).start();
    let sample = Sample::of(&world, "reward.earned");
    for foreign in &receivers {
        let added = foreign.to_be_subscribed(&world, &sample.client, &foreign.url, &foreign.secret);
        world.subscribe(&added);
    }
    world.subscribe(
        &Subscribe::new(&sample.client, &shop)
            .profile("nudge")
            .retry("50ms"),
    );
    publish(&world, &[sample.event]);
    world.run_until_idle();
    world.ask(["replay", "--status=delivered", "--yes"]);
    world.run_until_idle();

    let keys: Vec<_> = (shop.posts().iter())
        .map(|post| post.headers.get("x-idempotent-key").cloned())
        .collect();
    let [Some(first), Some(retried), Some(replayed)] = &keys[..] else {
        panic!("three requests with a key: {keys:?}");
    };
    assert_eq!(first, retried);
    assert_eq!(first, replayed);
    // So a receiver knows it again.
    let key = first.to_str().expect("it is text");
    for foreign in &receivers {
        assert_eq!(foreign.accepted().len(), 1);
        let again = format!("again: {key}\n");
        assert!(foreign.process.stderr().contains(&again), "{again}");
    }
}

// ---

/// Under this profile the sample of `event_type` is believed by the receivers of both languages as `body` has it, and what
/// is signed with another secret is not.
fn is_stood_in_for(profile: &str, event_type: &str, body: fn(Value) -> Value) {
    let world = World::new();
    let receivers = in_both_languages(|command| Foreign::start(&world, command, profile, None));
    if profile == "acme" {
        let file = world.path("tharsis.toml");
        let configuration = fs::read_to_string(file).expect("a world is configured");
        world.write("tharsis.toml", configuration + ACME);
    }
    let sample = Sample::of(&world, event_type);
    for (foreign, name) in receivers.iter().zip(["Node", "Python"]) {
        let other = secret(&world, profile);
        let wrong = format!("{name} wrong");
        for (name, secret) in [(name, &foreign.secret), (&wrong, &other)] {
            // Else the test event of Smartech would show before that the credentials are wrong.
            let added = foreign.to_be_subscribed(&world, &sample.client, name, secret);
            world.subscribe(&added.check("head"));
        }
    }
    publish(&world, &[sample.event]);
    world.run_until_idle();

    for foreign in &receivers {
        assert_eq!(foreign.accepted(), [body(sample.payload.clone())]);
    }
    let mut fates: Vec<(Value, Value)> = (world.deliveries(&[]).iter_mut())
        .map(|delivery| {
            (
                delivery["subscription_name"].take(),
                delivery["reason"].take(),
            )
        })
        .collect();
    fates.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
    let refused = if profile == "nudge" {
        "http_403"
    } else {
        "http_401"
    };
    let wanted = [
        ("Node", "http_200"),
        ("Node wrong", refused),
        ("Python", "http_200"),
        ("Python wrong", refused),
    ];
    assert_eq!(
        fates,
        wanted.map(|(name, reason)| (json!(name), json!(reason)))
    );
}

/// A receiver of `examples/`, running.
struct Foreign {
    process: Running,
    profile: String,
    url: String,
    secret: String,
}

impl Foreign {
    fn start(world: &World, command: Command, profile: &str, next: Option<&str>) -> Self {
        Self::with_secret(world, command, profile, secret(world, profile), next)
    }

    fn with_secret(
        world: &World,
        mut command: Command,
        profile: &str,
        secret: String,
        next: Option<&str>,
    ) -> Self {
        let (certificate, key) = world.certificate();
        // What signs the URL wants it told before it listens, and exactly.
        let port = closed_port().expect("there is a free port").port();
        let url = format!("https://LocalHost:{port}/hooks?Shop=1");
        let credentials = match profile {
            "smartech" => format!("shop:{secret}"),
            _ => secret.clone(),
        };
        command
            .args(["--profile", profile])
            .env("PORT", port.to_string())
            .env("TLS_CERT", certificate)
            .env("TLS_KEY", key)
            .env("WEBHOOK_URL", &url)
            .env("WEBHOOK_SECRET", credentials);
        if let Some(next) = next {
            command.env("WEBHOOK_NEXT_SECRET", next);
        }
        let mut process = world.spawn_other(command);
        wait_until("the receiver listens", BOUND, || {
            assert!(process.is_alive(), "it ended: {}", process.stderr());
            process.stderr().contains("listening on ").then_some(())
        });
        world.open_port(port);
        Self {
            process,
            profile: profile.to_owned(),
            url,
            secret,
        }
    }

    fn to_be_subscribed(&self, world: &World, client: &str, name: &str, secret: &str) -> Subscribe {
        let subscribe = Subscribe::to_url(client, name, &self.url)
            .profile(&self.profile)
            .retry("none");
        if self.profile != "smartech" {
            return subscribe.secret(secret);
        }
        let password = world.secret_file(secret);
        subscribe
            .flag("--set=panel=Shop")
            .flag("--basic-user=shop")
            .flag(format!("--basic-password-file={}", password.display()))
    }

    /// What it verified, but for test events. It writes it down before it answers.
    fn accepted(&self) -> Vec<Value> {
        (self.process.stdout().lines())
            .filter(|line| !line.contains("webhook.test"))
            .map(|line| serde_json::from_str(line).expect("it writes JSON"))
            .collect()
    }
}

/// The documented sample of a type.
struct Sample {
    /// As an engine hands it over.
    event: Value,
    client: String,
    payload: Value,
}

impl Sample {
    fn of(world: &World, event_type: &str) -> Self {
        let event = world.ask(["event-type", "show", event_type])["example"].take();
        let client = event.get("client").unwrap_or(&event["clientId"]).clone();
        Self {
            client: client.as_str().expect("an event is of a client").to_owned(),
            payload: event.get("payload").unwrap_or(&event).clone(),
            event,
        }
    }
}

fn in_both_languages(start: impl Fn(Command) -> Foreign) -> [Foreign; 2] {
    [node_example("receiver.js"), python_example("receiver.py")].map(start)
}

/// As the profile has secrets.
fn secret(world: &World, profile: &str) -> String {
    let text = world.secret();
    match profile {
        "standard" => format!("whsec_{}", BASE64_STANDARD.encode(text)),
        _ => text,
    }
}

#[track_caller]
fn publish(world: &World, events: &[Value]) {
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let report = world.publish_text(lines.join("\n")).ok().json();
    assert_eq!(report["published"], events.len(), "{report}");
}
