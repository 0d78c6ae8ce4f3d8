//! Each opening for writing is a boot with a number of its own: whatever an earlier one had not finished is void.

use std::time::Duration;

use eparch_domain::{Timestamp, limits};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::entry::to_sql;
use crate::repair;
use crate::seal;
use crate::tree::Hash;

/// How long a batch waits for a write lock that others hold: a reader that finds the log's index half written takes it
/// for microseconds, a backup tool for longer. An eighth of the time a batch has, so that the batch can still be written.
const LOCKED: Duration = Duration::from_millis(limits::LEDGER_WRITE_DEADLINE.millis() / 8);

/// A boot: its epoch, and the chain over all boots up to it.
pub(crate) type Boot = (u64, Hash);

/// Which boots are ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours {
    /// The newest that was written.
    pub(crate) newest: Boot,
    /// The boot of a reopening that failed: whether it was written is open.
    attempted: Option<Boot>,
}

impl Ours {
    pub(crate) fn new(newest: Boot) -> Ours {
        Ours { newest, attempted: None }
    }

    /// Whether the newest boot there is, `newest`, is ours, so that `next` may follow it; for [`record`].
    pub(crate) fn agree(&mut self, newest: Boot, next: Boot) -> bool {
        // What an attempt of ours left behind is ours, too; and it stays so however many more fail.
        if Some(newest) == self.attempted {
            self.newest = newest;
        }
        let agreed = newest == self.newest;
        if agreed {
            self.attempted = Some(next);
        }
        agreed
    }
}

/// The newest boot; epoch 0 when there was none.
pub(crate) fn newest(connection: &Connection) -> Result<Boot, rusqlite::Error> {
    let newest = connection
        .query_row("SELECT epoch, chain FROM boot ORDER BY epoch DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
        })
        .optional()?;
    Ok(newest.unwrap_or((0, seal::START)))
}

/// Records a boot, having put right what is only work in progress. `agree` is told of the newest boot so far and of the
/// one that would follow; when it does not agree nothing is done, and the newest boot comes back as the error. After a
/// boot a write lock that others hold is waited for only shortly.
pub(crate) fn record(
    connection: &mut Connection,
    at: Timestamp,
    version: &str,
    agree: impl FnOnce(Boot, Boot) -> bool,
) -> Result<Result<(Boot, Vec<String>), Boot>, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = newest(&transaction)?;
    let repaired = repair::work_in_progress(&transaction)?;
    let (epoch, at, pid) = (before.0 + 1, at.to_string(), i64::from(std::process::id()));
    let told = repaired.join("; ");
    let chain = seal::boot(&before.1, to_sql(epoch), &at, pid, version, &told);
    if !agree(before, (epoch, chain)) {
        return Ok(Err(before));
    }
    transaction.execute(
        "INSERT INTO boot (epoch, at, pid, version, repaired, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![to_sql(epoch), at, pid, version, told, chain],
    )?;
    transaction.commit()?;
    connection.busy_timeout(LOCKED)?;
    Ok(Ok(((epoch, chain), repaired)))
}

/// Closes a connection that failed, leaving the log as it is for the next opening to read.
pub(crate) fn abandon(connection: Connection) {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    let _ = connection.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::JOURNAL;

    #[test]
    fn g1_what_failed_attempts_left_behind_is_ours_however_many_there_were() {
        let mut connection = JOURNAL.fresh(JOURNAL.migrations.len()).unwrap();
        let mut open = |agree: &mut dyn FnMut(Boot, Boot) -> bool| {
            record(&mut connection, Timestamp::from_millis(0), "test", agree).unwrap()
        };
        let mut ours = Ours::new(open(&mut |_, _| true).unwrap().0);
        // One that was written although its commit failed, and two that were not.
        open(&mut |newest, next| ours.agree(newest, next)).unwrap();
        for _ in 0..2 {
            let mut agreed = false;
            open(&mut |newest, next| {
                agreed = ours.agree(newest, next);
                false
            })
            .unwrap_err();
            assert!(agreed);
        }
        let third = open(&mut |newest, next| ours.agree(newest, next)).unwrap().0;
        assert_eq!(third.0, 3);
        ours.newest = third;
        // Another's is not.
        let other = open(&mut |_, _| true).unwrap().0;
        assert_eq!(open(&mut |newest, next| ours.agree(newest, next)).unwrap_err(), other);
        assert_eq!(ours.newest, third);
    }

    #[test]
    fn g1_a_batch_waits_for_a_lock_only_as_long_as_it_can_still_be_written() {
        let mut connection = JOURNAL.fresh(JOURNAL.migrations.len()).unwrap();
        record(&mut connection, Timestamp::from_millis(0), "test", |_, _| true).unwrap().unwrap();
        let timeout: u64 = connection
            .pragma_query_value(None, "busy_timeout", |row| row.get(0).map(i64::unsigned_abs))
            .unwrap();
        assert_eq!(timeout, 250);
        assert!(timeout * 2 < limits::LEDGER_WRITE_DEADLINE.millis());
    }
}
