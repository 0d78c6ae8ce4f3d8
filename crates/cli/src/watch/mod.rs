//! Watching a run to its end: a live tree on a terminal, lines in a pipe, JSON lines for programs. It outlives holders:
//! when one goes away, another is started and told where to go on.

mod confinement;
mod gate;
mod interrupts;
mod lines;
mod model;
mod summary;
mod tree;
mod watched;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use eparch_daemon::wire::{Decided, StopRun};
use eparch_daemon::{CallError, END, Lines, LiveEvent};
use eparch_domain::{GateId, Name, RunId, Timestamp};
use eparch_governor::GatePurpose;
use eparch_ledger::views::RunDetail;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::context::{Context, json_line};
use crate::failure::{Failure, exit};
use crate::holder::{Desk, Setbacks};
use crate::output::{errln, outln};
pub(crate) use confinement::print as print_confinement;
use gate::{Conversation, Step};
pub(crate) use gate::{can_ask, describe as describe_gate, give as give_answer, says_yes};
pub(crate) use interrupts::Interrupts;
pub(crate) use lines::speaker;
pub(crate) use model::in_full_words;
use model::{Model, News};
pub(crate) use summary::{size as file_size, stages as stages_table};
use tree::Tree;
pub(crate) use watched::print as print_watched;

/// How often the tree is drawn anew: often enough for a spinner.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// From where a run is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    /// From the entry it began with.
    Start(u64),
    /// From now on.
    Now,
}

/// Watches a run to its end; returns its exit code. When it can be watched no longer, that says nothing of the run itself.
pub(crate) async fn watch(
    context: &Context,
    desk: &Desk<'_>,
    run: RunId,
    from: From,
    approver: Option<&Name>,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let ended = watch_to_end(context, desk, run, from, approver, interrupts).await;
    ended.map_err(|failure| {
        failure.detail(format!("the run itself may go on: `eparch runs resume {run}` watches it"))
    })
}

async fn watch_to_end(
    context: &Context,
    desk: &Desk<'_>,
    run: RunId,
    from: From,
    approver: Option<&Name>,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    interrupts.are_about(run);
    let (since, first) = match from {
        From::Start(seq) if seq > 0 => (seq - 1, Some(seq)),
        _ => (desk.ready().await?.seq, None),
    };
    // The stream comes before anything else, so that no line is missed.
    let mut place = Place { run, since, at_last: 0 };
    let (mut setbacks, again) = (Setbacks::default(), format!("eparch runs resume {run}"));
    let told = Cell::new(false);
    // The run is there, whatever its ledger does meanwhile: that must not be told as if there were none.
    let look = async || {
        let seen = async { Ok((desk.stream(&place.path()).await?, detail_of(desk, run).await?)) }.await;
        let refused = seen.as_ref().err();
        if refused.is_some_and(Setbacks::may_pass) && !told.replace(true) {
            context.say(PAUSED);
        }
        seen
    };
    let seen = tokio::select! {
        seen = setbacks.reopen(&again, look) => Some(seen?),
        () = interrupts.first() => None,
    };
    let interrupted = seen.is_none();
    let (mut stream, detail) = match seen {
        Some(seen) => seen,
        None => {
            context.say(STOPPING);
            stop(desk, run, interrupts).await?;
            look().await?
        }
    };
    let mut watcher = Watcher {
        context,
        desk,
        model: Model::of(&detail, first.is_some()),
        screen: Screen::of(context),
        approver: approver.filter(|_| gate::can_ask()),
        asking: VecDeque::new(),
        conversation: None,
        typed: None,
        interrupted,
    };
    watcher.begin();
    while !watcher.model.has_ended() {
        let broken_off = match watcher.follow(&mut stream, &mut place, interrupts).await {
            Ok(Over::Ended) => continue,
            Ok(Over::Paused) => {
                watcher.aside(PAUSED);
                setbacks.pause();
                Ok(())
            }
            Ok(Over::HolderGone) => {
                let told = setbacks.death(&again);
                if told.is_ok() {
                    watcher.aside("The holder went away; another one takes its place.");
                }
                told
            }
            Err(failure) => Err(failure),
        };
        let reopened = match broken_off {
            Ok(()) => {
                let path = place.path();
                tokio::select! {
                    opened = setbacks.reopen(&again, async || desk.stream(&path).await) => opened,
                    // Nobody has to wait for a ledger to leave.
                    () = interrupts.first() => match watcher.interrupt(interrupts).await {
                        Ok(()) => desk.stream(&path).await,
                        Err(refused) => Err(refused),
                    },
                }
            }
            Err(failure) => Err(failure),
        };
        stream = reopened.inspect_err(|_| watcher.screen.erase())?;
    }
    watcher.screen.erase();
    let detail = setbacks.reopen(&again, async || detail_of(desk, run).await).await?;
    Ok(watcher.finish(&detail, first, place.since))
}

async fn detail_of(desk: &Desk<'_>, run: RunId) -> Result<RunDetail, Failure> {
    desk.get(&format!("/api/runs/{run}")).await
}

/// How far the events have been heard.
#[derive(Debug)]
struct Place {
    run: RunId,
    /// The last entry that was heard of.
    since: u64,
    /// How many of its events were heard; one entry makes several.
    at_last: usize,
}

impl Place {
    /// Where to go on: with the last entry again when a part of it was heard, since its other part may not have been.
    fn path(&self) -> String {
        let since = if self.at_last > 0 { self.since - 1 } else { self.since };
        format!("/api/events?pipeline_id={}&since={since}", self.run)
    }

    /// Whether an event is new; `heard` counts those of the last entry that this stream has sent again.
    fn is_new(&mut self, event: &LiveEvent, heard: &mut usize) -> bool {
        if event.kind == "log" {
            return true;
        }
        if event.seq < self.since {
            return false;
        }
        if event.seq > self.since {
            self.since = event.seq;
            self.at_last = 1;
            *heard = 1;
            return true;
        }
        *heard += 1;
        let new = *heard > self.at_last;
        self.at_last = self.at_last.max(*heard);
        new
    }
}

/// Why a stream was left.
enum Over {
    Ended,
    /// The holder ended the stream, since its ledger could not be written, and goes on itself.
    Paused,
    HolderGone,
}

/// What is said of a stream that its holder ended.
pub(crate) const PAUSED: &str = "The ledger could not be written for a moment; the holder goes on.";

/// What is said at the first Ctrl-C.
const STOPPING: &str = "\nStopping the run; Ctrl-C again leaves.";

/// Takes in why a holder that goes on ended a stream; an error when asking again would not help.
pub(crate) fn take_end(event: &LiveEvent) -> Result<(), Failure> {
    let text = |key: &str| event.data.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    match text("reason") {
        "unreadable" => Err(Failure::new("EP0719", format!("the ledger cannot be read: {}", text("detail")))
            .hint("`eparch ledger verify` says what is wrong, and where")),
        _ => Ok(()),
    }
}

/// Where progress is shown.
enum Screen {
    Json,
    Quiet,
    Lines { verbose: bool },
    Tree(Tree),
}

impl Screen {
    fn of(context: &Context) -> Screen {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if context.is_json() {
            Screen::Json
        } else if context.is_quiet() {
            Screen::Quiet
        } else if stderr().is_terminal() && !dumb && !context.is_verbose() && tree::has_room() {
            Screen::Tree(Tree::default())
        } else {
            Screen::Lines { verbose: context.is_verbose() }
        }
    }

    fn erase(&mut self) {
        if let Screen::Tree(tree) = self {
            tree.erase();
        }
    }
}

struct Watcher<'w> {
    context: &'w Context,
    desk: &'w Desk<'w>,
    model: Model,
    screen: Screen,
    /// Who answers gates here.
    approver: Option<&'w Name>,
    /// Gates that are still to be asked about.
    asking: VecDeque<GateId>,
    conversation: Option<Conversation>,
    typed: Option<UnboundedReceiver<String>>,
    interrupted: bool,
}

impl Watcher<'_> {
    /// Gates that wait already are asked about, and told of in lines.
    fn begin(&mut self) {
        let waiting: Vec<GateId> = self.model.gates.keys().copied().collect();
        for gate in waiting {
            self.tell(&News::GateOpened { gate }, crate::when::now());
            self.asking.push_back(gate);
        }
        if let Screen::Lines { .. } = self.screen {
            errln!("{} {} at {} at most", self.model.name, self.model.run, self.model.tier);
        }
    }

    /// Follows one stream until it or the run ends.
    async fn follow(
        &mut self,
        stream: &mut Lines,
        place: &mut Place,
        interrupts: &Interrupts,
    ) -> Result<Over, Failure> {
        let mut draw = tokio::time::interval(DRAW_EVERY);
        draw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut heard = 0;
        while !self.model.has_ended() {
            self.converse().await?;
            tokio::select! {
                event = stream.next::<LiveEvent>() => match event {
                    Ok(Some(event)) if event.kind == END => {
                        return take_end(&event).map(|()| Over::Paused);
                    }
                    Ok(Some(event)) => {
                        if place.is_new(&event, &mut heard) {
                            self.hear(&event);
                        }
                    }
                    Ok(None) | Err(CallError::Lost(_) | CallError::Absent(_)) => return Ok(Over::HolderGone),
                    Err(problem) => return Err(problem.into()),
                },
                _ = draw.tick() => self.draw(),
                () = interrupts.first() => self.interrupt(interrupts).await?,
                line = next_line(&mut self.typed), if self.conversation.is_some() => self.typed_line(line).await,
            }
        }
        Ok(Over::Ended)
    }

    fn hear(&mut self, event: &LiveEvent) {
        let told = |key: &str| event.data.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        // Another run, which looks at this one.
        if event.kind == "run_spawned" && told("parent_id") == self.model.run.to_string() {
            match self.screen {
                Screen::Json => outln!("{}", json_line(event)),
                Screen::Lines { .. } => errln!("{} begins and looks at what went wrong", told("pipeline_id")),
                Screen::Quiet | Screen::Tree(_) => {}
            }
            return;
        }
        // What concerns the whole home: everybody who watches hears of it.
        if event.kind == "alert_raised" && event.data.get("alarm").is_some() {
            match self.screen {
                Screen::Json => outln!("{}", json_line(event)),
                Screen::Lines { .. } => errln!("ALERT {}: `eparch doctor` says what it is", told("severity")),
                Screen::Quiet | Screen::Tree(_) => {}
            }
            return;
        }
        let news = self.model.hear(event);
        if matches!(news, News::None) {
            return;
        }
        if let Screen::Json = self.screen {
            outln!("{}", json_line(event));
        }
        match &news {
            News::GateOpened { gate } => self.asking.push_back(*gate),
            News::GateClosed { gate, outcome, .. }
                if self.conversation.as_ref().is_some_and(|open| open.gate() == *gate) =>
            {
                self.conversation = None;
                errln!("\n{}", gate::closed(*outcome));
            }
            _ => {}
        }
        self.tell(&news, event.ts);
    }

    fn tell(&mut self, news: &News, ts: Timestamp) {
        if let Screen::Lines { verbose } = self.screen
            && self.conversation.is_none()
        {
            lines::say(&self.model, news, ts, verbose);
        }
    }

    fn draw(&mut self) {
        // A question stands on the terminal: nothing is drawn over it.
        if self.conversation.is_none()
            && let Screen::Tree(tree) = &mut self.screen
        {
            tree.draw(&self.model);
        }
    }

    /// Says something between two drawings.
    fn aside(&mut self, text: &str) {
        self.screen.erase();
        self.context.say(text);
    }

    /// Asks about the next gate, when somebody here answers and nothing is being asked.
    async fn converse(&mut self) -> Result<(), Failure> {
        let Some(by) = self.approver else { return Ok(()) };
        if self.conversation.is_some() {
            return Ok(());
        }
        while let Some(gate) = self.asking.pop_front() {
            let open = self.model.gates.get(&gate);
            if open.is_some_and(|open| open.purpose != GatePurpose::Interrupted) {
                self.screen.erase();
                let typed = self.typed.get_or_insert_with(gate::typed_lines);
                self.conversation = Some(Conversation::begin(self.desk, gate, by, typed).await?);
                break;
            }
        }
        Ok(())
    }

    async fn typed_line(&mut self, line: Option<String>) {
        let (Some(by), Some(conversation)) = (self.approver, &mut self.conversation) else { return };
        let Some(line) = line else {
            // Nobody types here any more: others may answer.
            self.conversation = None;
            self.approver = None;
            return;
        };
        if let Step::Over(said) = conversation.hear(&line, self.desk, by).await {
            errln!("{said}\n");
            self.conversation = None;
        }
    }

    /// The first Ctrl-C: asks the run to end and goes on watching.
    async fn interrupt(&mut self, interrupts: &Interrupts) -> Result<(), Failure> {
        self.interrupted = true;
        self.conversation = None;
        self.aside(STOPPING);
        stop(self.desk, self.model.run, interrupts).await
    }

    /// Tells how it ended.
    fn finish(&mut self, detail: &RunDetail, first: Option<u64>, last: u64) -> u8 {
        let code = detail.summary.status.exit_code().unwrap_or(exit::FAILED);
        let code = if self.interrupted { exit::INTERRUPTED } else { code };
        match &self.screen {
            Screen::Json => {
                let result = summary::to_json(detail, code, self.interrupted, (first, last));
                outln!("{}", json_line(&result));
            }
            Screen::Lines { .. } => summary::print(detail, None, self.desk, (first, last)),
            Screen::Quiet | Screen::Tree(_) => {
                summary::print(detail, Some(&self.model), self.desk, (first, last))
            }
        }
        code
    }
}

/// Asks a run to end because of a Ctrl-C.
pub(crate) async fn stop(desk: &Desk<'_>, run: RunId, interrupts: &Interrupts) -> Result<(), Failure> {
    let body = StopRun { reason: "interrupted at the terminal".to_owned() };
    match desk.post_again::<Decided<RunDetail>>(&format!("/api/runs/{run}/stop"), &body).await {
        // It ended by itself a moment before.
        Err(refused) if refused.code() != "EP0203" => Err(refused),
        _ => {
            interrupts.have_stopped_it();
            Ok(())
        }
    }
}

async fn next_line(typed: &mut Option<UnboundedReceiver<String>>) -> Option<String> {
    match typed {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> LiveEvent {
        LiveEvent { seq, ts: Timestamp::default(), kind: "x".to_owned(), data: serde_json::Value::Null }
    }

    #[test]
    fn after_a_holder_is_replaced_nothing_is_heard_twice_and_nothing_is_missed() {
        let mut place = Place { run: RunId::from_bits(1), since: 4, at_last: 0 };
        let mut heard = 0;
        assert!(place.path().ends_with("since=4"));
        assert!(place.is_new(&event(5), &mut heard) && place.is_new(&event(5), &mut heard));
        // The stream broke in the middle of entry 5: the next one begins with it again.
        assert!(place.path().ends_with("since=4"));
        let mut heard = 0;
        let new: Vec<bool> = (0..4).map(|_| place.is_new(&event(5), &mut heard)).collect();
        assert_eq!(new, [false, false, true, true]);
        assert!(place.is_new(&event(6), &mut heard));
    }
}
