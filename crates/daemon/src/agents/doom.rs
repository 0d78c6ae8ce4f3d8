//! Whether an agent has to end. Told once and for good, and seen by everything that acts for it.

use tokio::sync::watch;

/// The end of one agent, as soon as it is decided.
#[derive(Debug)]
pub(crate) struct Doom(watch::Sender<bool>);

impl Default for Doom {
    fn default() -> Doom {
        Doom(watch::channel(false).0)
    }
}

impl Doom {
    /// It has to end. What [`Doom::unless`] is doing is done when this returns, and nothing more of the kind begins.
    pub(crate) fn seal(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has to end.
    pub(crate) fn is_sealed(&self) -> bool {
        *self.0.borrow()
    }

    /// Does something that must not happen any more once the agent has to end; nothing when it has to. Only in memory, and
    /// short: everybody's decisions wait behind who seals, and no agent may make them wait for a disk.
    pub(crate) fn unless<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        // Kept while it works: whoever seals waits for it.
        let sealed = self.0.borrow();
        (!*sealed).then(work)
    }

    /// Waits until it has to end.
    pub(crate) async fn comes(&self) {
        // Whoever would tell is here as long as this is.
        let _ = self.0.subscribe().wait_for(|sealed| *sealed).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn g2_nothing_happens_behind_an_end_and_what_is_happening_comes_before_it() {
        let doom = Arc::new(Doom::default());
        assert_eq!(doom.unless(|| 1), Some(1));
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let (tell, told) = channel();
        let (working, says) = (Arc::clone(&doom), tell.clone());
        let worker = std::thread::spawn(move || {
            working.unless(|| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                says.send("worked").unwrap();
            })
        });
        has_begun.recv().unwrap();
        let sealing = Arc::clone(&doom);
        let sealer = std::thread::spawn(move || {
            sealing.seal();
            tell.send("sealed").unwrap();
        });
        go_on.send(()).unwrap();
        assert_eq!((told.recv().unwrap(), told.recv().unwrap()), ("worked", "sealed"));
        worker.join().unwrap();
        sealer.join().unwrap();
        assert!(doom.is_sealed());
        assert_eq!(doom.unless(|| 1), None);
    }

    #[tokio::test]
    async fn whoever_waits_for_an_end_is_told_also_when_it_came_before() {
        let doom = Arc::new(Doom::default());
        let waiting = tokio::spawn({
            let doom = Arc::clone(&doom);
            async move { doom.comes().await }
        });
        doom.seal();
        waiting.await.unwrap();
        doom.comes().await;
    }
}
