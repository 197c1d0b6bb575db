//! The dashboard, as a browser without scripts meets it: who may see and do what, and that what is done there is done.

mod browser;
mod campaigns;
mod doors;
mod edit;
mod inert;
mod lately;
mod live;
mod replay;
mod settings;
mod signin;
mod steer;
mod webhook;

use std::time::Duration;

use tharsis_tests::World;

use crate::browser::Browser;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A token of this role, for one client or for all.
pub(crate) fn token(world: &World, role: &str, client: Option<&str>) -> String {
    let name = format!("{role} of {}", client.unwrap_or("all"));
    let mut create = vec!["token", "create", "--name", &name, "--role", role];
    create.extend(client.into_iter().flat_map(|client| ["--client", client]));
    let made = world.ask(create);
    made["token"].as_str().expect("it is shown once").to_owned()
}
