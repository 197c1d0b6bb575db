//! Who did what to what: kept in the transaction in which it was done.

use serde_json::{Value, json};
use tharsis_core::subscription::{Credentials, Held};
use tharsis_store::{Anew, AuditRecord, By, Campaign, Registry};

use crate::harness::{House, Store, client, code, seconds, standard, standard_secret};

fn told(entry: &AuditRecord) -> Value {
    json!([
        entry.actor,
        entry.action,
        entry.address,
        serde_json::from_str::<Value>(&entry.detail).expect("an object"),
    ])
}

pub(crate) async fn each_change_is_kept_with_what_was_before(store: Store) {
    let house = House::new(store).await;
    let (store, now) = (&house.store, house.now);
    let ann = By::new("ann", now).from_address("192.0.2.7".parse().expect("an address"));
    let bob = By::new("bob", now + seconds(1));
    let credentials = Credentials {
        secret: Some(standard_secret(3)),
        ..Credentials::default()
    };
    let mut settings = standard(client(1), "till");
    let added = store
        .add(&settings, &credentials, ann)
        .await
        .expect("added");
    let id = added.id;
    settings.name = "till 2".to_owned();
    let anew = Anew::default();
    store.set(id, &settings, anew, bob).await.expect("changed");
    store.pause(id, ann).await.expect("paused");
    store.resume(id, Held::All, bob).await.expect("resumed");
    let next = standard_secret(4);
    let rotated = store.rotate(id, Some(&next), None, ann).await;
    let rotated = rotated.expect("rotated");
    // Refused, it leaves nothing.
    let refused = store.rotate(id, Some(&next), None, ann).await;
    assert_eq!(code(refused), "secret_reused");
    store.remove(id, bob).await.expect("removed");

    let audit = house.audit().await;
    assert!(audit.iter().all(|entry| entry.subject == id.to_string()));
    assert!(audit.iter().all(|entry| entry.client == Some(client(1))));
    let kept: Vec<Value> = audit.iter().rev().map(told).collect();
    let [old, new] = [&added, &rotated].map(|one| one.secret_fingerprint.clone());
    let expected = [
        json!(["bob", "subscription.changed", null, {"before": {"name": "till"}, "after": {"name": "till 2"}}]),
        json!(["ann", "subscription.paused", "192.0.2.7", {"before": {"state": "active"}, "after": {"state": "paused"}}]),
        json!(["bob", "subscription.resumed", null, {"before": {"state": "paused"}, "after": {"state": "active"}}]),
        json!(["ann", "subscription.rotated", "192.0.2.7", {"before": {"secret_fingerprint": old}, "after": {"secret_fingerprint": new}}]),
    ];
    assert_eq!(kept[..4], expected);
    assert_eq!(
        (&kept[4][1], &kept[4][3]["before"]["name"]),
        (&json!("subscription.removed"), &json!("till 2"))
    );
    assert_eq!(kept.len(), 5);
    let all = store.audit(None, None, 100).await.expect("the audit").items;
    let first = all
        .iter()
        .find(|entry| entry.subject == id.to_string() && entry.action == "subscription.added");
    assert_eq!(
        told(first.expect("it is kept"))[3]["after"]["secret_fingerprint"],
        json!(old)
    );
    for secret in [3, 4].map(standard_secret) {
        assert!(!format!("{all:?}").contains(secret.expose()));
    }
}

pub(crate) async fn each_client_has_its_own_pages(store: Store) {
    let house = House::new(store).await;
    let (store, now) = (&house.store, house.now);
    for _ in 0..3 {
        for id in [house.ours.id, house.theirs.id] {
            store.pause(id, now).await.expect("paused");
        }
    }
    let campaign = Campaign {
        client: client(2),
        name: "spring".to_owned(),
        recipient: Some("ann@example.com".to_owned()),
    };
    store
        .pause_campaign(&campaign, By::new("bob", now))
        .await
        .expect("paused");
    // Paused already, nothing is done.
    store
        .pause_campaign(&campaign, By::new("bob", now))
        .await
        .expect("paused");

    let mut theirs = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .audit(Some(client(2)), after.as_deref(), 2)
            .await
            .expect("a page");
        assert!(page.items.len() <= 2);
        theirs.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(theirs.iter().all(|entry| entry.client == Some(client(2))));
    let actions: Vec<_> = theirs.iter().map(|entry| &*entry.action).collect();
    assert_eq!(
        actions,
        [
            "campaign.paused",
            "subscription.paused",
            "subscription.paused",
            "subscription.paused",
            "subscription.added"
        ]
    );
    assert!(!format!("{theirs:?}").contains("ann@"), "{:?}", theirs[0]);
    assert!(theirs[0].detail.contains("sha256:"), "{}", theirs[0].detail);
    assert_eq!(
        store.audit(None, None, 100).await.expect("all").items.len(),
        9
    );
    assert_eq!(code(store.audit(None, Some("x"), 2).await), "bad_cursor");
}
