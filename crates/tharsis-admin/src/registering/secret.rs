use std::fmt;

use tharsis::{
    Invalid, Secret,
    profile::{KeyKind, Profile, Requirement},
    random,
};

/// What is said of the secret of a subscription.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// Nothing: one is generated where the profile signs with one.
    Any,
    /// There is to be none.
    None,
    /// This one. A line end after it is no part of it.
    This(&'a [u8]),
}

/// Without the secret itself.
impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "Any",
            Self::None => "None",
            Self::This(_) => "This([REDACTED])",
        })
    }
}

impl Wanted<'_> {
    /// Whether one is generated.
    pub fn generates(self, profile: &Profile) -> bool {
        matches!(self, Self::Any) && profile.secret != Requirement::Useless
    }
}

/// A secret and whether anybody knows it yet.
#[derive(Debug)]
pub struct Chosen {
    /// What signs, if anything does.
    pub secret: Option<Secret>,
    /// Whether it was generated.
    pub generated: bool,
    /// The code of what is wrong with it, where somebody insists.
    pub weakness: Option<&'static str>,
}

impl Chosen {
    /// What was given, else one as the profile wants it. Who `insists` has a weak one taken; `how` says how that is done.
    ///
    /// # Errors
    /// Field `secret`: what [`Secret::of_file`] refuses, or [`Secret::brought_in_file`] where somebody insists. Field `how`:
    /// `nothing_to_accept` where somebody insists and gives none.
    pub fn of(
        profile: &Profile,
        wanted: Wanted<'_>,
        insists: bool,
        how: &str,
    ) -> Result<Self, Invalid> {
        let kind = key_kind(profile);
        let secret = match wanted {
            Wanted::This(text) => Some(taken(kind, text, insists, how)?),
            _ if insists => {
                return Err(Invalid::new("nothing_to_accept", "no secret is given")
                    .at(how)
                    .hint("give the secret too"));
            }
            _ if wanted.generates(profile) => {
                let secret = match kind {
                    KeyKind::Standard => Secret::generate_standard(random()?),
                    _ => Secret::generate(random()?),
                };
                return Ok(Self {
                    secret: Some(secret),
                    generated: true,
                    weakness: None,
                });
            }
            _ => None,
        };
        let weakness = secret.as_ref().and_then(|secret| secret.weakness(kind));
        Ok(Self {
            secret,
            generated: false,
            weakness: weakness.map(|weakness| weakness.code),
        })
    }

    /// The secret, where it was generated: it is shown once, for nobody knows it yet.
    pub fn shown(&self) -> Option<&str> {
        let secret = self.secret.as_ref().filter(|_| self.generated);
        secret.map(Secret::expose)
    }
}

/// What kind of key the secrets of a profile are.
pub fn key_kind(profile: &Profile) -> KeyKind {
    (profile.signature.as_ref()).map_or(KeyKind::Text, |signature| signature.key)
}

fn taken(kind: KeyKind, text: &[u8], insists: bool, how: &str) -> Result<Secret, Invalid> {
    if insists {
        return Secret::brought_in_file(kind, text);
    }
    Secret::of_file(kind, text).map_err(|refused| {
        let is_weak = Secret::brought_in_file(kind, text).is_ok();
        if !is_weak {
            return refused;
        }
        let insist = format!("a customer who cannot change theirs: {how}");
        let hint = (refused.hint.as_deref()).map(|hint| format!("{hint}; {insist}"));
        refused.hint(hint.unwrap_or(insist))
    })
}

#[cfg(test)]
mod tests {
    use tharsis::profile::Profiles;

    use super::*;

    #[test]
    fn one_is_generated_where_nothing_is_said_and_the_profile_signs() -> Result<(), Invalid> {
        let profiles = Profiles::default();
        let of =
            |profile: &str, wanted| Chosen::of(&*profiles.named(profile)?, wanted, false, "insist");
        let generated = of("mars", Wanted::Any)?;
        assert_eq!(generated.shown().map(str::len), Some(40));
        let generated = of("standard", Wanted::Any)?;
        assert!(
            generated
                .shown()
                .is_some_and(|text| text.starts_with("whsec_"))
        );
        for (profile, wanted) in [("smartech", Wanted::Any), ("mars", Wanted::None)] {
            let chosen = of(profile, wanted)?;
            assert_eq!((chosen.secret.is_some(), chosen.generated), (false, false));
        }
        let given = of("mars", Wanted::This(b"3b7c0a9f5e21d8466f90ab13c2d4\n"))?;
        assert_eq!((given.generated, given.shown()), (false, None));
        let text = given.secret.as_ref().map(Secret::expose);
        assert_eq!(text, Some("3b7c0a9f5e21d8466f90ab13c2d4"));
        Ok(())
    }

    #[test]
    fn a_weak_one_is_taken_from_who_insists() -> Result<(), Invalid> {
        let profile = Profiles::default().named("mars")?;
        let weak = Wanted::This(b"open sesame");
        let refused = Chosen::of(&profile, weak, false, "insist").expect_err("it is weak");
        assert_eq!(refused.code, "secret_too_short");
        assert!(refused.hint.is_some_and(|hint| hint.ends_with(": insist")));
        let taken = Chosen::of(&profile, weak, true, "insist")?;
        assert_eq!(taken.weakness, Some("secret_too_short"));
        let nothing = Chosen::of(&profile, Wanted::Any, true, "insist").expect_err("no secret");
        assert_eq!(
            (nothing.code, nothing.field.as_deref()),
            ("nothing_to_accept", Some("insist"))
        );
        Ok(())
    }
}
