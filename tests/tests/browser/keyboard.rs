//! The dashboard without a pointer.

use tharsis_tests::{Api, Chromium, ENTER, TAB, World, wait_until};

use crate::{SOON, token};

#[test]
fn the_first_tab_leads_past_the_head_of_the_page() {
    let world = World::new();
    world.ask(["migrate"]);
    let viewer = token(&world, "viewer", None);
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = Chromium::start(&world, &api);
    chromium.open("/sign-in");
    skip_to_the_content(&chromium);
    chromium.key(TAB);
    assert!(chromium.is_focused("#token"));
    // A token is typed where the focus is.
    for key in viewer.chars() {
        chromium.key(key);
    }
    chromium.key(ENTER);
    chromium.says("Overview");
    skip_to_the_content(&chromium);
    chromium.key(TAB);
    assert!(chromium.is_focused("main a"));
}

#[track_caller]
fn skip_to_the_content(chromium: &Chromium) {
    chromium.key(TAB);
    assert!(chromium.is_focused("a.skip"));
    chromium.key(ENTER);
    wait_until("the content has the focus", SOON, || {
        chromium.is_focused("main").then_some(())
    });
}
