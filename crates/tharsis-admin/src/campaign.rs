use tharsis::{ClientId, Invalid, text::inert};

/// The client whose campaign is meant where nobody says whose it is: of those that have one of this name the only one. `at` is
/// where it is said.
///
/// # Errors
/// `campaign_unknown`, `campaign_ambiguous`.
pub fn only_client(name: &str, clients: &[ClientId], at: &str) -> Result<ClientId, Invalid> {
    match clients {
        [client] => Ok(*client),
        [] => Err(Invalid::new(
            "campaign_unknown",
            format!("no event of a campaign {} was published", inert(name)),
        )
        .hint(format!(
            "check the name, or say whose it is with {at} if it is still to come"
        ))),
        several => {
            let clients: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Invalid::new(
                "campaign_ambiguous",
                format!(
                    "{} clients have a campaign {}: {}",
                    several.len(),
                    inert(name),
                    clients.join(", ")
                ),
            )
            .at(at)
            .hint(format!("say whose it is with {at}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use tharsis::Timestamp;

    use super::*;

    #[test]
    fn a_name_that_one_client_alone_has_needs_no_client() {
        let [ours, theirs] = [1, 2].map(|n| ClientId::new(Timestamp::from_millis(1), [n; 10]));
        assert_eq!(only_client("spring", &[ours], "client"), Ok(ours));
        let unknown = only_client("spring\u{1b}", &[], "client").expect_err("nobody has one");
        assert_eq!((unknown.code, unknown.field), ("campaign_unknown", None));
        assert!(!unknown.message.contains('\u{1b}'));
        let several = only_client("spring", &[ours, theirs], "client").expect_err("two have one");
        assert_eq!(several.code, "campaign_ambiguous");
        assert_eq!(several.field.as_deref(), Some("client"));
        assert!(several.message.contains(&theirs.to_string()));
    }
}
