//! The moment in which something that an agent says begins to count, or does not: its end may be decided in the next.

use std::sync::Arc;

use crate::agents::capture::{Log, Said, Show};
use crate::agents::doom::Doom;

/// Keeps what an agent said; false when it has to end by now. Whoever ends it waits for no writing, and neither does anybody
/// who is answered beside it: what counts by then is written after, and is part of what the log's digest is of.
pub(super) async fn keep(doom: &Doom, log: &Arc<Log>, said: Said, show: &Show) -> bool {
    if doom.unless(|| log.accept(said, show)).is_none() {
        return false;
    }
    if !log.is_settling() {
        let log = log.clone();
        // One that is given up meanwhile is written all the same.
        let _ = tokio::task::spawn_blocking(move || log.settle_once()).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{BufRead as _, BufReader, Read as _};

    use eparch_domain::Timestamp;
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    /// A log whose disk takes nothing more is that of a pipe which nobody reads.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn g2_a_revoke_waits_for_nothing_that_an_agent_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut disk = BufReader::with_capacity(1, both);
        let log = Arc::new(Log::create(path, "the token".to_owned()).unwrap());
        let (doom, show) = (Arc::new(Doom::default()), Arc::new(|_: &_| {}) as Show);
        let say = |text: &str| {
            let (doom, log, show) = (doom.clone(), log.clone(), show.clone());
            let lines = log.lines_of("agent", text, Timestamp::default());
            tokio::spawn(async move { keep(&doom, &log, lines, &show).await })
        };
        // More than a pipe holds.
        let writing = say(&format!("{}\n", "x".repeat(1_000)).repeat(100));
        assert!(!disk.fill_buf().unwrap().is_empty(), "it is being written");
        // Whoever says more meanwhile waits for no disk, and fills no memory.
        for _ in 0..20 {
            assert!(say(&"more\n".repeat(100)).await.unwrap());
        }
        doom.seal();
        assert!(!writing.is_finished(), "the end was told meanwhile");
        // On the one thread that answers everybody.
        assert!(!say("late").await.unwrap());
        let lines: Vec<String> = disk.by_ref().lines().take(1_000).map(Result::unwrap).collect();
        assert!(lines[..100].iter().all(|line| line.contains("xxx")));
        assert!(lines[100..].iter().all(|line| line.contains("more")));
        assert!(writing.await.unwrap());
        let (seen, lost) = log.counts();
        assert!(seen == 2_100 && (1_000..=1_100).contains(&(seen - lost)), "{lost} of {seen} were lost");
    }
}
