//! The catalogue: every documented type with its sample, word for word, and its schema.

use std::collections::BTreeSet;

use tharsis_core::{
    ClientId, Timestamp,
    alert::Cause,
    event::Event,
    payload::{CATALOGUE, Documented, test_event},
    profile::{Encoding, Profiles},
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";

#[test]
fn each_documented_type_is_listed_once() {
    let told: String = CATALOGUE
        .iter()
        .map(|t| format!("{} | {} | {}\n", t.name, t.profile, t.summary))
        .collect();
    insta::assert_snapshot!(told, @"
    product_discount_recommendation | mars | Which products to offer a user, at which discount, and why.
    nudge | mars | A message for one user, worth something until it expires.
    signal | insightarc | How likely a shopper is to leave, and what was seen of the visit.
    channel_activity | smartech | What a user did with a message: opened it, clicked on it.
    custom_activity | smartech | What a user did elsewhere: an activity that the customer defined.
    reward.earned | nudge | What a user has earned: coins or coupons.
    subscription.failing | tharsis | A subscription fails: its breaker opened or a delivery ended dead; again on the way to its suspension.
    subscription.suspended | tharsis | A subscription was suspended: nothing is sent to it until an admin resumes it, or until a worker can read it again.
    subscription.recovered | tharsis | A subscription of which it was told that it fails takes what is sent to it again.
    delivery.dead | tharsis | Deliveries of a subscription ended dead: how many since the last event of this type.
    address.blocked | tharsis | The host of a subscription leads to an address that must not be reached.
    delivery.expiring | tharsis | Deliveries of a subscription are held that end within a week: events are kept no longer.
    certificate.expiring | tharsis | The certificate of a subscription's receiver ends within two weeks: `since` is when.
    ");
    let names: BTreeSet<&str> = CATALOGUE.iter().map(|t| t.name).collect();
    assert_eq!(names.len(), CATALOGUE.len());
}

#[test]
fn each_sample_comes_out_as_it_is_documented() {
    let sample = |name: &str| String::from_utf8(of(name).example().payload().to_vec()).unwrap();
    assert_eq!(
        sample("product_discount_recommendation"),
        r#"{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"userId":"3594918"},"predictions":[{"product_id":"36011017-0e00-4e29-a054-7a1fbb8b60a2","name":"TEGO Tank Top for Women - Blue - L","sku":"T-WTTBL","type":"percentage","discount":30,"min":10,"max":50,"step":1,"explanations":[{"step":"product-recommendation","description":"ranked first for the user","score":0.5},{"step":"user-engagement-scoring","description":"seldom here","score":0.5},{"step":"discount-allocation","description":"within budget","score":0.1}]}]}"#
    );
    assert_eq!(
        sample("nudge"),
        r##"{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"clevertapId":"3594918","userId":"280b850d-c28d-4812-8ad9-a164acd96a62","email":"testuser@example.com"},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"2020-01-24T13:59:59.546+00:00","content":{"title":"Still thinking?","body":"It is 20 % off today","image":"https://cdn.example.com/t.png","clickAction":"MainActivity","textColour":"#FFFFFF"},"event":{"name":"product_viewed"}}"##
    );
    assert_eq!(
        sample("signal"),
        r#"{"drop_proba":0.95,"perfomance":1.2,"num_events":10,"num_loops":2,"num_broken_buttons":1,"avg_loops":2.3,"avg_broken_buttons":1,"relevant_events":[{"name":"add_to_cart"}]}"#
    );
    assert_eq!(
        sample("channel_activity"),
        r#"{"webhook_name":"SMS_CLICK","event_params":{"foreignkey":"9999999997","linkid":-1},"custom_params":{"automationid":"169","link":"http://www.example.com","channel":"sms","leadscore":"s2"},"att_params":{"MBR_DOBIRTH":"23-12-88","AGE_BUCKET_APR17":"25 To <30_Yr","MARIAL_STATUS":"S","CAMPAINGENAME":"CP Oct"}}"#
    );
    assert_eq!(
        sample("custom_activity"),
        r#"{"channel":"custom_activity","custom_params":{},"att_params":{"CITY":"Thane&Kalyan","STATE":"Maharashtra11"},"msgid":"103","webhook_name":null,"payload_params":{"items":[{"dateofpurchase_sm":"2018-12-06 17:11:30","category_s":"lifestyle","prqt_s":1,"prid_s":157,"name_s":"Tank Top","bydemand_s":"yes","price_s":9990.91}]},"event_params":{"activity_source":"web","ts":181212120708,"activity_id":103,"foreignkey":"9999999997","identity":"9999999997","asset_name":null,"asset_id":null,"guid":"4f0c7d52-9c0e-4b0b-8f43-2f7d9a1e6b55"},"journey_name":"Bought once"}"#
    );
    assert_eq!(
        sample("reward.earned"),
        r#"{"rewards":[{"id":"1b7a3d0e-55b1-4c55-8d0c-3f5f0a6f8a10","reward_id":"7a1c9e64-0f0b-4b4e-9a53-5f3a2f1c7d22","reward_name":"10 Rs Off","nudge_id":"c3d9a5b8-2e7f-4f6a-8f5e-6b1d0e9a4c33","ext_id":"3594918","task_id":"36011017-0e00-4e29-a054-7a1fbb8b60a2","quantity":10,"coin":{"value":1},"created_at":"2024-07-04T12:53:58.129Z"}]}"#
    );
}

#[test]
fn a_sample_is_what_its_text_is_read_as() {
    for documented in CATALOGUE {
        let built = documented.example();
        assert_eq!(built.event_type().as_str(), documented.name);
        let frozen = Event::freeze(documented.name, built.client(), built.payload());
        if documented.is_own() {
            assert_eq!(frozen.unwrap_err().code, "reserved_event_type");
        } else {
            assert_eq!(frozen.unwrap(), built);
        }
    }
}

#[test]
fn a_schema_requires_what_the_check_requires() {
    for documented in CATALOGUE.iter().filter(|t| !t.is_own()) {
        let event = documented.example();
        let sample: serde_json::Value = serde_json::from_slice(event.payload()).unwrap();
        for (name, _) in sample.as_object().unwrap() {
            let mut without = sample.clone();
            without.as_object_mut().unwrap().remove(name);
            let text = serde_json::to_vec(&without).unwrap();
            let refused = Event::freeze(documented.name, event.client(), &text).err();
            let required = &schema(documented)["required"];
            let is_required = required.as_array().unwrap().iter().any(|r| r == name);
            assert_eq!(
                refused.map(|e| (e.code, e.field)),
                is_required.then(|| ("missing_field", Some(name.clone()))),
                "{} without {name}",
                documented.name
            );
        }
    }
}

#[test]
fn a_schema_of_ours_requires_all_that_we_tell() {
    for documented in CATALOGUE.iter().filter(|t| t.is_own()) {
        let event = documented.example();
        let sample: serde_json::Value = serde_json::from_slice(event.payload()).unwrap();
        let told: BTreeSet<&str> = sample.as_object().unwrap().keys().map(|k| &**k).collect();
        let schema = schema(documented);
        let names = schema["required"].as_array().unwrap().iter();
        let required: BTreeSet<&str> = names.map(|name| name.as_str().unwrap()).collect();
        assert_eq!(told, required, "{}", documented.name);
    }
}

#[test]
fn the_schemas() {
    for documented in CATALOGUE {
        let pretty = serde_json::to_string_pretty(&schema(documented)).unwrap();
        insta::assert_snapshot!(documented.name.replace('.', "_"), pretty);
    }
}

/// In none of its forms does the test event name anybody.
#[test]
fn a_test_event_is_no_documented_event() {
    let client: ClientId = CLIENT.parse().unwrap();
    let now = Timestamp::parse("2026-01-31T12:30:00Z").unwrap();
    let data = || "data".into();
    for encoding in [
        Encoding::Json,
        Encoding::Enveloped,
        Encoding::Form { field: data() },
    ] {
        let payload = test_event::payload(&encoding, client, now);
        let event = Event::freeze(test_event::TYPE, client, &payload).unwrap();
        assert_eq!(event.payload(), &payload);
        assert_eq!((event.campaign(), event.recipient()), (None, None));
    }
    assert!(CATALOGUE.iter().all(|t| t.name != test_event::TYPE));

    // A receiver of activities finds all that it looks for, and nobody in it.
    let activity = test_event::payload(&Encoding::Form { field: data() }, client, now);
    let activity = Event::freeze("channel_activity", client, &activity).unwrap();
    assert_eq!((activity.campaign(), activity.recipient()), (None, None));
}

#[test]
fn each_is_documented_by_a_profile_that_knows_it_and_can_be_published_as_shown() {
    for documented in CATALOGUE.iter().filter(|t| !t.is_own()) {
        let profile = Profiles::default().named(documented.profile).unwrap();
        assert!(profile.knows(documented.name), "{}", documented.name);
        let event = Event::parse(&documented.published()).unwrap();
        assert_eq!(event.event_type().as_str(), documented.name);
        assert_eq!(event.payload(), documented.example().payload());
    }
    // Ours are of no profile, and all that there are.
    let own = CATALOGUE.iter().filter(|t| t.is_own());
    let names: Vec<&str> = own.clone().map(|t| t.name).collect();
    assert!(
        Cause::ALL
            .iter()
            .all(|cause| names.contains(&cause.as_str()))
    );
    assert_eq!(names.len(), Cause::ALL.len());
    for documented in own {
        let refused = Profiles::default().named(documented.profile).unwrap_err();
        assert_eq!(refused.code, "unknown_profile");
    }
    // And what a documented sender's profile knows is in the catalogue.
    for profile in Profiles::default().iter() {
        for known in profile.events.iter() {
            assert_eq!(of(known).profile, profile.name);
        }
    }
}

fn of(name: &str) -> &'static Documented {
    CATALOGUE.iter().find(|t| t.name == name).unwrap()
}

fn schema(documented: &Documented) -> serde_json::Value {
    serde_json::from_slice(&documented.schema().to_vec()).unwrap()
}
