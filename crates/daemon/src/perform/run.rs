//! Running an agent's program, and collecting what it left.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{AgentId, Artifact, Phase, limits};
use eparch_governor::{Ended, Event, Outcome, Signal, Usage};
use eparch_ledger::EffectRef;
use eparch_sandbox::{Cause, Exit};

use super::{Job, failed, never_ran};
use crate::agents::live::{Executed, Live};
use crate::agents::spec::{ARTIFACTS_FOLDER, OUTPUT_FILE};
use crate::agents::{outputs, prepare};

impl Job {
    pub(super) fn execute(&self, at: Option<EffectRef>, agent: AgentId) {
        let Some(live) = self.tools.agents.get(agent) else {
            return self.advanced(at, agent, vec![failed(Phase::Execute, "EP0246", "its sandbox is gone")]);
        };
        let outcome = if live.is_doomed() {
            execution(never_ran())
        } else {
            match self.run_program(&live, &live.spec.command) {
                Ok((ended, leftovers, usage)) => {
                    let executed = self.collect(&live, ended, leftovers, usage);
                    *live.executed.lock().unwrap_or_else(PoisonError::into_inner) = Some(executed.clone());
                    execution(executed)
                }
                Err(reason) => failed(Phase::Execute, "EP0247", &reason),
            }
        };
        self.advanced(at, agent, vec![outcome]);
    }

    /// Runs a program to its end; everything it started is dead when this returns.
    pub(super) fn run_program(
        &self,
        live: &Arc<Live>,
        command: &[String],
    ) -> Result<(Ended, u32, Usage), String> {
        let begun = self.tools.clock.now();
        let mut running = live
            .cage
            .start(&prepare::program(command, &live.env))
            .map_err(|problem| prepare::in_full(&problem))?;
        if live.is_doomed() {
            // It was ended between looking and starting.
            running.stop(limits::KILL_GRACE);
        }
        let streams = [("stdout", running.take_stdout()), ("stderr", running.take_stderr())];
        let ended = std::thread::scope(|scope| {
            for (name, stream) in streams {
                let Some(stream) = stream else { continue };
                scope.spawn(move || self.follow(live, name, stream));
            }
            running.wait()
        });
        let ended = ended.map_err(|problem| prepare::in_full(&problem))?;
        let (lines, lines_dropped) = live.log.counts();
        let usage = Usage {
            cpu_ms: ended.cpu.millis(),
            max_rss_bytes: ended.max_rss_bytes,
            lines,
            lines_dropped,
            wall_ms: self.tools.clock.now().ledger.since(begun.ledger).millis(),
        };
        let how = match (ended.cause, ended.exit) {
            (Cause::Stopped | Cause::Timeout, _) => Ended::Killed,
            (Cause::Itself, Exit::Code(code)) => Ended::Code { code },
            (Cause::Itself, Exit::Signal(signal)) => Ended::Signal { signal },
        };
        Ok((how, ended.leftovers, usage))
    }

    fn follow(&self, live: &Arc<Live>, name: &str, stream: impl io::Read) {
        let tools = &self.tools;
        let told = Mutex::new(None);
        live.log.follow(name, stream, &|| tools.clock.now().wall, &|line| {
            tools.broadcast.log(&live.spec, line);
            // A line is progress (2.C rule 3); a quarter of the time allowed is soon enough to say so.
            if let Some(idle) = live.spec.idle_timeout {
                let now = tools.clock.now().ledger;
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.is_none_or(|at| now.since(at).millis() * 4 >= idle.millis()) {
                    *told = Some(now);
                    let event = Event::AgentSignalled { agent: live.spec.agent, signal: Signal::Progress };
                    self.driver.submit(event.into(), |_| {});
                }
            }
        });
    }

    /// Collects what an ended program left: outputs and artifacts, durable before they are named.
    fn collect(&self, live: &Live, ended: Ended, leftovers: u32, usage: Usage) -> Executed {
        let workspace = live.cage.workspace();
        let mut missing = Vec::new();
        let text = match workspace.read_file(OUTPUT_FILE, limits::OUTPUT_FILE_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(problem) => {
                missing.push(format!("outputs: {}", prepare::in_full(&problem)));
                String::new()
            }
        };
        let (values, problems) = outputs::parse(&text);
        let values = values.into_iter().map(|(name, value)| (name, live.log.hide(value))).collect();
        missing.extend(problems);
        let mut artifacts = Vec::new();
        let mut keep = |path: &str, file: &str| match self.keep(live, path, file) {
            Ok(artifact) => artifacts.push(artifact),
            Err(problem) => missing.push(problem),
        };
        for path in &live.spec.artifacts {
            keep(path, path);
        }
        match workspace.list(ARTIFACTS_FOLDER, limits::STAGE_ARTIFACTS) {
            Ok(found) => {
                for entry in found {
                    let file = entry.path.display().to_string();
                    let path = file
                        .strip_prefix(ARTIFACTS_FOLDER)
                        .unwrap_or(&file)
                        .trim_start_matches('/')
                        .to_owned();
                    keep(&path, &file);
                }
            }
            Err(problem) => missing.push(format!("artifacts: {}", prepare::in_full(&problem))),
        }
        Executed { ended, outputs: values, artifacts, missing, usage, leftovers, verified: Vec::new() }
    }

    fn keep(&self, live: &Live, path: &str, file: &str) -> Result<Artifact, String> {
        let mut content = live
            .cage
            .workspace()
            .open_file(file)
            .map_err(|problem| format!("{path}: {}", prepare::in_full(&problem)))?;
        let kept = self
            .tools
            .artifacts
            .keep(&mut content, limits::ARTIFACT_BYTES)
            .map_err(|problem| format!("{path}: {problem}"))?;
        let grade = Phase::Execute.grade().expect("EXECUTE puts something out");
        Ok(Artifact { path: path.to_owned(), digest: kept.digest, size: kept.size, grade })
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
