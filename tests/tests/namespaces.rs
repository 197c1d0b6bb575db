//! The egress policy as it is by default, with nothing opened: the real program among public addresses, on a host whose
//! name server lies to it.
//!
//! On SQLite: no server of PostgreSQL can be reached from there. It wants Linux and root, and `make namespaces` says so
//! where it is refused.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use serde_json::Value;
use tharsis_tests::{ALPHA, BETA, Inbox, Says, Subscribe, Subscription, World, is_signed_with};

const SHOP_ONE: &str = "hooks.shop-one.com";
const SHOP_TWO: &str = "hooks.shop-two.com";

const PUBLIC: &str = "93.184.216.34";
const PUBLIC_TOO: &str = "93.184.216.35";
const PUBLIC_6: &str = "2606:4700:4700::1111";

/// What a name may be made to lead to, beside the addresses of the engine's host that look public.
const INSIDE: [&[&str]; 9] = [
    &["127.0.0.1"],
    &["::1"],
    &["10.0.0.5"],
    &["fd00::5"],
    &["169.254.169.254"],
    &["::ffff:10.0.0.5"],
    &["64:ff9b::a9fe:a9fe"],
    &[PUBLIC, "10.0.0.5"],
    &[PUBLIC_6, "169.254.169.254"],
];

/// What the deliveries of this subscription came to: each status with its reason.
#[track_caller]
fn outcomes(world: &World, subscription: &Subscription) -> Vec<(String, String)> {
    let flag = format!("--subscription={}", subscription.id);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (world.deliveries(&[&flag]).iter())
        .map(|delivery| (text(&delivery["status"]), text(&delivery["reason"])))
        .collect()
}

/// Nobody but receivers was connected to.
#[track_caller]
fn assert_no_connections_but_to(world: &World, inboxes: &[&Inbox], since: u64) {
    let received: u64 = inboxes.iter().map(|inbox| inbox.connections()).sum();
    let internet = world.internet();
    assert_eq!(internet.begun(), since + received, "some went elsewhere");
    assert_eq!(internet.trapped(), 0, "somebody else was connected to");
}

/// Else nothing that is counted here would prove anything.
#[test]
fn a_connection_to_where_none_may_go_would_be_seen() {
    let world = World::on_the_internet();
    let internet = world.internet();
    let own = internet.own().map(|address| address.to_string());
    let own = own.each_ref().map(String::as_str);
    let everywhere = ["127.0.0.1", "::1", "10.0.0.5", "fd00::5", "169.254.169.254"];
    let outside = ["10.1.2.3", "168.63.129.16", "fd00:ec2::254", PUBLIC];
    let mut count = 0;
    for address in [&own[..], &everywhere, &outside].concat() {
        assert!(internet.knock(address.parse().expect("an address")));
        count += 1;
        let seen = (internet.begun(), internet.trapped());
        assert_eq!(seen, (count, count), "{address}");
    }
}

#[test]
fn receivers_with_public_addresses_of_either_kind_get_what_is_theirs() {
    let world = World::on_the_internet();
    let one = world.receiver("one").at(&[SHOP_ONE], &[PUBLIC]).start();
    let two = world.receiver("two").at(&[SHOP_TWO], &[PUBLIC_6]).start();
    world.subscribe(&Subscribe::new(ALPHA, &one));
    world.subscribe(&Subscribe::new(BETA, &two));
    assert_eq!((one.heads().len(), two.heads().len()), (1, 1));
    let (of_one, of_two) = (world.predictions(ALPHA, 20), world.nudges(BETA, 20));
    world.publish(&[of_one.clone(), of_two.clone()].concat());
    world.run_until_idle();
    one.assert_received_once(&of_one);
    two.assert_received_once(&of_two);
    assert_no_connections_but_to(&world, &[&one, &two], 0);
}

/// The check sees a public address, the attempt another one: each looks anew, and is judged by what it finds.
#[test]
fn a_name_that_leads_inside_after_registration_is_not_followed() {
    let world = World::on_the_internet();
    let internet = world.internet();
    let own = internet.own().map(|address| address.to_string());
    let own = own.each_ref().map(|address| [address.as_str()]);
    let own = own.iter().map(|own| (&own[..], "address_is_self"));
    let inside = INSIDE.map(|inside| (inside, "address_not_global"));
    let turns: Vec<_> = inside.into_iter().chain(own).collect();

    let names: Vec<String> = (0..turns.len())
        .map(|n| format!("hooks-{n}.shop-one.com"))
        .collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let turning = world
        .receiver("turning")
        .at(&all, &[PUBLIC, PUBLIC_6])
        .start();
    let steady = world
        .receiver("steady")
        .at(&[SHOP_TWO], &[PUBLIC_TOO])
        .start();
    let subscriptions: Vec<_> = (names.iter())
        .map(|name| {
            let subscribe = Subscribe::to_url(ALPHA, name, &format!("https://{name}/in"));
            world.subscribe(&subscribe.secret(&turning.secret).retry("10ms"))
        })
        .collect();
    world.subscribe(&Subscribe::new(BETA, &steady));
    assert_eq!(turning.heads().len(), turns.len());
    assert_no_connections_but_to(&world, &[&turning, &steady], 0);

    for (name, (inside, _)) in names.iter().zip(&turns) {
        internet.names().say(name, Says::addresses(*inside));
    }
    let (checks, lines) = (turning.connections(), world.predictions(BETA, 3));
    world.publish(&[world.predictions(ALPHA, 1), lines.clone()].concat());
    world.run_until_idle();
    for (subscription, (inside, reason)) in subscriptions.iter().zip(&turns) {
        let refused = [("dead".to_owned(), (*reason).to_owned())];
        assert_eq!(outcomes(&world, subscription), refused, "{inside:?}");
    }
    steady.assert_received_once(&lines);
    assert_eq!((turning.count(), turning.connections()), (0, checks));
    assert_no_connections_but_to(&world, &[&turning, &steady], 0);

    // It is a look-up that refuses, and no memory of it.
    for name in &names {
        internet.names().say(name, Says::addresses([PUBLIC]));
    }
    let lines = world.predictions(ALPHA, 1);
    world.publish(&lines);
    world.run_until_idle();
    assert_eq!(turning.count(), turns.len());
    turning.assert_received(&lines);
    assert_no_connections_but_to(&world, &[&turning, &steady], 0);
}

/// A name server that says something else each time it is asked, and lets nobody keep it: what was looked at is what is
/// dialled.
#[test]
fn a_name_that_leads_elsewhere_at_each_question_is_never_followed_inside() {
    let world = World::on_the_internet();
    let names = world.internet().names();
    let shop = world
        .receiver("shop")
        .at(&[SHOP_ONE], &[PUBLIC])
        .answers(503)
        .with_header("connection", "close")
        .start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop).retry("10ms,10ms,10ms,10ms"));
    let (public, inside) = (Says::addresses([PUBLIC]), Says::addresses(["127.0.0.1"]));
    let turns = [&public, &inside, &public, &inside, &inside].map(Clone::clone);
    names.say_in_turn(SHOP_ONE, turns.to_vec());
    let checks = shop.connections();
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();

    let delivery = world.deliveries(&[]).remove(0);
    let id = delivery["id"].as_str().expect("a delivery has an id");
    let shown = world.ask(["delivery", "show", id]);
    let history: Vec<&Value> = (shown["history"].as_array().expect("a history").iter())
        .map(|attempt| &attempt["reason"])
        .collect();
    let (failed, refused) = ("http_503", "address_not_global");
    assert_eq!(history, [failed, refused, failed, refused, refused]);
    assert_eq!(
        outcomes(&world, &subscription),
        [("dead".to_owned(), refused.to_owned())]
    );
    assert_eq!(shop.connections(), checks + 2);
    assert_eq!(
        names.asked(SHOP_ONE),
        10,
        "an A and an AAAA for each attempt"
    );
    assert_no_connections_but_to(&world, &[&shop], 0);
}

/// Whoever registers URLs must not learn where names lead inside.
#[test]
fn what_leads_inside_is_not_registered_and_nobody_is_told_where_it_leads() {
    let world = World::on_the_internet();
    let internet = world.internet();
    let own = internet.own().map(|address| address.to_string());
    let own = own.each_ref().map(|address| [address.as_str()]);
    for inside in INSIDE.into_iter().chain(own.iter().map(|own| &own[..])) {
        let names = internet.names();
        names.say(SHOP_ONE, Says::addresses(inside));
        for check in ["head", "post"] {
            let url = format!("https://{SHOP_ONE}/in");
            let subscribe = Subscribe::to_url(ALPHA, "shop", &url).secret(&world.secret());
            let refused = world.try_subscribe(&subscribe.check(check)).expect(1);
            assert_eq!(refused.error_code(), "endpoint_not_allowed", "{inside:?}");
            for address in inside {
                assert!(!refused.stdout.contains(address), "{}", refused.stdout);
            }
        }
        assert!(names.asked(SHOP_ONE) > 0, "it was looked up");
    }
    let list = world.ask(["subscription", "list"]);
    assert_eq!(list["subscriptions"], serde_json::json!([]));
    assert_no_connections_but_to(&world, &[], 0);
}

#[test]
fn of_a_dead_and_a_living_public_address_the_living_one_gets_it() {
    let world = World::on_the_internet();
    let internet = world.internet();
    let (swallowed, cut_off) = ("93.184.217.1", "93.184.217.2");
    internet.swallow(swallowed);
    internet.cut_off(cut_off);
    let one = world.receiver("one").at(&[SHOP_ONE], &[PUBLIC]).start();
    let two = world.receiver("two").at(&[SHOP_TWO], &[PUBLIC_TOO]).start();
    world.subscribe(&Subscribe::new(ALPHA, &one));
    world.subscribe(&Subscribe::new(BETA, &two));
    for (name, addresses) in [
        (SHOP_ONE, [swallowed, PUBLIC]),
        (SHOP_TWO, [cut_off, PUBLIC_TOO]),
    ] {
        internet.names().say(name, Says::addresses(addresses));
    }
    let (of_one, of_two) = (world.predictions(ALPHA, 3), world.predictions(BETA, 3));
    world.publish(&[of_one.clone(), of_two.clone()].concat());
    let summary = world.run_until_idle().json();
    assert_eq!(
        summary["retried"], 0,
        "the first attempt found it: {summary}"
    );
    one.assert_received_once(&of_one);
    two.assert_received_once(&of_two);
    assert_eq!(internet.trapped(), 0);
}

/// Every row of the corpus at stage `connect`: the name led to a receiver when it was registered, and then to what the row
/// says. A registration that comes later than that is refused too.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "it is what a person wants to see of such a test"
)]
fn what_names_lead_to_is_refused_as_the_corpus_says() {
    let world = World::on_the_internet();
    let internet = world.internet();
    let own = internet.own()[0].to_string();
    let rows: Vec<Row> = rows();
    let hosts: Vec<&str> = rows.iter().map(Row::host).collect();
    // It answers 503 to the attempts that come so far, and ends the connection: the next looks the name up anew.
    let shop = world
        .receiver("shop")
        .at(&hosts, &[PUBLIC])
        .answers(503)
        .answers_head(200)
        .with_header("connection", "close")
        .start();
    let add = |row: &Row, name: &str| {
        let subscribe = Subscribe::to_url(ALPHA, name, row.of("url")).secret(&shop.secret);
        // Time enough to turn a name between two attempts.
        subscribe.retry(if row.turns_between_attempts() {
            "2s"
        } else {
            "10ms"
        })
    };
    let subscriptions: Vec<_> = (rows.iter())
        .map(|row| world.subscribe(&add(row, row.of("id"))))
        .collect();
    let checks = u64::try_from(rows.len()).expect("a corpus is small");
    assert_eq!((shop.connections(), internet.begun()), (checks, checks));

    let turn = |row: &Row| match row.says(&own) {
        Some(says) => internet.names().say(row.host(), says),
        None => {
            internet.names().say(row.host(), Says::addresses([PUBLIC]));
            internet.hosts_file(&format!("127.0.0.1 {}\n", row.host()));
        }
    };
    let (late, early): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.turns_between_attempts());
    early.iter().for_each(|row| turn(row));
    world.publish(&world.predictions(ALPHA, 1));
    let worker = world.spawn(["--json", "run", "--until-idle"]);
    shop.wait_for(late.len(), Duration::from_secs(60));
    late.iter().for_each(|row| turn(row));
    worker.finish(Duration::from_secs(60)).ok();

    let attempts = u64::try_from(late.len()).expect("a corpus is small");
    assert_no_connections_but_to(&world, &[&shop], 0);
    assert_eq!(shop.connections(), checks + attempts);
    let mut failed = Vec::new();
    for (row, subscription) in rows.iter().zip(&subscriptions) {
        let came = outcomes(&world, subscription);
        if came != [("dead".to_owned(), row.of("reason").to_owned())] {
            failed.push(format!("{} {}: {came:?}", row.of("id"), row.of("dns")));
        }
        let code = match row.of("reason") {
            "address_not_global" | "address_is_self" => "endpoint_not_allowed",
            reason => reason,
        };
        let name = format!("{} again", row.of("id"));
        let refused = world.try_subscribe(&add(row, &name)).error_code();
        if refused != code {
            failed.push(format!("{name} {}: {refused}", row.of("dns")));
        }
    }
    assert_no_connections_but_to(&world, &[&shop], 0);
    assert_eq!(shop.connections(), checks + attempts);
    println!(
        "urls_reject.tsv, at connect in namespaces: {} rows ran, {} passed",
        rows.len(),
        rows.len() - failed.len()
    );
    assert_eq!(failed, [""; 0]);
    assert!(rows.len() >= 27, "the corpus has rows: {}", rows.len());
}

/// One of the corpus, by its headings.
struct Row(HashMap<String, String>);

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/urls_reject.tsv");
    let text = fs::read_to_string(&path).expect("the corpus can be read");
    let mut lines = text
        .lines()
        .map(|line| line.split('\t').map(ToOwned::to_owned));
    let headings: Vec<String> = lines.next().expect("a table has headings").collect();
    lines
        .map(|cells| Row(headings.iter().cloned().zip(cells).collect()))
        .filter(|row| row.of("stage") == "connect")
        .collect()
}

impl Row {
    fn of(&self, heading: &str) -> &str {
        &self.0[heading]
    }

    fn host(&self) -> &str {
        let (_, rest) = self.of("url").split_once("://").expect("a URL");
        rest.split_once('/').map_or(rest, |(host, _)| host)
    }

    fn turns_between_attempts(&self) -> bool {
        self.of("dns").contains("; attempt 2 ")
    }

    /// What the name server says once the name has turned; nothing where the hosts file does. `own` is an address of the
    /// engine's host.
    fn says(&self, own: &str) -> Option<Says> {
        let dns = self.of("dns");
        // Of answers that change with time, the last.
        let last = dns.rsplit("; 2nd ").next().unwrap_or(dns);
        let last = last.rsplit("; attempt 2 ").next().unwrap_or(last);
        let addresses = || {
            let parts = last.split([' ', ',', ';', '=']);
            let parsed: Vec<_> = parts.filter_map(|part| part.parse().ok()).collect();
            assert!(!parsed.is_empty(), "no addresses: {dns}");
            parsed
        };
        Some(match dns {
            "SERVFAIL" => Says::Failure,
            "NOERROR, no A/AAAA" => Says::Addresses(Vec::new()),
            _ if dns.starts_with("/etc/hosts ") => return None,
            _ if dns.contains("an address of a local interface") => Says::addresses([own]),
            // About as many as one message holds where each says the name anew.
            _ if dns.contains("<4096 public addresses>") => {
                Says::addresses((0..2000).map(|n| format!("93.184.{}.{}", n / 250, 1 + n % 250)))
            }
            _ => match last
                .strip_prefix("CNAME=")
                .and_then(|rest| rest.split_once(';'))
            {
                Some((other, _)) => Says::Alias(other.to_owned(), addresses()),
                None => Says::Addresses(addresses()),
            },
        })
    }
}

/// What one host was told is not told to another one.
#[test]
fn a_url_that_moves_to_another_host_takes_no_credentials_along() {
    let world = World::on_the_internet();
    let one = world.receiver("one").at(&[SHOP_ONE], &[PUBLIC]).start();
    let two = world.receiver("two").at(&[SHOP_TWO], &[PUBLIC_TOO]).start();
    let value = world.secret_file("opensesame");
    let flag = format!("--header-file=x-till={}", value.display());
    let moving = world.subscribe(&Subscribe::new(ALPHA, &one).flag(flag));
    let staying = world.subscribe(&Subscribe::new(BETA, &one).named("staying"));
    let url = |host: &str| format!("--url=https://{host}/in");
    let set = |url: String| world.tharsis(["--json", "subscription", "set", &moving.id, &url]);

    let stays = set(url(SHOP_ONE)).json();
    assert_eq!(stays["secret"], Value::Null, "nothing new is shown");
    world.publish(&world.predictions(ALPHA, 1));
    world.run_until_idle();
    let post = one.posts().remove(0);
    assert!(is_signed_with(&post, &one.secret) && post.headers.contains_key("x-till"));

    let moved = set(url(SHOP_TWO)).json();
    let anew = moved["secret"]
        .as_str()
        .expect("it is shown once")
        .to_owned();
    let lines = [world.predictions(ALPHA, 2), world.predictions(BETA, 2)].concat();
    world.publish(&lines);
    world.run_until_idle();
    for post in two.posts() {
        assert!(is_signed_with(&post, &anew) && !is_signed_with(&post, &one.secret));
        assert!(!post.headers.contains_key("x-till"));
    }
    assert_eq!((two.posts().len(), one.posts().len()), (2, 3));
    let kept = world.ask(["subscription", "show", &staying.id]);
    let of = |document: &Value| document["secret_fingerprint"].clone();
    assert_eq!(of(&kept), of(&stays), "another's is left alone");
}
