//! The dashboard in a real browser: every page by clicks and keys, looked at for barriers, weight and looks.

mod campaigns;
mod deliveries;
mod edit;
mod events;
mod foreign;
mod keyboard;
mod overview;
mod replays;
mod settings;
mod signin;
mod subscription;
mod webhook;

use std::time::Duration;

use tharsis_tests::{Api, Chromium, World};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A token of this role, for one client or for all.
pub(crate) fn token(world: &World, role: &str, client: Option<&str>) -> String {
    let name = format!("{role} of {}", client.unwrap_or("all"));
    let mut create = vec!["token", "create", "--name", &name, "--role", role];
    create.extend(client.into_iter().flat_map(|client| ["--client", client]));
    let made = world.ask(create);
    made["token"].as_str().expect("it is shown once").to_owned()
}

/// A browser that is signed in with this token.
#[track_caller]
pub(crate) fn signed_in(world: &World, api: &Api, token: &str) -> Chromium {
    let chromium = Chromium::start(world, api);
    chromium.open("/sign-in");
    chromium.fill("Access token", token);
    chromium.press("Sign in");
    chromium.says("Overview");
    chromium
}
