//! Telling the governor that an agent moves, often enough that it is never called idle while it does, and no more often.

use std::sync::{Condvar, Mutex, PoisonError};

use eparch_domain::{LedgerTime, Span};

/// Progress is told at most so many times in the span after which an agent without any is idle…
const TOLD: u64 = 4;
/// … and what moves without saying so is looked for so many times in it.
const LOOKED: u64 = 20;

/// When progress is told: at once, but not too often; what comes too early is told a little later, never dropped.
#[derive(Debug)]
struct Pace {
    least: Span,
    told: Option<LedgerTime>,
    waiting: bool,
}

impl Pace {
    fn new(idle: Span) -> Pace {
        Pace { least: Span::from_millis(idle.millis() / TOLD), told: None, waiting: false }
    }

    /// Something moved; whether to tell now.
    fn moved(&mut self, now: LedgerTime) -> bool {
        self.waiting = true;
        self.is_due(now)
    }

    /// Whether to tell now what was not told yet.
    fn is_due(&mut self, now: LedgerTime) -> bool {
        let due = self.waiting && self.told.is_none_or(|told| now.since(told) >= self.least);
        if due {
            (self.told, self.waiting) = (Some(now), false);
        }
        due
    }
}

/// Follows one program for its governor.
pub(super) struct Progress<'p> {
    idle: Span,
    pace: Mutex<Pace>,
    now: &'p (dyn Fn() -> LedgerTime + Sync),
    tell: &'p (dyn Fn() + Sync),
    over: Mutex<bool>,
    ended: Condvar,
}

impl<'p> Progress<'p> {
    pub(super) fn new(
        idle: Span,
        now: &'p (dyn Fn() -> LedgerTime + Sync),
        tell: &'p (dyn Fn() + Sync),
    ) -> Progress<'p> {
        let pace = Mutex::new(Pace::new(idle));
        Progress { idle, pace, now, tell, over: Mutex::new(false), ended: Condvar::new() }
    }

    /// Something moved: a line, or processor time.
    pub(super) fn moved(&self) {
        let due = self.pace.lock().unwrap_or_else(PoisonError::into_inner).moved((self.now)());
        if due {
            (self.tell)();
        }
    }

    /// Looks after what moves without saying so, until [`Progress::end`]; `spent` is the processor time so far.
    pub(super) fn watch(&self, spent: impl Fn() -> Option<Span>) {
        let tick = Span::from_millis((self.idle.millis() / LOOKED).max(1)).as_duration();
        let mut most = spent().unwrap_or_default();
        loop {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let (over, _) = self
                .ended
                .wait_timeout_while(over, tick, |over| !*over)
                .unwrap_or_else(PoisonError::into_inner);
            if *over {
                return;
            }
            drop(over);
            // What a process used that has just ended may be missing for a moment.
            if let Some(more) = spent().filter(|more| *more > most) {
                most = more;
                self.moved();
            }
            let due = self.pace.lock().unwrap_or_else(PoisonError::into_inner).is_due((self.now)());
            if due {
                (self.tell)();
            }
        }
    }

    /// The program has ended.
    pub(super) fn end(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const IDLE: Span = Span::from_millis(1_000);

    /// When progress is told, given the times at which something moves and a look every twentieth.
    fn told(moves: &[u64]) -> Vec<u64> {
        let mut pace = Pace::new(IDLE);
        let mut told = Vec::new();
        for at in 0..3_000 {
            let now = LedgerTime::from_millis(at);
            let moved = moves.contains(&at) && pace.moved(now);
            if moved || (at % 50 == 0 && pace.is_due(now)) {
                told.push(at);
            }
        }
        told
    }

    #[test]
    fn the_last_movement_is_told_and_idleness_is_counted_from_it() {
        // The second line comes too early to be told at once; a silence of 850 ms after it is not a second.
        assert_eq!(told(&[0, 200, 1_050]), [0, 250, 1_050]);
        for moves in [vec![0, 10, 240, 1_200], vec![900, 1_899], (0..2_000).step_by(7).collect()] {
            let told = told(&moves);
            for moved in moves {
                let before = told.iter().rev().find(|at| **at < moved).copied();
                let after = told.iter().find(|at| **at >= moved).copied().unwrap();
                assert!(before.is_none_or(|before| after < before + 1_000) || after == moved, "{moved}");
            }
            assert!(told.windows(2).all(|pair| pair[1] - pair[0] >= 250), "{told:?}");
        }
        assert_eq!(told(&[]), [0u64; 0]);
    }

    #[test]
    fn processor_time_is_progress() {
        let clock = AtomicU64::new(0);
        let count = AtomicU64::new(0);
        let now = || LedgerTime::from_millis(clock.fetch_add(300, Ordering::SeqCst));
        let tell = || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let progress = Progress::new(Span::from_millis(20), &now, &tell);
        let looks = Cell::new(0);
        progress.watch(|| {
            looks.set(looks.get() + 1);
            if looks.get() == 6 {
                progress.end();
            }
            // It works between the third look and the fourth, and nowhere else.
            Some(Span::from_millis(if looks.get() > 3 { 40 } else { 10 }))
        });
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
