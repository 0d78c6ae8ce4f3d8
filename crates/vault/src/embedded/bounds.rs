//! How much there may be of everything: tests only, since filling a store through its file takes minutes.

use eparch_domain::{AgentId, Moment, RunId, Span, Tier, limits};

use super::state::{Fresh, State};
use super::{StoreError, plain};
use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::secret::{Fields, Secret, Token};
use crate::vault::{Accessor, ChildGrant, Reader, RunGrant};

const HOUR: Span = Span::from_hours(1);

fn fresh(number: usize) -> Fresh {
    let token = Token::new(Secret::new(format!("token-{number}")));
    Fresh { token, accessor: Accessor::new(&format!("accessor-{number:08}")).unwrap() }
}

fn grant(ttl: Span) -> RunGrant {
    RunGrant { run: RunId::from_bits(1), tier: Tier::T2, ttl }
}

fn later(span: Span) -> Moment {
    let wall = eparch_domain::Timestamp::from_millis(i64::try_from(span.millis()).unwrap());
    Moment { ledger: eparch_domain::LedgerTime::ZERO.after(span), wall }
}

#[test]
fn there_are_so_many_tokens_and_no_more() {
    let now = Moment::default();
    let mut state = State::default();
    for number in 0..limits::VAULT_TOKENS {
        state.issue_run(grant(HOUR), &fresh(number), now).unwrap();
    }
    let one_more = fresh(limits::VAULT_TOKENS);
    let refused = state.issue_run(grant(HOUR), &one_more, now);
    assert!(matches!(refused, Err(VaultError::TooMuch { what: "tokens", .. })), "{refused:?}");
    // What is over makes room.
    state.revoke(&fresh(0).accessor);
    assert!(state.issue_run(grant(HOUR), &one_more, now).is_ok());
    state.observe(later(HOUR));
    assert!(state.issue_run(grant(HOUR), &fresh(1), later(HOUR)).is_ok());
    // How the last ones ended is remembered, and no more of them.
    let how = |number: usize| match state.lookup(&fresh(number).accessor, later(HOUR)) {
        Err(VaultError::Ended { how }) => how,
        other => panic!("{other:?}"),
    };
    assert_eq!(how(limits::VAULT_TOKENS), Ending::Expired);
    assert_eq!(how(limits::VAULT_TOKENS - limits::VAULT_REMEMBERED + 2), Ending::Expired);
    assert_eq!(how(0), Ending::Unknown);
}

#[test]
fn there_are_so_many_secrets_and_no_more() {
    let mut state = State::default();
    let path = |number: usize| SecretPath::new(&format!("s/{number}")).unwrap();
    for number in 0..limits::VAULT_SECRETS {
        state.write(&path(number), Fields::new(), None).unwrap();
    }
    let refused = state.write(&path(limits::VAULT_SECRETS), Fields::new(), None);
    assert!(matches!(refused, Err(VaultError::TooMuch { what: "secrets", .. })), "{refused:?}");
    assert_eq!(state.write(&path(0), Fields::new(), None).unwrap(), 2, "another version is no other secret");
    state.delete(&path(0));
    assert!(state.write(&path(limits::VAULT_SECRETS), Fields::new(), None).is_ok());
}

#[test]
fn so_many_secrets_wait_wrapped_and_no_more() {
    let now = Moment::default();
    let mut state = State::default();
    let path = SecretPath::new("shared/x").unwrap();
    state.write(&path, Fields::new(), None).unwrap();
    let run = fresh(0);
    state.issue_run(grant(HOUR), &run, now).unwrap();
    let child = fresh(1);
    let wanted = ChildGrant { agent: AgentId::from_bits(1), tier: Tier::T2, ttl: HOUR };
    state.issue_child(&run.token, wanted, &child, now).unwrap();
    let ttl = limits::VAULT_WRAP_TTL;
    for number in 0..limits::VAULT_WRAPS {
        state.wrap(&child.token, &path, ttl, &fresh(number).token, now).unwrap();
    }
    let one_more = fresh(limits::VAULT_WRAPS).token;
    let refused = state.wrap(&child.token, &path, ttl, &one_more, now);
    assert!(matches!(refused, Err(VaultError::TooMuch { what: "wrapped secrets", .. })), "{refused:?}");
    state.unwrap(&fresh(0).token).unwrap();
    assert!(state.wrap(&child.token, &path, ttl, &one_more, now).is_ok());
    // Nobody took them: their time makes room.
    state.observe(later(ttl));
    assert!(state.wrap(&child.token, &path, ttl, &fresh(0).token, later(ttl)).is_ok());
}

#[test]
fn a_store_that_would_be_too_large_is_refused_before_it_is_written() {
    let mut state = State::default();
    let text = "x".repeat(limits::VAULT_SECRET_BYTES - 100);
    let path = |number: usize| SecretPath::new(&format!("s/{number}")).unwrap();
    let fits = limits::VAULT_STORE_BYTES / limits::VAULT_SECRET_BYTES;
    for number in 0..=fits {
        let fields = Fields::from([("a".to_owned(), Secret::new(text.clone()))]);
        state.write(&path(number), fields, None).unwrap();
    }
    let refused = plain(&state).unwrap_err();
    assert!(matches!(refused, StoreError::Full) && !refused.is_retryable());
    state.delete(&path(0));
    let written = plain(&state).unwrap();
    assert!(
        written.len() <= limits::VAULT_STORE_BYTES && written.capacity() == written.len(),
        "it never grew"
    );
    let read: State = serde_json::from_slice(&written).unwrap();
    assert_eq!(read.read(Reader::Daemon, &path(fits), None).unwrap().fields["a"].expose(), text);
}
