//! Running an agent's programs.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, Scope};

use eparch_domain::{AgentId, Digest, Phase, Span, in_full, limits};
use eparch_governor::{AgentSpec, Ended, Event, Outcome, Signal, Usage};
use eparch_ledger::EffectRef;
use eparch_sandbox::{Cause, Exit, Program};

use super::progress::Progress;
use super::{Job, failed, never_ran};
use crate::agents::live::{CLOSE_DEADLINE, Executed, Live};
use crate::agents::prepare;

/// What came of a program.
pub(super) struct Ran {
    pub(super) how: Ended,
    /// It was ended by a timeout of its own.
    pub(super) too_long: bool,
    pub(super) leftovers: u32,
    pub(super) usage: Usage,
}

impl Job {
    pub(super) fn execute(&self, at: Option<EffectRef>, agent: AgentId, plan: Digest) {
        let Some(live) = self.tools.agents.get(agent) else {
            return self.advanced(at, agent, vec![failed(Phase::Execute, "EP0246", "its sandbox is gone")]);
        };
        let outcome = if live.is_doomed() {
            execution(never_ran())
        } else if let Some(problem) = departure(&live.spec, plan) {
            failed(Phase::Execute, "EP0251", &problem)
        } else {
            let program = prepare::agents_program(&live.spec.command, &live.env);
            let ran = self.run_program(&live, &program, live.spec.idle_timeout);
            // What is performed for a program ends with it, and is told of before its end is.
            live.performances.finish(CLOSE_DEADLINE);
            match ran {
                Ok(ran) => {
                    let executed = self.collect(&live, ran);
                    *live.executed.lock().unwrap_or_else(PoisonError::into_inner) = Some(executed.clone());
                    execution(executed)
                }
                Err(reason) => failed(Phase::Execute, "EP0247", &reason),
            }
        };
        self.advanced(at, agent, vec![outcome]);
    }

    /// Runs a program to its end; everything it started is dead when this returns. With an `idle` time, its progress is
    /// told to the governor, which counts that time.
    pub(super) fn run_program(
        &self,
        live: &Arc<Live>,
        program: &Program,
        idle: Option<Span>,
    ) -> Result<Ran, String> {
        let tools = &self.tools;
        let begun = tools.clock.now();
        let mut running = live.cage.start(program).map_err(|problem| in_full(&problem))?;
        if live.is_doomed() {
            // It was ended between looking and starting.
            running.stop(limits::KILL_GRACE);
        }
        let streams = [("stdout", running.take_stdout()), ("stderr", running.take_stderr())];
        let now = || tools.clock.now().ledger;
        let tell = || {
            let event = Event::AgentSignalled { agent: live.spec.agent, signal: Signal::Progress };
            self.driver.submit(event.into(), |_| {});
        };
        let progress = idle.map(|idle| Progress::new(idle, &now, &tell));
        let (followed, ended) = std::thread::scope(|scope| {
            let progress = progress.as_ref();
            let mut followed = Ok(());
            for (name, stream) in streams {
                let Some(stream) = stream else { continue };
                let follow = move || self.follow(live, name, stream, progress);
                followed = followed.and_then(|()| begin(scope, follow));
            }
            if let Some(progress) = progress {
                let watch = move || progress.watch(|| live.cage.cpu().ok());
                followed = followed.and_then(|()| begin(scope, watch));
            }
            if followed.is_err() {
                // Nobody would know what it says, or that it hangs.
                running.stop(limits::KILL_GRACE);
            }
            let ended = running.wait();
            progress.inspect(|progress| progress.end());
            (followed, ended)
        });
        let ended = ended.map_err(|problem| in_full(&problem))?;
        followed.map_err(|problem| format!("no thread to follow it: {problem}"))?;
        let (lines, lines_dropped) = live.log.counts();
        let usage = Usage {
            cpu_ms: ended.cpu.millis(),
            max_rss_bytes: ended.max_rss_bytes,
            lines,
            lines_dropped,
            wall_ms: tools.clock.now().ledger.since(begun.ledger).millis(),
            out_of_memory: ended.out_of_memory,
            breaches: ended.breaches,
        };
        let how = match (ended.cause, ended.exit) {
            (Cause::Stopped | Cause::Timeout, _) => Ended::Killed,
            (Cause::Itself, Exit::Code(code)) => Ended::Code { code },
            (Cause::Itself, Exit::Signal(signal)) => Ended::Signal { signal },
        };
        let too_long = ended.cause == Cause::Timeout;
        Ok(Ran { how, too_long, leftovers: ended.leftovers, usage })
    }

    fn follow(&self, live: &Arc<Live>, name: &str, stream: impl io::Read, progress: Option<&Progress<'_>>) {
        let tools = &self.tools;
        let watch = |line: &crate::agents::capture::LogLine| tools.broadcast.log(&live.spec, line);
        // A line is progress (2.C rule 3), whether it is kept or not.
        let moved = || {
            progress.inspect(|progress| progress.moved());
        };
        live.log.follow(name, stream, &|| tools.clock.now().wall, &watch, &moved);
    }
}

/// Begins a thread of a scope, where the system still gives one: agents may have taken what there is.
pub(super) fn begin<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() + Send + 'scope,
) -> io::Result<()> {
    Builder::new().spawn_scoped(scope, work).map(drop)
}

/// How what is about to be let go departs from the plan that was settled; what was not planned is not done (R007).
fn departure(spec: &AgentSpec, settled: Digest) -> Option<String> {
    let found = Digest::of(&prepare::plan_document(spec));
    (found != settled).then(|| {
        format!("what would be executed is not what was planned: the plan is {settled}, this is {found}")
    })
}

fn execution(executed: Executed) -> Outcome {
    Outcome::Execute {
        ended: executed.ended,
        outputs: executed.outputs,
        artifacts: executed.artifacts,
        leftovers: executed.leftovers,
        usage: executed.usage,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use eparch_domain::{RunId, Span, Tier};
    use eparch_pipeline::{SandboxMode, StageIx};

    use super::*;

    fn spec() -> AgentSpec {
        AgentSpec {
            agent: AgentId::from_bits(1),
            run: RunId::from_bits(1),
            pipeline: Digest::of(b"pipeline"),
            plan: Digest::of(b"pipeline and inputs"),
            stage: StageIx(0),
            name: "build".parse().unwrap(),
            attempt: 1,
            follows: None,
            tier: Tier::T1,
            objective: None,
            command: vec!["make".to_owned(), "all".to_owned()],
            env: BTreeMap::new(),
            read: vec!["src".to_owned()],
            write: Vec::new(),
            actions: Vec::new(),
            locks: BTreeMap::new(),
            verify: vec![vec!["make".to_owned(), "check".to_owned()]],
            artifacts: Vec::new(),
            inputs_from: BTreeMap::new(),
            inputs: BTreeMap::new(),
            root: "/project".to_owned(),
            sandbox: SandboxMode::Required,
            timeout: Span::from_secs(1),
            idle_timeout: None,
            looks_at: None,
        }
    }

    #[test]
    fn r007_what_was_not_planned_is_not_let_go() {
        let settled = Digest::of(&prepare::plan_document(&spec()));
        assert_eq!(departure(&spec(), settled), None);
        let others: [fn(&mut AgentSpec); 7] = [
            |spec| spec.command.push("install".to_owned()),
            |spec| spec.command[0] = "rm".to_owned(),
            |spec| spec.verify.clear(),
            |spec| spec.write.push("/etc".to_owned()),
            |spec| spec.read.push("/".to_owned()),
            |spec| spec.actions.push("ansible_run prod-*".to_owned()),
            |spec| spec.tier = Tier::T3,
        ];
        for (at, change) in others.into_iter().enumerate() {
            let mut other = spec();
            change(&mut other);
            assert!(departure(&other, settled).is_some(), "change {at} is let go");
        }
        assert!(departure(&spec(), Digest::of(b"another plan")).is_some());
    }
}
