use tharsis_core::Invalid;

/// Bytes of the machine's own randomness: what ids, secrets and tokens are made of.
///
/// # Errors
/// `no_randomness` where the machine has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], Invalid> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Invalid::new("no_randomness", "the machine has no randomness to give"))?;
    Ok(bytes)
}
