//! How strace gets hold of the one thread of a holder whose calls are to fail.

use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::home::{DrillHome, is_alive, wait_until};
use crate::strace::{Rule, attach, detach, signal, stops, threads_of, tracer_of};

/// A holder, and what traces it.
#[derive(Default)]
pub(crate) struct Grip {
    holder: Option<Child>,
    /// The strace of one thread, or of all; one that started the holder is nobody's child.
    strace: Option<Child>,
    /// Who waits aside for the moment to trace from, and whether that is still wanted.
    aside: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

impl Grip {
    /// Of the thread that opens and closes the ledger, from its start.
    pub(crate) fn of_first(home: &DrillHome, rule: &Rule, log: &Path) -> Grip {
        Grip { holder: Some(home.spawn_under(rule, log)), ..Grip::default() }
    }

    /// Of the thread that writes the journal, before anything is decided on.
    pub(crate) fn of_writer(home: &DrillHome, rule: &Rule, log: &Path) -> Grip {
        Grip::of_thread(home, 0, rule, log)
    }

    /// Of the thread that keeps checkpoints, before there are any.
    pub(crate) fn of_anchor(home: &DrillHome, rule: &Rule, log: &Path) -> Grip {
        Grip::of_thread(home, 1, rule, log)
    }

    fn of_thread(home: &DrillHome, from_last: usize, rule: &Rule, log: &Path) -> Grip {
        // It opens its read models when all threads of the ledger are there and nothing is decided yet.
        let stop = Rule::inject("openat", "signal=SIGSTOP:when=1").on(&home.root().join("views.db"));
        let stopped = home.beside("stopped");
        let holder = home.spawn_under(&stop, &stopped);
        wait_until("the holder has stopped", || !stops(&stopped, &["openat"]).is_empty());
        let pid = holder.id();
        let tracer = tracer_of(pid).expect("strace holds it");
        // It may not have got to giving itself its name. The keeper of checkpoints comes before the writer, who is last.
        let threads = threads_of(pid);
        let (thread, _) = threads.iter().rev().nth(from_last).expect("the ledger has both");
        let strace = attach(*thread, false, rule, log);
        detach(tracer);
        signal(pid, Signal::CONT);
        Grip { holder: Some(holder), strace: Some(strace), aside: None }
    }

    /// Of every thread of a holder that listens.
    pub(crate) fn of_everyone(home: &DrillHome, rule: &Rule, log: &Path) -> Grip {
        let holder = home.hold();
        let strace = attach(holder.id(), true, rule, log);
        Grip { holder: Some(holder), strace: Some(strace), aside: None }
    }

    /// Of the thread that keeps the `no`-th artifact, from when it begins to. That comes while the home is in use: it is
    /// waited for aside.
    pub(crate) fn of_keeper(home: &DrillHome, no: usize, rule: Rule, log: &Path) -> Grip {
        let holder = home.hold();
        let pid = holder.id();
        let (stopped, log) = (home.beside("stopped"), log.to_owned());
        let stop = Rule::inject("mkdir", "signal=SIGSTOP:when=1+").on(&home.root().join("artifacts"));
        let mut steps = attach(pid, true, &stop, &stopped);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let aside = std::thread::spawn(move || {
            let mut keeper = None;
            for step in 1..=no {
                let at = || stops(&stopped, &["mkdir"]).get(step - 1).copied().flatten();
                let in_vain = || is_over.load(Ordering::SeqCst) || !is_alive(pid);
                wait_until("an artifact is kept", || at().is_some() || in_vain());
                keeper = at().filter(|_| step == no);
                if keeper.is_none() {
                    signal(pid, Signal::CONT);
                }
            }
            detach(steps.id());
            let _ = steps.wait();
            if let Some(thread) = keeper {
                let mut strace = attach(thread, false, &rule, &log);
                signal(pid, Signal::CONT);
                let _ = strace.wait();
            }
        });
        Grip { holder: Some(holder), strace: None, aside: Some((aside, over)) }
    }

    /// Waits until the holder listens, so that nobody else holds the home before it has.
    pub(crate) fn wait_until_held(&self, home: &DrillHome) {
        if let Some(holder) = &self.holder {
            wait_until("the holder listens or is dead", || home.listens() || !is_alive(holder.id()));
        }
    }

    /// The holder's process, and the thread of it that is traced.
    pub(crate) fn held(&self) -> (u32, u32) {
        let holder = self.holder.as_ref().expect("there is a holder").id();
        let tracer = self.strace.as_ref().map(Child::id);
        let threads = threads_of(holder).into_iter().map(|(thread, _)| thread);
        let traced = threads.into_iter().find(|thread| tracer.is_some() && tracer_of(*thread) == tracer);
        (holder, traced.unwrap_or(holder))
    }

    /// From now on nothing is traced, and nothing fails.
    pub(crate) fn let_go(self, home: &DrillHome) {
        if let Some((_, over)) = &self.aside {
            over.store(true, Ordering::SeqCst);
        }
        if let Some(mut strace) = self.strace {
            detach(strace.id());
            let _ = strace.wait();
        }
        // What was traced from its start, and by whom it was waited for aside.
        for (thread, _) in home.holder().map(threads_of).unwrap_or_default() {
            if let Some(tracer) = tracer_of(thread) {
                detach(tracer);
            }
        }
        if let Some((aside, _)) = self.aside {
            aside.join().expect("whoever waits aside only waits");
        }
        if let Some(mut holder) = self.holder {
            // The drill ends it; until then it may well live on.
            std::thread::spawn(move || holder.wait());
        }
    }
}
