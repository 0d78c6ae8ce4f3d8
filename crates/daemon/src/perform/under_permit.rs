//! Performing a command under a permit, in a second cage.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{PermitId, Span, in_full, limits};
use eparch_governor::{Answer, Event, Performance, PerformanceEnd};
use eparch_ledger::EffectRef;
use eparch_sandbox::{Cage, Cause, Exit, Program};

use super::run::begin;
use super::{Job, until_done};
use crate::agents::live::{CLOSE_DEADLINE, Live, prove_dead};
use crate::agents::performances::Told;
use crate::agents::reach::Made;
use crate::agents::{prepare, reach};

/// What is for the agent's program alone: what it says with them it says as the agent.
const THE_AGENTS_OWN: [&str; 6] =
    ["EPARCH_URL", "EPARCH_TOKEN", "EPARCH_OUTPUT", "EPARCH_ARTIFACTS", "EPARCH_INPUTS", "EPARCH_PACKET"];

impl Job {
    /// Performs a command, and says how it ended once nothing of it lives.
    pub(super) fn perform(&self, at: Option<EffectRef>, performance: &Performance) {
        let permit = performance.permit;
        let begun = self.tools.agents.get(performance.agent).filter(|live| live.performances.begin(permit));
        let Some(live) = begun else {
            let told = told(never("EP0638", "its agent is ending"));
            let live = self.tools.agents.get(performance.agent);
            return self.is_over_now(at, live.as_deref(), performance, told);
        };
        let (mut opened, mut made) = (None, None);
        let told = match self.try_to_perform(&live, performance, &mut opened, &mut made) {
            Ok(told) => told,
            Err(end) => told(end),
        };
        // Nothing of a command that never ran is left (G7).
        let left = made.filter(|_| matches!(told.end, PerformanceEnd::NeverRan { .. }));
        let Some(cage) = opened else {
            if let Some(made) = &left {
                made.unmake();
            }
            return self.is_over_now(at, Some(&live), performance, told);
        };
        let (job, performance) = (self.clone(), performance.clone());
        until_done(&self.tools.runtime, 0, move || {
            cage.kill_now();
            let dead = prove_dead(cage.tree(), CLOSE_DEADLINE).is_ok();
            if dead {
                if let Some(made) = &left {
                    made.unmake();
                }
                job.is_over_now(at, Some(&live), &performance, told.clone());
            }
            dead
        });
    }

    /// Writes down how it ended, and only then tells whoever waits.
    fn is_over_now(&self, at: Option<EffectRef>, live: Option<&Live>, performance: &Performance, told: Told) {
        let (agent, permit, end) = (performance.agent, performance.permit, told.end.clone());
        self.report(at, Event::PerformanceEnded { agent, permit, end, breaches: told.breaches });
        if let Some(live) = live {
            live.performances.over(permit, told);
        }
    }

    /// Opens the cage, asks whether the command may be let go, and runs it. What was opened has to be put away.
    fn try_to_perform(
        &self,
        live: &Arc<Live>,
        performance: &Performance,
        opened: &mut Option<Arc<Cage>>,
        made: &mut Option<Made>,
    ) -> Result<Told, PerformanceEnd> {
        let tools = &self.tools;
        let ending = || never("EP0638", "its agent is ending");
        // It may be that nothing is to be made for it any more.
        if live.performances.is_closed() || self.is_over() {
            return Err(ending());
        }
        let reached =
            reach::cage(&live.shown, performance).map_err(|problem| never(problem.code, &problem.reason))?;
        *made = reached.made;
        let cage = Cage::open(&reached.cage, &tools.launcher)
            .map_err(|problem| never("EP0635", &in_full(&problem)))?;
        let cage = &*opened.insert(Arc::new(cage));
        if !live.performances.opened(performance.permit, cage) {
            return Err(ending());
        }
        cage.hang_up()
            .map_err(|problem| never("EP0635", &format!("its network cannot be closed: {problem}")))?;
        let mut program = Program::new(performance.command.clone());
        program.env = environment(&live.env);
        cage.resolve(&program).map_err(|problem| never("EP0636", &in_full(&problem)))?;
        let left = self.ask_to_let_go(performance, cage)?;
        if live.performances.is_closed() || self.is_over() {
            return Err(ending());
        }
        if live.performances.must_end(performance.permit) {
            return Err(never("EP0638", "what let it be done was over before it ran"));
        }
        if left == Span::ZERO {
            return Err(never("EP0637", "its time was over before its cage was open"));
        }
        program.timeout = Some(left);
        self.run_under_permit(live, cage, (performance.permit, &program))
    }

    /// Nothing has run yet. What is written down now is what a later holder finds its tree by. How long it may run follows from
    /// when that was written.
    fn ask_to_let_go(&self, performance: &Performance, cage: &Cage) -> Result<Span, PerformanceEnd> {
        let ready = Event::PerformanceReady {
            agent: performance.agent,
            permit: performance.permit,
            tree: serde_json::to_value(cage.tree()).ok(),
            confinement: prepare::record(cage.measures()),
        };
        if self.is_over() {
            return Err(never("EP0638", "its holder is leaving"));
        }
        match self.driver.decide(ready.into()) {
            Ok(done) => match &done.record.decision.answer {
                Answer::Refused(refusal) => Err(never("EP0638", &refusal.to_string())),
                Answer::Taken | Answer::Already { .. } | Answer::Ruled(_) => {
                    Ok(performance.time_left(done.record.at))
                }
            },
            Err(problem) => Err(never("EP0638", &problem.to_string())),
        }
    }

    /// Runs it to its end; everything it started is dead when this returns.
    fn run_under_permit(
        &self,
        live: &Arc<Live>,
        cage: &Arc<Cage>,
        (permit, program): (PermitId, &Program),
    ) -> Result<Told, PerformanceEnd> {
        let mut running = cage.start(program).map_err(|problem| never("EP0636", &in_full(&problem)))?;
        if live.performances.must_end(permit) {
            // It was ended between looking and starting.
            running.stop(limits::KILL_GRACE);
        }
        let (out, err) = (Heard::default(), Heard::default());
        let streams =
            [("act-stdout", running.take_stdout(), &out), ("act-stderr", running.take_stderr(), &err)];
        let (listening, ended) = std::thread::scope(|scope| {
            let mut listening = Ok(());
            for (name, stream, heard) in streams {
                let Some(stream) = stream else { continue };
                let listen = move || self.listen_to(live, name, stream, heard);
                listening = listening.and_then(|()| begin(scope, listen));
            }
            if listening.is_err() {
                running.stop(limits::KILL_GRACE);
            }
            (listening, running.wait())
        });
        let breaches = ended.as_ref().map_or(0, |ended| ended.breaches);
        let end = match ended {
            // It was ended for want of a thread to hear it, and may have done something before.
            Ok(_) if listening.is_err() => PerformanceEnd::Unknown,
            Ok(ended) => match (ended.cause, ended.exit) {
                (Cause::Timeout, _) => PerformanceEnd::TimedOut,
                (Cause::Stopped, _) => PerformanceEnd::Stopped,
                (Cause::Itself, Exit::Code(code)) => PerformanceEnd::Code { code },
                (Cause::Itself, Exit::Signal(signal)) => PerformanceEnd::Signal { signal },
            },
            Err(_) if live.performances.must_end(permit) => PerformanceEnd::Stopped,
            // Its cage was lost while it ran: it may have done anything.
            Err(_) => PerformanceEnd::Unknown,
        };
        let ((stdout, more_out), (stderr, more_err)) = (out.taken(), err.taken());
        Ok(Told { end, breaches, stdout, stderr, cut: more_out || more_err })
    }

    fn listen_to(&self, live: &Arc<Live>, name: &str, stream: impl io::Read, heard: &Heard) {
        let tools = &self.tools;
        let watch = |line: &crate::agents::capture::LogLine| {
            heard.add(&line.line);
            tools.broadcast.log(&live.spec, line);
        };
        live.log.follow(name, stream, &|| tools.clock.now().wall, &watch, &|| {});
    }
}

/// The beginning of what a command prints.
#[derive(Default)]
struct Heard(Mutex<(String, bool)>);

impl Heard {
    fn add(&self, line: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, cut) = &mut *heard;
        // The first line that does not fit is the last: what has holes would look whole.
        *cut |= text.len() + line.len() + 1 > limits::PERFORMANCE_OUTPUT_BYTES;
        if !*cut {
            text.push_str(line);
            text.push('\n');
        }
    }

    fn taken(self) -> (String, bool) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The environment of what is performed: the agent's, without what speaks in its name.
fn environment(agents: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let told = |(name, _): &(&String, &String)| !THE_AGENTS_OWN.contains(&name.as_str());
    agents.iter().filter(told).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn never(code: &str, reason: &str) -> PerformanceEnd {
    PerformanceEnd::NeverRan { code: code.to_owned(), reason: reason.to_owned() }
}

fn told(end: PerformanceEnd) -> Told {
    Told { end, breaches: 0, stdout: String::new(), stderr: String::new(), cut: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_performed_has_nothing_that_speaks_for_the_agent() {
        let names = ["PATH", "EPARCH_RUN", "EPARCH_TOKEN", "EPARCH_URL", "EPARCH_OUTPUT"];
        let agents = names.map(|name| (name.to_owned(), "x".to_owned())).into();
        let left: Vec<_> = environment(&agents).into_keys().collect();
        assert_eq!(left, ["EPARCH_RUN", "PATH"]);
    }

    #[test]
    fn of_what_is_printed_the_beginning_is_told_in_whole_lines() {
        let heard = Heard::default();
        heard.add("first");
        heard.add(&"x".repeat(limits::PERFORMANCE_OUTPUT_BYTES));
        heard.add("third");
        assert_eq!(heard.taken(), ("first\n".to_owned(), true));
    }
}
