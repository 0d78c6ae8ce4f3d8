//! Verdicts that were given before. A set never changes and says the same to the same question each time, so what it said once
//! need not be asked again: an agent asks for much of one kind, and whatever is done under a permit is asked about again when it
//! is used.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use eparch_domain::{Digest, limits};

use crate::verdict::Verdict;

/// The newest questions and those before them, each at most half of [`limits::VERDICTS_REMEMBERED`]: the older half goes at once,
/// but for what was asked again meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    young: BTreeMap<Digest, Verdict>,
    old: BTreeMap<Digest, Verdict>,
}

impl Remembered {
    /// What was said to this question, or what is said to it now.
    pub(crate) fn or_ask(&self, question: Digest, ask: impl FnOnce() -> Verdict) -> Verdict {
        if let Some(verdict) = self.with(|halves| halves.find(&question)) {
            return verdict;
        }
        let verdict = ask();
        self.with(|halves| halves.keep(question, verdict.clone()));
        verdict
    }

    fn with<T>(&self, work: impl FnOnce(&mut Halves) -> T) -> T {
        // Nothing that panics is done while it is held.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Halves {
    fn find(&mut self, question: &Digest) -> Option<Verdict> {
        if let Some(verdict) = self.young.get(question) {
            return Some(verdict.clone());
        }
        let verdict = self.old.remove(question)?;
        self.keep(*question, verdict.clone());
        Some(verdict)
    }

    fn keep(&mut self, question: Digest, verdict: Verdict) {
        if self.young.len() >= limits::VERDICTS_REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Decision;

    fn verdict(candidates: usize) -> Verdict {
        Verdict {
            decision: Decision::Allow,
            reason: "because".into(),
            policies: Vec::new(),
            retryable: false,
            unlock: None,
            changes: Vec::new(),
            candidates,
            shadowed: Vec::new(),
        }
    }

    fn question(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_question_is_asked_once_and_another_one_again() {
        let remembered = Remembered::default();
        assert_eq!(remembered.or_ask(question(1), || verdict(1)), verdict(1));
        assert_eq!(remembered.or_ask(question(2), || verdict(2)), verdict(2));
        assert_eq!(remembered.or_ask(question(1), || panic!("it was said before")), verdict(1));
    }

    #[test]
    fn however_many_questions_there_are_so_many_are_remembered_and_those_asked_again_longest() {
        let remembered = Remembered::default();
        for number in 0..4 * limits::VERDICTS_REMEMBERED {
            remembered.or_ask(question(number), || verdict(number));
            // Never forgotten, since it is asked again and again.
            let first = remembered.or_ask(question(0), || panic!("question {number} took its place"));
            assert_eq!(first, verdict(0));
            let held = remembered.with(|halves| halves.young.len() + halves.old.len());
            assert!(held <= limits::VERDICTS_REMEMBERED, "{held}");
        }
        for number in
            (0..limits::VERDICTS_REMEMBERED / 2).map(|back| 4 * limits::VERDICTS_REMEMBERED - 1 - back)
        {
            remembered.or_ask(question(number), || panic!("question {number} of the last half is forgotten"));
        }
        let asked = std::cell::Cell::new(false);
        remembered.or_ask(question(1), || {
            asked.set(true);
            verdict(1)
        });
        assert!(asked.get(), "the oldest are forgotten");
    }
}
