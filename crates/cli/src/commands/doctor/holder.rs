//! What the holder says of itself, as far as it is told.

use eparch_daemon::wire::Ready;
use eparch_daemon::{CallError, Client, Home};

use super::{Finding, bad, good, key_of, poor};
use crate::commands::emergencies::{glass_in_words, how_to_end, in_words};
use crate::context::Context;
use crate::holder::{find_mute, mute, other_settings};

/// How the holder is, and what nobody should miss.
pub(super) async fn holder(context: &Context, home: &Home) -> Vec<Finding> {
    let key = key_of(context, home).unwrap_or_default();
    let ready = match Client::new(&home.socket(), key).ready().await {
        Ok(ready) => ready,
        Err(CallError::Absent(_)) => {
            return vec![match find_mute(home).await {
                None => good("holder", "none; one is started when it is needed"),
                Some(by) => bad(
                    "holder",
                    mute(by),
                    "it may hang with its disk, or rebuild its state; when nothing changes, end it with SIGTERM",
                ),
            }];
        }
        Err(problem) => {
            return vec![bad(
                "holder",
                problem.to_string(),
                "HOME/logs/holder.log says why; end it with SIGTERM and another takes its place",
            )];
        }
    };
    let mut found = vec![health(&ready)];
    found.extend(emergencies(&ready));
    let theirs = ready.details.as_ref().and_then(|details| details.settings);
    let ours = context.settings(home.root()).ok().map(|settings| settings.digest());
    if ready.ok && theirs.is_some() && ours.is_some() && theirs != ours {
        found.push(poor("settings in force", other_settings(&ready), ""));
    }
    found.extend(ready.enforced.watched.iter().map(|of| {
        let said = format!(
            "{} would say {} where {} was decided: {} times",
            of.policy, of.would, of.decided, of.times
        );
        good("watched policy", said)
    }));
    let Some(details) = &ready.details else {
        found.push(poor(
            "details",
            "who, why and where are told to operators alone, and no operator's key was shown that this holder knows",
            "name an operator with --as NAME whose key lies in HOME/keys/operators",
        ));
        return found;
    };
    let worth_knowing = [("witness", &details.anchors_behind), ("notice", &details.notices)];
    for (what, all) in worth_knowing {
        found.extend(all.iter().map(|more| poor(what, more, "")));
    }
    found
}

/// That everything is stopped, and what is let pass, as far as it is told.
fn emergencies(ready: &Ready) -> Vec<Finding> {
    let lift = "an admin lifts it with `eparch stop-all --lift --reason TEXT`";
    let Some(details) = &ready.details else {
        let stopped = ready.all_stopped.then(|| bad("stop-all", "everything is stopped", lift));
        let open = format!("open grants of two people: {}", ready.break_glass_open);
        let open = (ready.break_glass_open > 0)
            .then(|| poor("break-glass", open, "`eparch break-glass list` shows them"));
        let behind = format!("folders that do not have what they should: {}", ready.witnesses_behind);
        let behind = (ready.witnesses_behind > 0).then(|| poor("witness", behind, ""));
        return [stopped, open, behind].into_iter().flatten().collect();
    };
    let stopped = details.stopped.iter().map(|stopped| bad("stop-all", in_words(stopped), lift));
    let open =
        details.break_glass.iter().map(|glass| poor("break-glass", glass_in_words(glass), how_to_end(glass)));
    stopped.chain(open).collect()
}

/// How the holder itself is. One that cannot write the ledger, or rebuild its state from it, denies everything.
fn health(ready: &Ready) -> Finding {
    if ready.ok {
        let alive =
            format!("process {}, {} live runs, version {}", ready.pid, ready.live_runs, ready.version);
        return good("holder", alive);
    }
    let why = match &ready.details {
        None => "the ledger cannot be written, or state cannot be rebuilt from it yet",
        Some(details) => {
            details.ledger_failure.as_deref().unwrap_or("state cannot be rebuilt from the ledger yet")
        }
    };
    bad(
        "holder",
        format!("process {} denies everything: {why}", ready.pid),
        "free disk space or repair the disk of the home; it goes on by itself",
    )
}
