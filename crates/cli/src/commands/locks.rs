//! `eparch lock …`: who has which lock, and taking one away.

use eparch_daemon::wire::{LockReleased, LockView, ReleaseLock};
use eparch_governor::LockStanding;

use super::block_on;
use crate::args::Lock;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::paint;
use crate::table::{Table, plain};
use crate::when;

/// `eparch lock …`.
pub(crate) fn carry_out(context: &Context, command: Lock) -> Result<u8, Failure> {
    block_on(async {
        let desk = Desk::open(context)?;
        match command {
            Lock::List { json } => list(context, &desk, json || context.is_json()).await?,
            Lock::Release { lock, reason } => {
                let path = format!("/api/locks/{lock}/release");
                let released: LockReleased = desk.post_again(&path, &ReleaseLock { reason }).await?;
                if context.is_json() {
                    print_json(&released)?;
                } else if let Some(agent) = released.agent_id {
                    outln!(
                        "{agent} has lost the lock {lock} and does nothing more; the lock is free when nothing of it lives."
                    );
                } else {
                    outln!(
                        "Whoever has the lock {lock} is being ended already; it is free when nothing of it lives."
                    );
                }
            }
        }
        Ok(exit::DONE)
    })
}

async fn list(context: &Context, desk: &Desk<'_>, as_json: bool) -> Result<(), Failure> {
    let locks: Vec<LockView> = desk.get("/api/locks").await?;
    if as_json {
        return print_json(&locks);
    }
    if locks.is_empty() {
        context.say("No lock is held.");
        return Ok(());
    }
    let mut table = Table::new(&["LOCK", "FENCE", "STANDS", "RUN", "STAGE", "SINCE", "LEASE", "WAITING"]);
    for lock in &locks {
        let stands = match lock.standing {
            LockStanding::Held => "held",
            LockStanding::Ending => "is being let go",
            LockStanding::Unknown => "unknown whether its agent lives",
        };
        // Nobody renews what is not simply held.
        let lease = match lock.standing {
            LockStanding::Held => when::length(lock.ttl.millis()),
            LockStanding::Ending | LockStanding::Unknown => String::new(),
        };
        table.row([
            plain(lock.lock.to_string()),
            plain(lock.fence.to_string()),
            plain(stands),
            plain(lock.pipeline_id.to_string()),
            plain(lock.stage.to_string()),
            plain(when::ago(lock.since)),
            plain(lease),
            plain(lock.waiting.len().to_string()),
        ]);
    }
    table.print();
    for lock in &locks {
        if let Some(lost) = &lock.lost {
            outln!("\n{} was lost: {}", lock.lock, paint::harmless(lost));
        }
        for user in &lock.waiting {
            outln!("\n{} waits for {} in {}", user.stage, lock.lock, user.run);
        }
    }
    Ok(())
}
