//! Gates: what waits, and answering it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ed25519_dalek::{Signer as _, SigningKey};
use eparch_daemon::gate_statement;
use eparch_daemon::wire::{Answer as WireAnswer, Decided, Signed};
use eparch_domain::{GateId, Name, hex, unhex};
use eparch_governor::GateDecision;
use eparch_ledger::views::{ApprovalView, RunDetail, WatchedView};

use crate::args::{Answer, Approvals, ApprovalsArgs};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::table::{Table, plain};
use crate::{paint, watch, when};

/// `eparch approvals …`.
pub(crate) async fn carry_out(context: &Context, asked: ApprovalsArgs) -> Result<u8, Failure> {
    match asked.command.unwrap_or(Approvals::List(asked.list)) {
        Approvals::List(asked) => list(context, &Desk::open(context)?, asked.all).await,
        Approvals::Show { gate } => show(context, &Desk::open(context)?, gate).await,
        Approvals::Approve(asked) => answer(context, &asked, GateDecision::Approve).await,
        Approvals::Deny(asked) => answer(context, &asked, GateDecision::Deny).await,
    }
}

async fn list(context: &Context, desk: &Desk<'_>, all: bool) -> Result<u8, Failure> {
    let gates: Vec<ApprovalView> = desk.get(&format!("/api/approvals?all={all}")).await?;
    if context.is_json() {
        print_json(&gates)?;
        return Ok(exit::DONE);
    }
    if gates.is_empty() {
        context.say("Nothing waits for an answer.");
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["GATE", "PIPELINE", "STAGE", "APPROVERS", "ASKED BY", "STANDS", "EXPIRES"]);
    for gate in &gates {
        let names: Vec<&str> = gate.approvers.iter().map(Name::as_str).collect();
        let (stands, expires) = match gate.outcome {
            Some(outcome) => (format!("{outcome:?}").to_lowercase(), String::new()),
            None => (format!("{} of {}", gate.votes.len(), gate.quorum), when::until(gate.expires_at)),
        };
        let cells = [
            gate.gate.to_string(),
            gate.pipeline.to_string(),
            match &gate.sought {
                Some(sought) => {
                    let seeks = beginning(&watch::in_full_words(sought));
                    format!("{}: {seeks}{}", gate.stage, watched(&gate.watched))
                }
                None => gate.stage.to_string(),
            },
            names.join(","),
            gate.requester.to_string(),
        ];
        let shown = if gate.outcome.is_none() { paint::out().warn(&stands) } else { stands.clone() };
        table.row(cells.map(plain).into_iter().chain([(stands, shown), plain(expires)]));
    }
    table.print();
    Ok(exit::DONE)
}

/// What watched policies would have said instead, where one would have said something else.
fn watched(words: &[WatchedView]) -> String {
    let would: BTreeSet<&str> =
        words.iter().filter(|word| word.otherwise).map(|word| word.would.as_str()).collect();
    match would.is_empty() {
        true => String::new(),
        false => format!(" (watched: {})", Vec::from_iter(would).join(", ")),
    }
}

/// As much of a text as a table has room for; whoever answers looks at the whole.
fn beginning(text: &str) -> String {
    const MOST: usize = 48;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

async fn show(context: &Context, desk: &Desk<'_>, gate: GateId) -> Result<u8, Failure> {
    let view: ApprovalView = desk.get(&format!("/api/approvals/{gate}")).await?;
    if context.is_json() {
        print_json(&view)?;
        return Ok(exit::DONE);
    }
    let run: RunDetail = desk.get(&format!("/api/runs/{}", view.pipeline_id)).await?;
    outln!("{}", watch::describe_gate(&view, &run, desk, paint::out()).trim());
    for vote in &view.votes {
        outln!(
            "  {:?} by {}, {}: {}",
            vote.decision,
            vote.by,
            when::ago(vote.at),
            paint::written_out(&vote.rationale)
        );
    }
    if view.outcome.is_none() {
        outln!(
            "\nAnswer it with:\n  eparch approvals approve {gate} --digest {} --rationale \"…\" --as NAME",
            view.subject
        );
    }
    Ok(exit::DONE)
}

async fn answer(context: &Context, asked: &Answer, decision: GateDecision) -> Result<u8, Failure> {
    let gate = asked.gate;
    // A signed answer proves itself; somebody of this home carries it.
    let desk = if asked.key.is_some() { Desk::for_owner(context)? } else { Desk::open(context)? };
    let subject = match asked.digest {
        Some(digest) => digest,
        None => match desk.get::<ApprovalView>(&format!("/api/approvals/{gate}")).await {
            Ok(view) => view.subject,
            // What cannot be shown is approved by the digest that somebody was told when it was asked, and not unseen.
            Err(unwell) if unwell.code() == "EP0530" => {
                return Err(unwell.hint(
                    "`--digest` with the subject's digest, as whoever watches the run was told, answers all the same; \
                     `eparch ledger rebuild-views` makes the read models anew from the ledger",
                ));
            }
            Err(problem) => return Err(problem),
        },
    };
    let by = match context.named_operator() {
        Some(name) => name.clone(),
        None => desk.home().owner()?,
    };
    let signed = match &asked.key {
        Some(file) => {
            Some(sign(file, &by, &gate_statement(gate, &subject, decision, &by, &asked.rationale))?)
        }
        None => None,
    };
    let body = WireAnswer { decision, rationale: asked.rationale.clone(), subject, signed };
    let given = watch::give_answer(&desk, gate, &by, &body).await?;
    if context.is_json() {
        print_json(&given)?;
        return Ok(exit::DONE);
    }
    let word = if decision == GateDecision::Approve { "Approved" } else { "Denied" };
    let view = match given {
        Decided::Shown(view) => view,
        Decided::Unseen { read_models, .. } => {
            outln!("{word} {gate} as {by}.");
            context.say_unseen(&read_models);
            return Ok(exit::DONE);
        }
    };
    outln!("{word} {} of {} as {by}.", view.stage, view.pipeline_id);
    if view.outcome.is_none() {
        outln!("It takes {} in all; {} so far.", view.quorum, view.votes.len());
    }
    Ok(exit::DONE)
}

/// Signs a statement as an operator whose key lies in a file.
pub(super) fn sign(file: &Path, by: &Name, statement: &str) -> Result<Signed, Failure> {
    let cannot = |why: &str| {
        Failure::new("EP0710", format!("cannot use the key {}: {why}", file.display()))
            .hint("a key file holds 64 hexadecimal digits, as `eparch operator keygen FILE` writes them")
    };
    let text = fs::read_to_string(file).map_err(|problem| cannot(&problem.to_string()))?;
    let seed: [u8; 32] = unhex(text.trim()).ok_or_else(|| cannot("it is not a key"))?;
    let signature = SigningKey::from_bytes(&seed).sign(statement.as_bytes());
    Ok(Signed { by: by.clone(), signature: hex(&signature.to_bytes()) })
}
