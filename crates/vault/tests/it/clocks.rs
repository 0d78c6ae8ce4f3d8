//! Time in the embedded home: ends by two clocks, and a clock that is behind.

use eparch_domain::{Span, Tier};
use eparch_vault::{ChildGrant, Reader, Vault, VaultError};

use crate::home::{HOUR, MINUTE, agent};
use crate::sealed::{Place, grant, path, text, write};

/// F17: each limit at −1, 0 and +1 of its unit, with the clock set ±1 h somewhere on the way. No token is alive past its
/// time by either clock, and none that has time left by both is over.
#[tokio::test]
async fn r134_no_token_outlives_its_time_whatever_the_clock_does() {
    const JUMPS: [i64; 3] = [0, 3_600_000, -3_600_000];
    for ttl in [Span::from_secs(1), MINUTE, Span::from_mins(30), HOUR, Span::from_hours(2)] {
        for jump in JUMPS {
            for before in [0, ttl.millis() / 3, ttl.millis() - 1] {
                for step in [-1, 0, 1] {
                    let place = Place::new();
                    let vault = place.open();
                    let run = vault.issue_run(grant(ttl)).await.unwrap();
                    place.clock.advance(Span::from_millis(before));
                    place.clock.jump_wall(jump);
                    // When the limit is reached by the monotonic clock, or by the wall clock where that is ahead.
                    let rest = i64::try_from(ttl.millis() - before).unwrap();
                    let until = if jump > 0 { rest - jump } else { rest };
                    let wait = u64::try_from(until + step).unwrap_or(0);
                    place.clock.advance(Span::from_millis(wait));
                    let is_alive = vault.lookup(&run.status.accessor).await.is_ok();
                    let monotonic = before + wait < ttl.millis();
                    let wall =
                        i64::try_from(before + wait).unwrap() + jump < i64::try_from(ttl.millis()).unwrap();
                    let case = format!("{ttl}, set by {jump} ms after {before} ms, {wait} ms later");
                    assert_eq!(is_alive, monotonic && wall, "{case}");
                    if !is_alive {
                        // It stays so, however the clock is put right.
                        place.clock.jump_wall(-jump.max(0));
                        assert!(vault.lookup(&run.status.accessor).await.is_err(), "{case}");
                        assert!(vault.renew(&run.status.accessor, ttl).await.is_err(), "{case}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn r135_a_lease_renewed_every_half_hour_lives_through_clocks_that_jump() {
    let place = Place::new();
    let vault = place.open();
    let lease = Span::from_hours(2);
    let run = vault.issue_run(grant(lease)).await.unwrap();
    for jump in [3_600_000, -3_600_000, 0, -3_600_000, 3_600_000, 0] {
        place.clock.advance(Span::from_mins(30));
        place.clock.jump_wall(jump);
        vault.renew(&run.status.accessor, lease).await.unwrap();
    }
    place.clock.advance(Span::from_millis(lease.millis() - 1));
    assert!(vault.lookup(&run.status.accessor).await.is_ok());
    place.clock.advance(Span::from_millis(1));
    assert!(vault.lookup(&run.status.accessor).await.is_err());
}

#[tokio::test]
async fn x15_a_child_is_renewed_up_to_two_hours_after_it_was_issued() {
    let place = Place::new();
    let vault = place.open();
    let run = vault.issue_run(grant(Span::from_hours(2))).await.unwrap();
    let child = ChildGrant { agent: agent(), tier: Tier::T0, ttl: Span::from_mins(30) };
    let child = vault.issue_child(&run.token, child).await.unwrap();
    for _ in 0..5 {
        place.clock.advance(Span::from_mins(20));
        vault.renew(&run.status.accessor, Span::from_hours(2)).await.unwrap();
        vault.renew(&child.status.accessor, Span::from_mins(30)).await.unwrap();
    }
    // 1 h 40 min later, 20 min are left of the two hours.
    let left = vault.lookup(&child.status.accessor).await.unwrap().ttl;
    assert_eq!(left, Span::from_mins(20));
    place.clock.advance(Span::from_mins(20));
    assert!(vault.lookup(&child.status.accessor).await.is_err());
    assert!(vault.lookup(&run.status.accessor).await.is_ok());
}

#[tokio::test]
async fn g4_a_clock_that_is_behind_after_a_restart_gives_no_authority() {
    for (back, is_behind) in [(0, false), (2_000, false), (2_001, true), (3_600_000, true)] {
        let place = Place::new();
        let vault = place.open();
        write(&vault, "one").await;
        let run = vault.issue_run(grant(HOUR)).await.unwrap();
        drop(vault);
        place.clock.jump_wall(-back);
        let vault = place.open();
        let found = vault.lookup(&run.status.accessor).await;
        if !is_behind {
            assert!(found.is_ok(), "{back}: {found:?}");
            continue;
        }
        let Err(VaultError::ClockBehind { by }) = found else { panic!("{back}: {found:?}") };
        assert_eq!(by, Span::from_millis(back.unsigned_abs()));
        assert_eq!(vault.clock_behind().await.unwrap(), Some(by));
        let behind: [Result<(), VaultError>; 5] = [
            vault.issue_run(grant(HOUR)).await.map(drop),
            vault.renew(&run.status.accessor, HOUR).await.map(drop),
            vault.read(Reader::Token(&run.token), &path(), None).await.map(drop),
            vault
                .issue_child(&run.token, ChildGrant { agent: agent(), tier: Tier::T0, ttl: MINUTE })
                .await
                .map(drop),
            vault.unwrap(&run.token).await.map(drop),
        ];
        for asked in behind {
            assert!(matches!(asked, Err(VaultError::ClockBehind { .. })), "{asked:?}");
        }
        // What takes authority away, and what is the operator's own, needs no clock.
        assert_eq!(vault.find(None).await.unwrap().len(), 1);
        assert_eq!(text(&vault).await, "one");
        write(&vault, "two").await;
        // Still so after another restart: writing meanwhile proved nothing.
        drop(vault);
        let vault = place.open();
        assert!(matches!(vault.lookup(&run.status.accessor).await, Err(VaultError::ClockBehind { .. })));
        // When the clock has caught up, what has time left is good again.
        place.clock.jump_wall(back);
        assert!(vault.lookup(&run.status.accessor).await.is_ok());
        vault.revoke(&run.status.accessor).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_somebody_vouches_for_ends_every_token() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let run = vault.issue_run(grant(HOUR)).await.unwrap();
    let child = ChildGrant { agent: agent(), tier: Tier::T0, ttl: MINUTE };
    let child = vault.issue_child(&run.token, child).await.unwrap();
    let wrapping = vault.wrap(&child.token, &path(), MINUTE).await.unwrap();
    drop(vault);
    place.clock.jump_wall(-3_600_000);
    let vault = place.open();
    vault.accept_clock().await.unwrap();
    assert_eq!(vault.clock_behind().await.unwrap(), None);
    for accessor in [&run.status.accessor, &child.status.accessor] {
        assert!(matches!(vault.lookup(accessor).await, Err(VaultError::Ended { .. })));
    }
    assert!(matches!(vault.unwrap(&wrapping).await, Err(VaultError::Ended { .. })));
    let fresh = vault.issue_run(grant(HOUR)).await.unwrap();
    drop(vault);
    // The clock is right now: it is behind no more after a restart.
    let vault = place.open();
    assert!(vault.lookup(&fresh.status.accessor).await.is_ok());
    // Vouching for a clock that is right ends nothing.
    vault.accept_clock().await.unwrap();
    assert!(vault.lookup(&fresh.status.accessor).await.is_ok());
}

/// A clock that was ahead and is put right while the store is open is right for whoever opens it next.
#[tokio::test]
async fn a_clock_put_right_while_the_store_is_open_is_not_doubted_by_the_next() {
    for notes in [false, true] {
        let place = Place::new();
        let vault = place.open();
        place.clock.jump_wall(3_600_000);
        write(&vault, "one").await;
        place.clock.jump_wall(-3_600_000);
        if notes {
            vault.note_clock().await.unwrap();
        }
        drop(vault);
        let behind = place.open().clock_behind().await.unwrap();
        assert_eq!(behind.is_some(), !notes, "{behind:?}");
    }
    // One that is doubted is not made right by being noted.
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    drop(vault);
    place.clock.jump_wall(-3_600_000);
    let vault = place.open();
    vault.note_clock().await.unwrap();
    drop(vault);
    assert!(place.open().clock_behind().await.unwrap().is_some());
}
