use crate::Desk;

/// Every command, as its page of help lists them.
fn commands(desk: &Desk, above: &str) -> Vec<String> {
    let page = desk.run(&format!("{above} --help")).stdout;
    let listed = page.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut all = Vec::new();
    for line in listed.take_while(|line| !line.is_empty()) {
        // A description that is long goes on in the next line, further to the right.
        let Some(name) = line
            .strip_prefix("  ")
            .and_then(|line| line.split(' ').next())
        else {
            continue;
        };
        if !name.is_empty() && name != "help" {
            let command = format!("{above} {name}").trim().to_owned();
            all.push(command.clone());
            all.extend(commands(desk, &command));
        }
    }
    all
}

#[test]
fn these_are_the_commands() {
    insta::assert_snapshot!(commands(&Desk::new(), "").join("\n"), @"");
}

#[test]
fn every_page_of_help_ends_with_examples_that_name_the_command() {
    let desk = Desk::new();
    for command in commands(&desk, "") {
        let said = desk.run(&format!("{command} --help"));
        assert_eq!(said.code, Some(0), "{command}");
        let (_, examples) = said
            .stdout
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("`{command}` has no example"));
        assert!(
            examples.contains(&format!("tharsis {command}")),
            "{command}: {examples}"
        );
        assert_eq!(
            said.stdout,
            desk.run(&format!("{command} -h")).stdout,
            "{command}"
        );
        for line in said.stdout.lines() {
            assert!(line.chars().count() <= 100, "{command}: {line}");
        }
    }
}

#[test]
fn a_page_of_help() {
    insta::assert_snapshot!(Desk::new().run("run --help").stdout, @"");
}

#[test]
fn wrong_usage_exits_2() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run("publis").all(), @"");
    insta::assert_snapshot!(desk.run("run --until-idel").all(), @"");
    insta::assert_snapshot!(desk.run("replay --event not-a-uuid").all(), @"");
    insta::assert_snapshot!(desk.run("replay --event not-a-uuid --json").all(), @"");
    insta::assert_snapshot!(desk.run("delivery list --since yesterday").all(), @"");
    insta::assert_snapshot!(desk.run("delivery show 36011017-0e00-4e29-a054-7a1fbb8b60a2").all(), @"");
    insta::assert_snapshot!(desk.run("").code.unwrap(), @"");
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let output = crate::command(desk.0.path())
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn secrets_never_travel_in_arguments() {
    let desk = Desk::new();
    for command in commands(&desk, "") {
        let page = desk.run(&format!("{command} --help")).stdout;
        assert!(
            !page.contains("--secret <") && !page.contains("--secret="),
            "{command}"
        );
    }
    assert_eq!(
        desk.run("subscription rotate --secret 0123456789abcdef0123456789abcdef x")
            .code,
        Some(2)
    );
}
