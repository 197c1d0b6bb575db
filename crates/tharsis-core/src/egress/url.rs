/// A payload URL that passed the rules: HTTPS, an ordinary host name, an allowed port.
///
/// It keeps the text exactly as the admin gave it (one signature scheme signs that) beside the canonical form, which
/// is what is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadUrl {
    given: String,
    canonical: ::url::Url,
}

impl PayloadUrl {
    /// The text as it was registered, byte for byte.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// What is dialled.
    pub fn canonical(&self) -> &::url::Url {
        &self.canonical
    }
}
