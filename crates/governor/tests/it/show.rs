//! What whoever holds the governor can read of it: what pages, lists and tables are made of, and no event tells.

use eparch_domain::{AgentId, Moment};
use eparch_governor::{AgentStanding, LockLoss, LockShown, LockUser};

use crate::home::Home;
use crate::words::clock;

/// The lines of it, at a moment.
pub(crate) fn lines(home: &mut Home, now: Moment) -> Vec<String> {
    let governor = &home.governor;
    let mut lines: Vec<String> =
        governor.stopped().map(|stopped| format!("stopped by {}", stopped.by)).into_iter().collect();
    for run in governor.live_run_ids() {
        let granted = governor.granted(run).map_or_else(|| "nothing".to_owned(), |tier| tier.to_string());
        lines.push(format!("{run} granted {granted}{}", lease(home, run, now)));
        let mut agents: Vec<AgentId> =
            governor.live_agents().filter(|(_, of)| *of == run).map(|(agent, _)| agent).collect();
        agents.sort_by_key(|agent| home.names.agents[agent].clone());
        lines.extend(agents.into_iter().map(|id| agent(home, run, id, now)));
        let mut to_end: Vec<&str> = governor.to_end_of(run).map(|credential| &*credential.accessor).collect();
        to_end.sort_unstable();
        lines.extend(to_end.iter().map(|accessor| format!("{accessor} of {run} is to end")));
    }
    if governor.credentials_to_end() > 0 {
        lines.push(format!("{} credentials are to end", governor.credentials_to_end()));
    }
    lines.extend(governor.locks().iter().map(|shown| lock(shown, now)));
    lines
        .extend(governor.break_glasses().map(|glass| format!("{} by {}", glass.asked.grant, glass.asked.by)));
    if let Some((proposed, _)) = governor.policies_waiting() {
        let at_hand = governor.policies_offered().map(|offered| offered.digest());
        assert!(at_hand.is_none_or(|digest| digest == proposed.policies));
        let at_hand = if at_hand.is_some() { ", and is at hand" } else { "" };
        lines.push(format!("{} waits{at_hand}", proposed.policies));
    }
    for (standing, known) in governor.standings() {
        assert_eq!(governor.standing(standing), Some(known));
        let waits = known
            .waiting()
            .map(|(opened, by)| format!(", to be {} if others say so; {} do", opened.to, by.len()));
        lines.push(format!("{standing} at {}{}", known.tier, waits.unwrap_or_default()));
    }
    lines.iter().map(|line| home.names.replace(line)).collect()
}

fn lease(home: &Home, run: eparch_domain::RunId, now: Moment) -> String {
    let Some(held) = home.governor.lease(run) else { return ", without a lease".to_owned() };
    let credential = home.governor.credential(run, None).map(|accessor| format!(", {accessor} behind it"));
    let left = clock(held.left(now).millis());
    format!(
        ", {} has {left} left, renewed {} times{}",
        held.lease,
        held.renewals,
        credential.unwrap_or_default()
    )
}

fn agent(home: &Home, run: eparch_domain::RunId, agent: AgentId, now: Moment) -> String {
    let governor = &home.governor;
    let tier = governor.agent_tier(agent).map_or_else(|| "no tier".to_owned(), |tier| tier.to_string());
    let holds = match governor.agent_standing(agent, now) {
        AgentStanding::Holds => "may act",
        AgentStanding::Expired => "is past its time",
        AgentStanding::Nothing => "may not act",
    };
    let token = governor.token(agent).map(|token| {
        let shown = if governor.token_holders(run).any(|holder| holder == agent) {
            ""
        } else {
            " that it does not hold"
        };
        format!(", token {}{shown} has {} left", token.round, clock(token.left(now).millis()))
    });
    let credential = governor.credential(run, Some(agent)).map(|accessor| format!(", {accessor} behind it"));
    let decided = governor
        .agent_deadline(agent)
        .map(|by| format!(", decided by {} for {}", clock(by.at.millis()), by.why));
    let parts = [token, credential, decided].into_iter().flatten();
    parts.fold(format!("{agent} at {tier} {holds}"), |line, part| line + &part)
}

fn lock(shown: &LockShown, now: Moment) -> String {
    let user = |of: &LockUser| format!("{} stage {}", of.run, of.stage);
    let lost = shown.lost.as_ref().map(|lost: &LockLoss| format!(", lost: {lost}")).unwrap_or_default();
    let waiting: Vec<String> = shown.waiting.iter().map(user).collect();
    let waiting =
        if waiting.is_empty() { String::new() } else { format!(", {} after it", waiting.join(" and ")) };
    let standing = format!("{:?}", shown.standing).to_lowercase();
    let (fence, left) = (shown.fence, clock(shown.left(now).millis()));
    format!(
        "lock {} number {fence} {standing} by {}, of {}, {left} left{lost}{waiting}",
        shown.lock,
        shown.agent,
        user(&shown.of)
    )
}
