//! When a failed attempt is followed by another.

use eparch_domain::{Digest, RunId, Span, limits};
use eparch_pipeline::{Retries, StageIx};

/// How long to wait before attempt `next` (from 2): the backoff doubled for each attempt after the second, plus up to a
/// quarter of jitter so that stages that failed together do not come back together. The jitter follows from run, stage
/// and attempt, so a restart keeps the moment (engines.md 5).
pub(crate) fn wait_before(retries: &Retries, run: RunId, ix: StageIx, next: u32) -> Span {
    let doublings = next.saturating_sub(2).min(32);
    let base =
        retries.backoff.millis().saturating_mul(1 << doublings).min(limits::RETRY_BACKOFF_MAX.millis());
    let parts: [&[u8]; 4] = [b"backoff", &run.bits().to_be_bytes(), &ix.0.to_be_bytes(), &next.to_be_bytes()];
    let mut seed = [0u8; 8];
    seed.copy_from_slice(&Digest::of_parts(&parts).as_bytes()[..8]);
    let jitter = u64::from_be_bytes(seed) % (base / 4 + 1);
    Span::from_millis(base + jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_limit_and_jitter_stays_within_a_quarter() {
        let retries = Retries { max: 20, backoff: Span::from_secs(5) };
        let run = RunId::from_bits(1);
        for next in 2..=21 {
            let wait = wait_before(&retries, run, StageIx(0), next).millis();
            let base = (5_000u64 << (next - 2)).min(600_000);
            assert!((base..=base + base / 4).contains(&wait), "attempt {next} waits {wait} ms");
            assert_eq!(wait, wait_before(&retries, run, StageIx(0), next).millis());
        }
    }

    #[test]
    fn no_backoff_is_no_wait() {
        let retries = Retries { max: 1, backoff: Span::ZERO };
        assert_eq!(wait_before(&retries, RunId::from_bits(1), StageIx(0), 2), Span::ZERO);
    }
}
