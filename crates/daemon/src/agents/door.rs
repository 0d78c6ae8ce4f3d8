//! One agent's door: who is let in, what counts, and how what is asked comes to the driver.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode, header};
use eparch_domain::{Clock, Digest, Name};
use eparch_governor::{AgentSpec, AgentStanding, Answer, Event, PROJECT, Refusal};

use super::calls::{Calls, Limited};
use super::capture::Log;
use super::doom::Doom;
use super::live::Live;
use super::performances::Performances;
use crate::api::problem::Problem;
use crate::driver::{Done, Handle};
use crate::live_events::Broadcast;
use crate::perform::Tools;
use crate::vault::HomeVault;
use crate::vault::credentials::Held;

/// What the listener of one agent knows. Not the agent itself: what answers here must not keep its cage.
pub(crate) struct Door {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) log: Arc<Log>,
    pub(super) tenant: Name,
    pub(super) project: Name,
    pub(super) performances: Arc<Performances>,
    pub(super) doom: Arc<Doom>,
    token_hash: Digest,
    pub(super) driver: Handle,
    /// Where what takes long for this door is done.
    pub(super) aside: tokio::runtime::Handle,
    pub(super) vault: Arc<HomeVault>,
    /// What the agent reads secrets with; one that no longer stands for it is replaced when it is needed.
    pub(super) held: tokio::sync::Mutex<Option<Held>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) broadcast: Broadcast,
    calls: Mutex<Calls>,
    pub(super) heartbeat_at: AtomicU64,
    /// It was told that another agent's token was shown here.
    pretended: AtomicBool,
}

impl Door {
    pub(crate) fn new(
        live: &Live,
        token_hash: Digest,
        held: Option<Held>,
        driver: Handle,
        tools: &Tools,
    ) -> Door {
        Door {
            spec: live.spec.clone(),
            log: live.log.clone(),
            tenant: tools.tenant.clone(),
            performances: live.performances.clone(),
            project: Name::new(PROJECT).expect("a word is a name"),
            doom: live.doom.clone(),
            token_hash,
            driver,
            aside: tools.runtime.clone(),
            vault: tools.vault.clone(),
            held: tokio::sync::Mutex::new(held),
            clock: tools.clock.clone(),
            broadcast: tools.broadcast.clone(),
            calls: Mutex::default(),
            heartbeat_at: AtomicU64::new(0),
            pretended: AtomicBool::new(false),
        }
    }

    /// Counts a call; every one counts, whatever it asks and whoever it says it is (R083).
    pub(super) fn count(&self) -> Result<(), Limited> {
        let now = self.clock.now().ledger;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }

    /// Lets in the agent with its own token.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Comparing hashes tells nothing of the token by its timing.
        let shown = Digest::of(token.as_bytes());
        if shown != self.token_hash {
            self.tell_of_anothers(shown).await;
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "EP0601", "this is not the agent's token")
                .hint("send `Authorization: Bearer $EPARCH_TOKEN`"));
        }
        if self.doom.is_sealed() { Err(gone()) } else { Ok(()) }
    }

    /// What was shown is another agent's token, or nobody's. Only the first is an event, and the agent is at its end with it: it is
    /// told once, however many calls bring it at the same time. Whether it could be written down or not, the call is refused.
    async fn tell_of_anothers(&self, token: Digest) {
        let agent = self.spec.agent;
        if self.doom.is_sealed() || self.pretended.load(Ordering::SeqCst) {
            return;
        }
        let is_anothers =
            self.driver.glance(move |governor| governor.shows_anothers(agent, &token).is_some());
        if !matches!(is_anothers.await, Ok(true)) || self.pretended.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.driver.ask(Event::TokenShown { agent, token }.into()).await.is_err() {
            self.pretended.store(false, Ordering::SeqCst);
        }
    }

    /// Whether what the agent says counts, for whatever the governor would not hear of: its token is checked when it is used,
    /// not only when it was issued (X15).
    pub(super) async fn hears(&self) -> Result<(), Problem> {
        let agent = self.spec.agent;
        let standing = || {
            let now = self.clock.now();
            self.driver.look(move |governor| governor.agent_standing(agent, now))
        };
        let mut found = standing().await.map_err(Problem::from)?;
        if found == AgentStanding::Expired {
            // A clock that has jumped since the last decision is decided on with the next one, and what is over by it is
            // followed by what is not.
            self.driver.ask(Event::ClockTurned.into()).await.map_err(Problem::from)?;
            found = standing().await.map_err(Problem::from)?;
        }
        match found {
            AgentStanding::Holds => Ok(()),
            AgentStanding::Expired => Err(Problem::from(&Refusal::TokenExpired { agent })),
            AgentStanding::Nothing => Err(gone()),
        }
    }

    /// Has something decided that the agent asked for; a refusal is a problem.
    pub(super) async fn decide(&self, event: Event) -> Result<Done, Problem> {
        if let Some(refusal) = event.too_large() {
            return Err(Problem::from(&refusal));
        }
        let done = self.driver.ask(event.into()).await.map_err(Problem::from)?;
        match &done.record.decision.answer {
            Answer::Refused(refusal) => Err(Problem::from(refusal)),
            Answer::Taken | Answer::Already { .. } | Answer::Ruled(_) => Ok(done),
        }
    }
}

/// What an agent is told whose end is decided.
pub(super) fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "EP0603", "the agent has ended")
}

/// What was asked and written down holds no answer.
pub(super) fn unanswered() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0609", "the question was not answered")
}

#[cfg(any(test, feature = "stand"))]
#[path = "stand.rs"]
pub mod stand;

#[cfg(test)]
#[path = "races.rs"]
mod races;
