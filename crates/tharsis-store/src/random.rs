/// Fills a slice with random bytes.
pub type Random = fn(&mut [u8]) -> std::io::Result<()>;

/// The machine's own.
pub(crate) fn entropy(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(std::io::Error::other)
}
