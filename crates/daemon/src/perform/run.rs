//! Running an agent's programs.

use std::io;
use std::sync::{Arc, PoisonError};

use eparch_domain::{AgentId, Phase, Span, limits};
use eparch_governor::{Ended, Event, Outcome, Signal, Usage};
use eparch_ledger::EffectRef;
use eparch_sandbox::{Cause, Exit, Program};

use super::progress::Progress;
use super::{Job, failed, never_ran};
use crate::agents::live::{Executed, Live};
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
    pub(super) fn execute(&self, at: Option<EffectRef>, agent: AgentId) {
        let Some(live) = self.tools.agents.get(agent) else {
            return self.advanced(at, agent, vec![failed(Phase::Execute, "EP0246", "its sandbox is gone")]);
        };
        let outcome = if live.is_doomed() {
            execution(never_ran())
        } else {
            let program = prepare::program(&live.spec.command, &live.env);
            match self.run_program(&live, &program, live.spec.idle_timeout) {
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
        let mut running = live.cage.start(program).map_err(|problem| prepare::in_full(&problem))?;
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
        let ended = std::thread::scope(|scope| {
            let progress = progress.as_ref();
            for (name, stream) in streams {
                let Some(stream) = stream else { continue };
                scope.spawn(move || self.follow(live, name, stream, progress));
            }
            if let Some(progress) = progress {
                scope.spawn(move || progress.watch(|| live.cage.cpu().ok()));
            }
            let ended = running.wait();
            progress.inspect(|progress| progress.end());
            ended
        });
        let ended = ended.map_err(|problem| prepare::in_full(&problem))?;
        let (lines, lines_dropped) = live.log.counts();
        let usage = Usage {
            cpu_ms: ended.cpu.millis(),
            max_rss_bytes: ended.max_rss_bytes,
            lines,
            lines_dropped,
            wall_ms: tools.clock.now().ledger.since(begun.ledger).millis(),
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

fn execution(executed: Executed) -> Outcome {
    Outcome::Execute {
        ended: executed.ended,
        outputs: executed.outputs,
        artifacts: executed.artifacts,
        leftovers: executed.leftovers,
        usage: executed.usage,
    }
}
