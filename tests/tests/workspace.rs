//! What holds for every crate alike.

use std::{fs, path::PathBuf};

fn manifests() -> Vec<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let crates = fs::read_dir(root.join("crates")).expect("there are crates");
    (crates.map(|entry| entry.expect("a crate").path()))
        .chain(["tests", "examples"].map(|name| root.join(name)))
        .collect()
}

#[test]
fn no_crate_may_write_unsafe_code_or_run_a_script_when_it_is_built() {
    let root = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .expect("the workspace has a manifest");
    assert!(root.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    let manifests = manifests();
    assert!(manifests.len() >= 10, "{manifests:?}");
    for folder in manifests {
        let text = fs::read_to_string(folder.join("Cargo.toml")).expect("a crate has a manifest");
        let name = folder.display();
        assert!(
            text.contains("\n[lints]\nworkspace = true\n"),
            "{name} has lints of its own"
        );
        assert!(!text.contains("\nbuild = "), "{name} has a build script");
        assert!(
            !folder.join("build.rs").exists(),
            "{name} has a build script"
        );
    }
}
