/// Numbers for jitter, made from one seed that is handed over, so that a simulation can be repeated. SplitMix64 (Steele,
/// Lea and Flood, 2014); good enough to spread retries, and for nothing that must not be guessed.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The jitter of one retry.
    pub(super) fn jitter(&mut self) -> u16 {
        // The upper bits: a `u64` shifted by 48 fits.
        (self.next() >> 48) as u16
    }
}
