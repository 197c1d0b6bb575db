//! Signing in and out, and what a request has to fulfil beside.

use tharsis_tests::{ALPHA, Api, BETA, Database, Subscribe, World, on_both_databases};

use crate::{
    Browser,
    browser::{SCRIPT, assert_told, between},
    token,
};

on_both_databases! {
    somebody_signs_in_with_a_token_and_out_again,
    a_token_that_is_revoked_ends_its_sessions,
    what_another_site_sends_is_refused,
    nobody_is_answered_under_a_foreign_name,
    what_is_anothers_is_as_if_it_were_not_there,
}

fn somebody_signs_in_with_a_token_and_out_again(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", Some(ALPHA));
    let publisher = token(&world, "publisher", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::new(&api);

    let nobody = browser.get("/");
    assert_eq!(
        (nobody.status, nobody.header("location")),
        (303, Some("/sign-in"))
    );
    let wanted = browser.get("/deliveries?status=dead");
    assert_eq!(
        wanted.header("location"),
        Some("/sign-in?next=%2Fdeliveries%3Fstatus%3Ddead")
    );
    let form = browser.get("/sign-in?next=%2Fdeliveries%3Fstatus%3Ddead");
    assert_told(&form, 200, "value=\"/deliveries&#63;status&#61;dead\"");

    let unknown = "tharsis_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for wrong in ["", "open sesame", unknown] {
        let refused = browser.sign_in(wrong, "/");
        assert_told(&refused, 401, "the token is none that counts");
        assert!(!refused.body.contains("sesame"), "{refused:?}");
    }
    let refused = browser.sign_in(&publisher, "/");
    assert_told(&refused, 403, "is not for a token of the role publisher");
    assert_eq!(browser.cookie(), None);
    let elsewhere = browser.sign_in(&viewer, "//evil.example/");
    assert_eq!(
        (elsewhere.status, elsewhere.header("location")),
        (303, Some("/"))
    );

    let answer = browser.sign_in(&viewer, "/deliveries?status=dead");
    assert_eq!(answer.header("location"), Some("/deliveries?status=dead"));
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("__Host-tharsis-session="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(&viewer));
    let page = browser.get("/");
    assert_told(&page, 200, "<h1>Overview</h1>");
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{page:?}");
    }
    let style = browser.get("/static/style.css");
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    // It is asked for again, and sent where it is another one.
    assert_eq!(style.header("cache-control"), Some("no-cache"));
    let tag = style.header("etag").expect("a tag");
    let known = [("if-none-match", tag)];
    let again = api.ask("GET", "/static/style.css", &known, b"");
    assert_eq!((again.status, &*again.body), (304, ""));
    assert!(style.body.len() < 15_000);
    let script = browser.get("/static/live.js");
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert!(page.body.contains(SCRIPT) && script.body.len() < 5_000);

    // A cookie lets nobody into the API.
    let cookie = browser.cookie().expect("it is signed in");
    let api_alone = api.ask("GET", "/v1/subscriptions", &[("cookie", &cookie)], b"");
    assert_eq!(api_alone.refused(401), "token_missing");

    let out = browser.post("/sign-out", &[]);
    assert_eq!(
        (out.status, out.header("location")),
        (303, Some("/sign-in"))
    );
    assert_eq!(browser.cookie(), None);
    // Nor does the one that it had let anybody in again.
    let again = api.ask("GET", "/", &[("cookie", &cookie)], b"");
    assert_eq!(again.header("location"), Some("/sign-in"));
}

fn a_token_that_is_revoked_ends_its_sessions(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &viewer);
    browser.page("/subscriptions");
    let listed = world.ask(["token", "list"]);
    let id = listed["tokens"][0]["id"].as_str().expect("an id");
    world.ask(["token", "revoke", id]);
    let answer = browser.get("/subscriptions");
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/sign-in?next=%2Fsubscriptions"))
    );
    assert_told(
        &browser.sign_in(&viewer, "/"),
        401,
        "the token is none that counts",
    );
}

fn what_another_site_sends_is_refused(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let operator = token(&world, "operator", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &operator);
    let path = format!("/subscriptions/{id}");
    let pause = format!("{path}/pause");
    let csrf = browser.csrf();

    let wrong: [&[(&str, &str)]; 4] = [
        &[],
        &[("csrf", "")],
        &[("csrf", "AAAA")],
        &[("CSRF", &*csrf)],
    ];
    for fields in wrong {
        let refused = browser.send(&pause, fields, &[]);
        assert_told(&refused, 403, "csrf_wrong");
    }
    // That of another session is none.
    let other = Browser::signed_in(&api, &operator).csrf();
    assert_ne!(csrf, other);
    let refused = browser.send(&pause, &[("csrf", &other)], &[]);
    assert_told(&refused, 403, "csrf_wrong");

    let fields = [("csrf", &*csrf)];
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let refused = browser.send(&pause, &fields, &[("origin", origin)]);
        assert_told(&refused, 403, "foreign_origin");
    }
    let refused = browser.send(&pause, &fields, &[("sec-fetch-site", "cross-site")]);
    assert_told(&refused, 403, "foreign_origin");
    let foreign = [("origin", "https://evil.example")];
    let refused = browser.send("/sign-in", &[("token", &*operator)], &foreign);
    assert_told(&refused, 403, "foreign_origin");
    assert!(!browser.page(&path).contains("paused"));

    // A browser that names no origin says that it is of this site.
    let done = browser.send(&pause, &fields, &[("sec-fetch-site", "same-origin")]);
    assert_eq!((done.status, done.header("location")), (303, Some(&*path)));
    // What changes something is posted.
    let got = browser.get(&pause);
    assert_eq!(got.status, 405, "{got:?}");
}

fn nobody_is_answered_under_a_foreign_name(on: Database) {
    let world = World::on(on);
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", None);
    let flags = ["--no-worker", "--host", "Tharsis.example.com"];
    let api = Api::start(&world, &flags);
    let cookie = (Browser::signed_in(&api, &viewer).cookie()).expect("it is signed in");
    let bearer = format!("Bearer {viewer}");
    let port = api.address().port();
    let get = |path: &str, host: &str| {
        let headers = [
            ("host", host),
            ("cookie", &*cookie),
            ("authorization", &*bearer),
        ];
        api.ask("GET", path, &headers, b"")
    };
    for path in ["/", "/subscriptions", "/v1/subscriptions", "/nothing"] {
        for host in ["evil.example", "127.0.0.1", "evil.example:8400", ""] {
            let refused = get(path, host);
            assert_eq!(refused.refused(421), "host_unknown");
            let hint = refused.json()["hint"].as_str().map(str::to_owned);
            assert!(hint.is_some_and(|hint| hint.contains("--host")));
        }
    }
    let names = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "tharsis.example.com".to_owned(),
    ];
    for host in &names {
        assert_eq!(get("/", host).status, 200, "{host}");
        assert_eq!(get("/v1/subscriptions", host).status, 200, "{host}");
    }
    assert_eq!(get("/healthz", "evil.example").status, 200);
    // To people it is told on a page.
    let headers = [("host", "evil.example"), ("accept", "text/html,*/*;q=0.8")];
    let told = api.ask("GET", "/", &headers, b"");
    assert_told(&told, 421, "host_unknown");
    let nothing = api.ask("GET", "/nothing", &[("accept", "text/html")], b"");
    assert_told(&nothing, 404, "there is nothing at this path");

    let refused = world.refused(["serve", "--host", "https://tharsis.example.com/"]);
    assert!(refused.to_string().contains("--host"), "{refused}");
}

fn what_is_anothers_is_as_if_it_were_not_there(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let partner = world.receiver("partner").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let theirs = world.subscribe(&Subscribe::new(BETA, &partner)).id;
    world.publish(&world.predictions(BETA, 1));
    world.run_until_idle();
    let listed = world.ask(["delivery", "list"]);
    let event = listed["deliveries"][0]["event"].as_str().expect("an id");
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let browser = Browser::signed_in(&api, &admin);
    let missing = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";
    for (foreign, missing) in [
        (
            format!("/subscriptions/{theirs}"),
            format!("/subscriptions/{missing}"),
        ),
        (format!("/events/{event}"), format!("/events/{missing}")),
        (
            format!("/deliveries/{event}/{theirs}"),
            format!("/deliveries/{missing}/{missing}"),
        ),
    ] {
        let (foreign, missing) = (browser.get(&foreign), browser.get(&missing));
        assert_told(&foreign, 404, "there is no such");
        assert_eq!(foreign.body, missing.body);
    }
    let refused = browser.post(&format!("/subscriptions/{theirs}/remove"), &[]);
    assert_told(&refused, 404, "there is no such subscription");
    let list = browser.page("/subscriptions");
    assert!(list.contains("shop") && !list.contains("partner"), "{list}");
    // Their session is told apart by its token.
    assert_eq!(
        between(&list, "<small>", "</small>"),
        format!("admin of {ALPHA}")
    );
}
