/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The range it lies in, as its registry names it.
    pub range: &'static str,
}
