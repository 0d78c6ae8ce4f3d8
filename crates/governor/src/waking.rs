//! What wakes the governor without anybody asking: a boot, and time.

use eparch_domain::{RunId, RunStatus, Span, StageStatus, limits};
use eparch_pipeline::{StageIx, Work};

use crate::agent;
use crate::asking;
use crate::attempt_end::AttemptEnd;
use crate::break_glass;
use crate::clock_doubt;
use crate::credential;
use crate::effect::Effect;
use crate::ending::end_run;
use crate::event::ClockMoved;
use crate::fact::Fact;
use crate::gate;
use crate::governing;
use crate::governor::Turn;
use crate::heartbeat;
use crate::lease;
use crate::lock;
use crate::performance;
use crate::revocation;
use crate::run::end_stage;
use crate::state::Doing;
use crate::stop_all;
use crate::timers::Timer;

/// A holder took the home: whatever was in flight is cut off, and its tree has to be proven dead.
pub(crate) fn booted(turn: &mut Turn<'_>, epoch: u64, agents_at_once: u32, clock_moved: Option<&ClockMoved>) {
    turn.record(Fact::EpochBegan { epoch, agents_at_once });
    let agents: Vec<_> = turn.governor.agents.keys().copied().collect();
    for agent in agents {
        let Some((_, _, attempt)) = turn.governor.attempt(agent) else { continue };
        let (tree, performances) = (attempt.tree.clone(), performance::cages(attempt));
        turn.record(Fact::AttemptCutOff { agent });
        asking::withdraw(turn, agent);
        turn.ask(Effect::Reap { agent, tree, performances });
    }
    lease::restarted(turn);
    credential::restarted(turn);
    clock_doubt::booted(turn, clock_moved);
}

/// Time brought something.
pub(crate) fn timer_fired(turn: &mut Turn<'_>, timer: Timer) {
    // Every timer is cleared by the fact it leads to: it is cleared again when that fact is replayed, and nothing but facts
    // changes state.
    let due = turn.governor.timers.at(timer);
    match timer {
        Timer::Run(run) => {
            let allowed = turn.governor.run(run).map_or(Span::ZERO, |live| live.graph().pipeline.timeout);
            end_run(
                turn,
                run,
                RunStatus::Timeout,
                &format!("the pipeline timeout of {allowed} passed"),
                None,
            );
        }
        Timer::Stage(run, ix) => stage_timed_out(turn, run, ix),
        Timer::Retry(run, ix) => {
            if turn.governor.run(run).is_some_and(|live| matches!(live.stage(ix).doing, Doing::Backoff(_))) {
                turn.record(Fact::BackoffOver { run, stage: ix });
            }
        }
        Timer::Start(agent) => {
            let allowed =
                agent::work_of(turn, agent).map_or(limits::START_TIMEOUT, |work| work.start_timeout);
            agent::end(turn, agent, AttemptEnd::TimedOut { limit: "start".to_owned(), allowed });
        }
        Timer::Execute(agent) => {
            let allowed = agent::work_of(turn, agent)
                .map_or(Span::ZERO, |work| work.attempt_timeout.unwrap_or(work.timeout));
            agent::end(turn, agent, AttemptEnd::TimedOut { limit: "attempt".to_owned(), allowed });
        }
        Timer::Idle(agent) => {
            let allowed = agent::work_of(turn, agent).and_then(|work| work.idle_timeout).unwrap_or_default();
            revocation::made_no_progress(turn, agent, allowed);
        }
        Timer::Heartbeat(agent) => heartbeat::missed(turn, agent),
        Timer::Gone(agent) => agent::lingers(turn, agent),
        Timer::Lease(run) => lease::renew(turn, run),
        Timer::Token(agent) => lease::renew_token(turn, agent),
        Timer::Lock(agent) => lock::renew(turn, agent),
        Timer::Clock => clock_doubt::look(turn),
        Timer::Gate(gate) => gate::timed_out(turn, gate),
        Timer::Stopping => stop_all::go_on(turn),
        Timer::Ending => credential::go_on(turn),
        Timer::BreakGlass(grant) => break_glass::timed_out(turn, grant),
        Timer::Policies => governing::look(turn),
    }
    // One that still stands belongs to nothing. It would fire for ever, and nothing would begin any more: it is let go.
    if turn.governor.timers.at(timer) == due {
        turn.governor.timers.clear(timer);
    }
}

/// A stage has taken too long, all attempts together: it is not tried again.
fn stage_timed_out(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let allowed = match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => work.timeout,
        _ => Span::ZERO,
    };
    turn.record(Fact::StageExpired { run, stage: ix });
    let Some(live) = turn.governor.run(run) else { return };
    let end = AttemptEnd::TimedOut { limit: "stage".to_owned(), allowed };
    match &live.stage(ix).doing {
        Doing::Attempt(attempt) => {
            let agent = attempt.agent;
            agent::end(turn, agent, end);
        }
        Doing::Locks(waiting) => {
            let reason = format!("{}, {}", end.reason(), waiting.wait);
            end_stage(turn, run, ix, StageStatus::TimedOut, &reason)
        }
        Doing::Queued(_) | Doing::Backoff(_) => {
            end_stage(turn, run, ix, StageStatus::TimedOut, &end.reason())
        }
        // While people are asked nothing of the stage can run, and its time stands still.
        Doing::Gate(_) | Doing::Nothing => {}
    }
}

#[cfg(test)]
mod tests {
    use eparch_domain::{GateId, LedgerTime, Moment};

    use super::*;
    use crate::event::Event;
    use crate::governor::Governor;

    #[test]
    fn a_timer_that_belongs_to_nothing_fires_once() {
        let mut governor = Governor::new();
        let at = |millis| LedgerTime::from_millis(millis);
        governor.timers.set(Timer::Gate(GateId::from_bits(1)), at(1));
        governor.timers.set(Timer::Retry(RunId::from_bits(1), StageIx(0)), at(2));
        governor.timers.set(Timer::Gate(GateId::from_bits(2)), at(9));
        let now = Moment { ledger: at(5), ..Moment::default() };
        assert!(governor.handle(&Event::ClockTurned, now).facts.is_empty());
        assert_eq!(governor.next_deadline().map(|deadline| deadline.at), Some(at(9)), "what is due is over");
    }
}
