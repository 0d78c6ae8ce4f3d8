//! Making an agent ready: BOOTSTRAP, PREFLIGHT and PLAN. No program has run when this is done.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{AgentId, Digest, Phase};
use eparch_governor::{AgentSpec, Check, Outcome};
use eparch_ledger::EffectRef;
use eparch_pipeline::{Pipeline, Work};
use eparch_sandbox::Cage;

use super::{Job, failed, log_name, until_done};
use crate::agents::capture::Log;
use crate::agents::door::Door;
use crate::agents::listener;
use crate::agents::live::{CLOSE_DEADLINE, Live, prove_dead};
use crate::agents::roster::Go;
use crate::agents::{packet, prepare, spec};
use crate::diagnostic::handoff;
use crate::home::make_folder;
use crate::vault::credentials::Held;

impl Job {
    pub(super) fn prepare(&self, at: Option<EffectRef>, spec: AgentSpec) {
        let agent = spec.agent;
        let first_seq = at.map_or(0, |at| at.seq);
        let Some(preparing) = self.tools.agents.prepare(agent, self.born) else { return };
        let mut opened = None;
        match self.make_ready(spec, first_seq, &mut opened) {
            Ok((live, outcomes)) => match preparing.ready(live.clone()) {
                Go::On => self.advanced(at, agent, outcomes),
                Go::Doomed => {
                    let reason = "it was ended before it was ready";
                    self.advanced(at, agent, vec![failed(Phase::Bootstrap, "EP0240", reason)]);
                }
                // Nobody will ask for it, nor for its end.
                Go::Over => self.release(live),
            },
            Err(outcomes) => {
                preparing.failed();
                let alive = opened.filter(|cage| !is_put_away(cage));
                self.advanced(at, agent, outcomes);
                // Only now: an end that was decided meanwhile has left its note.
                match alive {
                    None => self.tools.agents.gone(agent),
                    Some(cage) => self.discard(agent, cage),
                }
            }
        }
    }

    /// Puts away the cage of an agent that never was ready; as often as it takes.
    fn discard(&self, agent: AgentId, cage: Cage) {
        let tools = self.tools.clone();
        until_done(&self.tools.runtime, 0, move || {
            let done = is_put_away(&cage);
            if done {
                tools.agents.gone(agent);
            }
            done
        });
    }

    /// BOOTSTRAP, PREFLIGHT and PLAN. On failure the outcomes say what was reached, and what was opened has to be put away.
    fn make_ready(
        &self,
        spec: AgentSpec,
        first_seq: u64,
        opened: &mut Option<Cage>,
    ) -> Result<(Arc<Live>, Vec<Outcome>), Vec<Outcome>> {
        let tools = &self.tools;
        let cannot = |code: &str, reason: String| vec![failed(Phase::Bootstrap, code, &reason)];
        let token = token(&tools.secret, &spec);
        let token_hash = Digest::of(token.as_bytes());
        let handoff = self.handoff(&spec, first_seq).map_err(|reason| cannot("EP0681", reason))?;
        let handed = handoff.as_ref().map(|handoff| Digest::of(handoff));
        let packet = packet::write(&spec, handed, tools.clock.now(), &tools.signing);
        let packet_digest = Digest::of(&packet.0);
        let identity = |tree| Outcome::Bootstrap { token: token_hash, packet: packet_digest, tree };
        let pipeline = self.definition(&spec.pipeline).map_err(|reason| cannot("EP0241", reason))?;

        // Before anything is opened for it: without what its stage names it need not begin (G4).
        let credential = self.credential(&spec, &pipeline)?;
        let view = spec::view(&spec, &pipeline, tools.home.root(), &tools.expose);
        if !view.inventory.ok {
            let preflight = Outcome::Preflight { checks: vec![view.inventory], confinement: Vec::new() };
            return Err(vec![identity(None), preflight]);
        }
        let cage = Cage::open(&view.cage, &tools.launcher).map_err(|problem| {
            let (check, confinement) = prepare::refused(&problem);
            vec![
                identity(None),
                Outcome::Preflight { checks: vec![check, view.inventory.clone()], confinement },
            ]
        })?;
        let cage = &*opened.insert(cage);
        prepare::furnish(cage, &spec, &pipeline, &tools.artifacts, &packet, handoff.as_deref())
            .map_err(|reason| cannot("EP0242", reason))?;
        let env = prepare::environment(&spec, cage.port(), &token, &tools.expose);
        let confinement = prepare::record(cage.measures());
        let held = confinement.iter().filter(|measure| measure.in_force).count();
        let sandbox = Check {
            name: "sandbox".to_owned(),
            ok: true,
            detail: format!("{held} of {} measures in force", confinement.len()),
        };
        let checks = vec![sandbox, view.inventory, prepare::dependencies(cage, &spec, &env)];
        let tree = serde_json::to_value(cage.tree()).ok();
        let mut outcomes = vec![
            identity(tree),
            Outcome::Preflight { checks: checks.clone(), confinement: confinement.clone() },
        ];
        if checks.iter().any(|check| !check.ok) {
            return Err(outcomes);
        }
        let (plan_digest, plan) =
            prepare::plan(&spec, &pipeline, &tools.artifacts).map_err(|reason| cannot("EP0243", reason))?;
        outcomes.push(plan);
        let log = self
            .open_log(&spec, &token)
            .map_err(|problem| cannot("EP0244", format!("its log cannot be opened: {problem}")))?;
        let live = Arc::new(Live {
            spec: Arc::new(spec),
            cage: opened.take().expect("it was opened above"),
            shown: view.cage,
            log: Arc::new(log),
            env,
            first_seq,
            packet: packet_digest,
            plan: plan_digest,
            confinement,
            listener: Mutex::new(None),
            performances: Arc::default(),
            doom: Arc::default(),
            executed: Mutex::new(None),
        });
        if let Err(problem) = self.listen(&live, token_hash, credential) {
            *opened = Arc::into_inner(live).map(|live| live.cage);
            return Err(cannot("EP0245", format!("its listener cannot be served: {problem}")));
        }
        Ok((live, outcomes))
    }

    /// What is known of the run that it looks at, for an agent that does; kept, so that what it saw can be looked at later.
    fn handoff(&self, spec: &AgentSpec, to: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(parent) = &spec.looks_at else { return Ok(None) };
        let tools = &self.tools;
        let gathered = handoff::gather(&tools.ledger, &tools.tenant, &tools.home.logs(), parent, to)?;
        let mut bytes = serde_json::to_vec_pretty(&gathered).map_err(|problem| problem.to_string())?;
        bytes.push(b'\n');
        tools.artifacts.keep_bytes(&bytes).map_err(|problem| format!("it cannot be kept: {problem}"))?;
        Ok(Some(bytes))
    }

    /// The agent's token of the vault, if it is to have one.
    fn credential(&self, spec: &AgentSpec, pipeline: &Pipeline) -> Result<Option<Held>, Vec<Outcome>> {
        let tools = &self.tools;
        let names_secrets =
            matches!(&pipeline.stage(spec.stage).work, Work::Agent(work) if !work.secrets.is_empty());
        if !tools.vault.is_for(names_secrets) {
            return Ok(None);
        }
        let issued = tools.vault.credential_for(&self.driver, spec.run, spec.agent, spec.tier);
        let held = tools.runtime.block_on(issued);
        held.map(Some).map_err(|failure| vec![failed(Phase::Bootstrap, failure.code(), &failure.reason())])
    }

    fn open_log(&self, spec: &AgentSpec, token: &str) -> io::Result<Log> {
        let folder = self.tools.home.logs().join(spec.run.to_string());
        make_folder(&folder).map_err(io::Error::other)?;
        Log::create(folder.join(log_name(&spec.name, spec.attempt)), token.to_owned())
    }

    fn listen(&self, live: &Arc<Live>, token_hash: Digest, held: Option<Held>) -> io::Result<()> {
        let tools = &self.tools;
        let listener = live.cage.listener().try_clone()?;
        listener.set_nonblocking(true)?;
        let thread = tools.doors.next();
        let _inside = thread.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let driver = self.driver.answering_into(&thread.letterbox);
        let door = Door::new(live, token_hash, held, driver, tools);
        // It ends with its agent, by being aborted.
        let task = thread.runtime.spawn(listener::serve(listener, Arc::new(door)));
        *live.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(())
    }
}

/// Kills everything in a cage; true when that is proven.
fn is_put_away(cage: &Cage) -> bool {
    cage.kill_now();
    prove_dead(cage.tree(), CLOSE_DEADLINE).is_ok()
}

/// An agent's token: derived, so that issuing it twice issues the same one, and hashed twice with the secret in front,
/// so that nobody can go on from a hash they have seen.
fn token(secret: &[u8], spec: &AgentSpec) -> String {
    let inner = Digest::of_parts(&[secret, b"agent-token", &spec.agent.bits().to_be_bytes()]);
    format!("ept_{}", Digest::of_parts(&[secret, inner.as_bytes()]).hex())
}
