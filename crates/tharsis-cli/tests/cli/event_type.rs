use crate::Desk;

#[test]
fn each_documented_type_is_listed_with_its_sender() {
    insta::assert_snapshot!(Desk::new().run("event-type list").all(), @r"
    exit 0
    --- stdout
    TYPE                             PROFILE     SUMMARY
    product_discount_recommendation  mars        Which products to offer a user, at which discount, and why.
    nudge                            mars        A message for one user, worth something until it expires.
    signal                           insightarc  How likely a shopper is to leave, and what was seen of the visit.
    channel_activity                 smartech    What a user did with a message: opened it, clicked on it.
    custom_activity                  smartech    What a user did elsewhere: an activity that the customer defined.
    reward.earned                    nudge       What a user has earned: coins or coupons.
    subscription.failing             tharsis     A subscription fails: its breaker opened or a delivery ended dead; again on the way to its suspension.
    subscription.suspended           tharsis     A subscription was suspended: nothing is sent to it until an admin resumes it, or until a worker can read it again.
    subscription.recovered           tharsis     A subscription of which it was told that it fails takes what is sent to it again.
    delivery.dead                    tharsis     Deliveries of a subscription ended dead: how many since the last event of this type.
    address.blocked                  tharsis     The host of a subscription leads to an address that must not be reached.
    delivery.expiring                tharsis     Deliveries of a subscription are held that end within a week: events are kept no longer.
    certificate.expiring             tharsis     The certificate of a subscription's receiver ends within two weeks: `since` is when.
    ");
}

#[test]
fn a_sample_can_be_published_as_it_is_shown() {
    let desk = Desk::new();
    let listed = desk.run("event-type list --json").json();
    for listed in listed["event_types"].as_array().unwrap() {
        let name = listed["type"].as_str().unwrap();
        let shown = desk.run(&format!("event-type show {name} --json")).json();
        assert_eq!(shown["schema"]["title"], name);
        let sample = shown["example"].to_string();
        let published = desk.feed("publish --json", sample.as_bytes());
        if listed["profile"] == "tharsis" {
            let refused = &published.json()["refused"][0]["error"];
            assert_eq!(refused["code"], "reserved_event_type", "{name}");
        } else {
            assert_eq!(published.json()["published"], 1, "{name}");
        }
    }
    assert_eq!(listed["event_types"].as_array().unwrap().len(), 13);
}

#[test]
fn a_type_that_nobody_documents_is_wrong_usage() {
    insta::assert_snapshot!(Desk::new().run("event-type show sale").all(), @r"
    exit 2
    --- stderr
    error[unknown_event_type]: sale: no document describes it
      hint: choose one of: product_discount_recommendation, nudge, signal, channel_activity, custom_activity, reward.earned, subscription.failing, subscription.suspended, subscription.recovered, delivery.dead, address.blocked, delivery.expiring, certificate.expiring
    ");
}
