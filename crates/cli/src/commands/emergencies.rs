//! When something is very wrong: `stop-all`, `break-glass`.

use eparch_daemon::break_glass_statement;
use eparch_daemon::wire::{
    Answer, AskBreakGlass, BreakGlassShown, Ready, Revoke, StopAll as Asked, StopAllShown, StoppedShown,
};
use eparch_domain::Action;
use eparch_governor::{Allowed, GateDecision, GlassEnd, GlassScope, GlassStands};

use super::approvals::sign;
use super::block_on;
use crate::args::{AnswerGlass, AskGlass, BreakGlass, StopAll};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::table::{Table, plain};
use crate::{paint, when};

/// `eparch stop-all …`.
pub(crate) fn stop_all(context: &Context, asked: StopAll) -> Result<u8, Failure> {
    block_on(async {
        let desk = Desk::open(context)?;
        let path = if asked.lift { "/api/stop-all/lift" } else { "/api/stop-all" };
        let after: StopAllShown = desk.post_again(path, &Asked { reason: asked.reason }).await?;
        if context.is_json() {
            print_json(&after)?;
            return Ok(exit::DONE);
        }
        match &after.stopped {
            None if after.changed => outln!("Things may begin again. What was stopped stays stopped."),
            None => outln!("Nothing was stopped, so there is nothing to lift."),
            Some(stopped) => {
                outln!("{}", paint::out().bad(&in_words(stopped)));
                if !after.changed {
                    outln!("It was stopped already; your reason stands in the record beside theirs.");
                }
                outln!("Nothing has authority, and nothing begins; processes being ended: {}.", after.ending);
                outln!("An admin lifts it: eparch stop-all --lift --reason TEXT");
            }
        }
        Ok(exit::DONE)
    })
}

/// Says beside whatever else is shown what nobody should miss: that everything is stopped, and what is let pass.
pub(super) async fn shout(context: &Context, desk: &Desk<'_>) -> Result<(), Failure> {
    let ready = desk.ready().await?;
    for loud in loud(&ready) {
        context.say(&paint::err().bad(&loud));
    }
    Ok(())
}

/// What nobody should miss, in lines.
fn loud(ready: &Ready) -> Vec<String> {
    let stopped = ready.details.iter().filter_map(|details| details.stopped.as_ref()).map(in_words);
    let glasses = ready.details.iter().flat_map(|details| &details.break_glass).map(glass_in_words);
    stopped.chain(glasses).collect()
}

/// Who stopped everything, when and why.
pub(super) fn in_words(stopped: &StoppedShown) -> String {
    let why = paint::written_out(&stopped.reason);
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    format!("EVERYTHING IS STOPPED by {} at {}{why}", stopped.by, stopped.at)
}

/// How somebody ends it.
pub(super) fn how_to_end(glass: &BreakGlassShown) -> String {
    format!("`eparch break-glass end {} --reason TEXT` ends it", glass.grant)
}

/// What is let pass, in one line.
pub(super) fn glass_in_words(glass: &BreakGlassShown) -> String {
    let ends = glass.ends_at.map_or_else(String::new, |at| format!(", ends {}", when::until(at)));
    format!("{} is open for {}: {}{ends}", glass.grant, whom(&glass.scope), what(&glass.allows))
}

fn whom(scope: &GlassScope) -> String {
    match scope {
        GlassScope::Run { run } => run.to_string(),
        GlassScope::Stage { run, stage } => format!("stage {stage} of {run}"),
        GlassScope::Agent { agent } => agent.to_string(),
        GlassScope::NextRun { of } => format!("the next run of {of}"),
    }
}

fn what(allows: &[Allowed]) -> String {
    let each: Vec<String> = allows
        .iter()
        .map(|allowed| format!("{} {}", allowed.action, paint::written_out(&allowed.target)))
        .collect();
    each.join(", ")
}

/// `eparch break-glass …`.
pub(crate) fn break_glass(context: &Context, command: BreakGlass) -> Result<u8, Failure> {
    block_on(async {
        match command {
            BreakGlass::Request(asked) => ask(context, asked).await?,
            BreakGlass::Approve(asked) => answer(context, &asked, GateDecision::Approve).await?,
            BreakGlass::Deny(asked) => answer(context, &asked, GateDecision::Deny).await?,
            BreakGlass::End { id, reason } => {
                let path = format!("/api/break-glass/{id}/end");
                let after: BreakGlassShown = Desk::open(context)?.post(&path, &Revoke { reason }).await?;
                tell(context, &after)?;
            }
            BreakGlass::List => list(context).await?,
            BreakGlass::Show { id } => {
                let found: BreakGlassShown =
                    Desk::open(context)?.get(&format!("/api/break-glass/{id}")).await?;
                tell(context, &found)?;
            }
        }
        Ok(exit::DONE)
    })
}

async fn ask(context: &Context, asked: AskGlass) -> Result<(), Failure> {
    let scope = match (asked.run, asked.stage, asked.agent, asked.next_run_of) {
        (Some(run), Some(stage), ..) => GlassScope::Stage { run, stage },
        (Some(run), None, ..) => GlassScope::Run { run },
        (None, _, Some(agent), _) => GlassScope::Agent { agent },
        (None, _, None, Some(of)) => GlassScope::NextRun { of },
        (None, _, None, None) => return Err(usage("one of --run, --agent and --next-run-of is needed")),
    };
    let allows = asked.allows.iter().map(|entry| allowed(entry)).collect::<Result<Vec<_>, _>>()?;
    let body = AskBreakGlass { scope, allows, time: asked.time, reason: asked.reason };
    let after: BreakGlassShown = Desk::open(context)?.post("/api/break-glass", &body).await?;
    tell(context, &after)
}

fn allowed(entry: &str) -> Result<Allowed, Failure> {
    let (action, target) =
        entry.split_once(' ').ok_or_else(|| usage(&format!("--allow {entry:?} names no target")))?;
    let action: Action = action.parse().map_err(|_| {
        usage(&format!("there is no action {action:?}")).hint(
            "such as read_file, write_file, execute_command or terraform_apply; docs/emergencies.md has all that can be named",
        )
    })?;
    Ok(Allowed { action, target: target.trim().to_owned() })
}

fn usage(what: &str) -> Failure {
    Failure::new("EP0701", what).hint("for example --allow \"execute_command prod-web-1\"").exit(exit::USAGE)
}

async fn answer(context: &Context, asked: &AnswerGlass, decision: GateDecision) -> Result<(), Failure> {
    // A signed answer proves itself; somebody of this home carries it.
    let desk = if asked.key.is_some() { Desk::for_owner(context)? } else { Desk::open(context)? };
    let grant = asked.id;
    let subject = match asked.digest {
        Some(digest) => digest,
        None => desk.get::<BreakGlassShown>(&format!("/api/break-glass/{grant}")).await?.subject,
    };
    let by = match context.named_operator() {
        Some(name) => name.clone(),
        None => desk.home().owner()?,
    };
    let statement = break_glass_statement(grant, &subject, decision, &by, &asked.rationale);
    let signed = asked.key.as_ref().map(|file| sign(file, &by, &statement)).transpose()?;
    let body = Answer { decision, rationale: asked.rationale.clone(), subject, signed };
    let after: BreakGlassShown = desk.post(&format!("/api/break-glass/{grant}/answer"), &body).await?;
    tell(context, &after)
}

fn tell(context: &Context, glass: &BreakGlassShown) -> Result<(), Failure> {
    if context.is_json() {
        return print_json(glass);
    }
    let paint = paint::out();
    let (grant, by) = (glass.grant, &glass.requested_by);
    match &glass.stands {
        GlassStands::Waiting => outln!("{}", paint.warn(&format!("{grant} waits for a second person"))),
        GlassStands::Open { by: approved_by, separation, .. } => {
            let far = if *separation == eparch_governor::Separation::RemoteKey {
                "remote key"
            } else {
                "same home"
            };
            outln!("{}", paint.bad(&format!("{grant} is open, by {by} and {approved_by} ({far})")));
        }
        GlassStands::Over { because, .. } => outln!("{grant} is over: {}", ended(because)),
    }
    let (lets, used) = match &glass.stands {
        GlassStands::Waiting => ("would allow", None),
        GlassStands::Open { .. } => ("allows", Some(what(&glass.used))),
        GlassStands::Over { .. } => ("was to allow", Some(what(&glass.used))),
    };
    let line = |what: &str, said: &str| outln!("  {what:<12}  {said}");
    line("for", &whom(&glass.scope));
    line(lets, &what(&glass.allows));
    line("asked by", &format!("{by}, {}: {}", when::ago(glass.at), paint::written_out(&glass.reason)));
    match glass.ends_at {
        Some(at) if glass.stands == GlassStands::Waiting => {
            line("open for", &format!("{} from when it is approved", glass.time));
            line("unanswered", &format!("it is over {} ({at})", when::until(at)));
        }
        Some(at) => line("ends", &format!("{} ({at}), after {}", when::until(at), glass.time)),
        None => line("was for", &glass.time.to_string()),
    }
    if let Some(used) = used {
        line("used for", if used.is_empty() { "nothing" } else { &used });
    }
    match &glass.stands {
        GlassStands::Waiting => {
            let digest = &glass.subject;
            outln!("\nAn approver or admin who asked neither for it nor for the run answers it with:");
            outln!("  eparch --as NAME break-glass approve {grant} --digest {digest} --rationale TEXT");
            outln!("  eparch --as NAME break-glass deny {grant} --rationale TEXT");
        }
        GlassStands::Open { .. } => outln!("\nEnd it with:\n  eparch break-glass end {grant} --reason TEXT"),
        GlassStands::Over { .. } => {}
    }
    Ok(())
}

fn ended(because: &GlassEnd) -> String {
    match because {
        GlassEnd::Denied { by, rationale } if rationale.is_empty() => format!("{by} said no"),
        GlassEnd::Denied { by, rationale } => {
            format!("{by} said no: {}", paint::written_out(rationale))
        }
        GlassEnd::NotAnswered => "nobody answered in time".to_owned(),
        GlassEnd::Expired => "its time has come".to_owned(),
        GlassEnd::Ended { by, reason } => format!("{by} ended it: {}", paint::written_out(reason)),
        GlassEnd::PersonLeft { name } => format!("{name} is known here no longer"),
        GlassEnd::ItsRunEnded => "whom it was for has ended".to_owned(),
        GlassEnd::Revoked => "authority was taken away in its run".to_owned(),
        GlassEnd::AllStopped => "everything was stopped".to_owned(),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let mut all: Vec<BreakGlassShown> = Desk::open(context)?.get("/api/break-glass").await?;
    // What matters now first, and of that the latest.
    all.sort_by_key(|glass| {
        let rank = match glass.stands {
            GlassStands::Open { .. } => 0,
            GlassStands::Waiting => 1,
            GlassStands::Over { .. } => 2,
        };
        (rank, std::cmp::Reverse(glass.at))
    });
    if context.is_json() {
        return print_json(&all);
    }
    if all.is_empty() {
        context.say("Nothing is let pass that policy denies, and nobody asks for it.");
        return Ok(());
    }
    let mut table = Table::new(&["GRANT", "STANDS", "FOR", "WHAT", "ASKED BY", "ENDS"]);
    for glass in &all {
        let stands = match &glass.stands {
            GlassStands::Waiting => "waits for an answer".to_owned(),
            GlassStands::Open { by, .. } => format!("open, by {by}"),
            GlassStands::Over { because, .. } => format!("over: {}", ended(because)),
        };
        table.row([
            plain(glass.grant.to_string()),
            plain(stands),
            plain(whom(&glass.scope)),
            plain(what(&glass.allows)),
            plain(glass.requested_by.to_string()),
            plain(glass.ends_at.map(when::until).unwrap_or_default()),
        ]);
    }
    table.print();
    Ok(())
}
