//! A secret is shown once, stored encrypted, and found nowhere else.

use std::fs;

use sqlx::{Connection, SqliteConnection};
use tharsis_tests::{ALPHA, BETA, Subscribe, World};

#[test]
fn no_file_and_no_answer_holds_it() {
    let world = World::new();
    let shop = world.receiver("shop").answers(500).then(200).start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop).retry("20ms"));
    world.publish(&world.predictions(ALPHA, 3));
    world.tharsis(["--log=trace", "run", "--until-idle"]).ok();
    let rotated = world.secret();
    let file = format!("--secret-file={}", world.secret_file(&rotated).display());
    world.ask(["subscription", "rotate", &subscription.id, &file]);
    for command in [
        &["subscription", "show", &subscription.id][..],
        &["subscription", "list"],
        &["subscription", "test", &subscription.id],
        &["delivery", "list"],
    ] {
        world.tharsis(command);
        world.tharsis(["--json", "--log=trace"].iter().chain(command));
    }

    let mut searched = 0;
    let mut folders = vec![world.path(".")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("the folder can be read")
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with("secret-") {
                let bytes = fs::read(&path).expect("the file can be read");
                for secret in [&shop.secret, &rotated] {
                    let found = bytes
                        .windows(secret.len())
                        .any(|window| window == secret.as_bytes());
                    assert!(!found, "{name} holds a secret");
                }
                searched += 1;
            }
        }
    }
    assert!(searched > 20, "database, key and logs: {searched}");
}

/// What is sealed for one subscription does not open for another, and what was tampered with does not open at all: the
/// subscription is disabled, and nothing goes out unsigned.
#[test]
fn one_that_does_not_open_holds_its_subscription() {
    let world = World::new();
    let (alpha, beta) = (
        world.receiver("alpha").start(),
        world.receiver("beta").start(),
    );
    let of_alpha = world.subscribe(&Subscribe::new(ALPHA, &alpha));
    world.subscribe(&Subscribe::new(BETA, &beta));
    let url = world.database_url();
    world
        .block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::query(
                "UPDATE tharsis_secret SET sealed = (SELECT max(sealed) FROM tharsis_secret s WHERE s.subscription <> tharsis_secret.subscription)
                 WHERE subscription = (SELECT min(subscription) FROM tharsis_secret)",
            )
            .execute(&mut connection)
            .await
        })
        .expect("the database can be tampered with");
    world.publish(&[world.predictions(ALPHA, 2), world.predictions(BETA, 2)].concat());
    let summary = world.run_until_idle().json();
    assert_eq!((alpha.count(), beta.count()), (0, 2));
    assert_eq!(summary["remaining"]["held"], 2);
    let shown = world.ask(["subscription", "show", &of_alpha.id]);
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&"disabled".into(), &"secret_unreadable".into())
    );

    // A new secret mends it.
    let file = format!(
        "--secret-file={}",
        world.secret_file(&world.secret()).display()
    );
    world.ask(["subscription", "rotate", &of_alpha.id, &file]);
    world.ask(["subscription", "resume", &of_alpha.id]);
    world.run_until_idle();
    assert_eq!(alpha.count(), 2);
}
